//! Randomness: the processor's own source or the toolstack's seed, into ChaCha20.
//!
//! A domain has no entropy of its own but what it is given. In order:
//!
//! 1. RDSEED or RDRAND, where the processor has them and Xen doesn't hide them. Their words are looked at: a source that
//!    repeats itself (some processors give all ones after a resume) is none.
//! 2. A seed from the toolstack: at least [`SEED_LENGTH`] bytes, by convention under [`SEED_KEY`].
//! 3. With neither: [`EntropyError::NoSource`], which says what to do. There is no weaker randomness instead.
//!
//! What the time stamp counter and the clocks show is mixed in in any case, and never counted as entropy.
//!
//! # Over a suspension
//!
//! A saved domain may be restored twice, and would draw the same numbers twice. From the moment that a suspension begins
//! nothing is drawn ([`EntropyError::NotReseeded`]) until new entropy was mixed in: from the processor, before any other
//! part of the program is told of the resume; else with [`XenRng::reseed`], by whoever reads the toolstack's new seed.

#[cfg(test)]
mod tests;

use core::cell::{Cell, RefCell};
use core::fmt;
use core::sync::atomic::Ordering;

use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng, TryCryptoRng, TryRng};

use crate::hypervisor::Hypervisor;
use crate::suspend::{Resume, ResumeError, Stage};

/// Bytes of a seed at least.
pub const SEED_LENGTH: usize = 32;
/// Where the toolstack puts a seed, by convention, below the domain's home in xenstore: random bytes, or their hexadecimal
/// digits. The domain removes it once it was read.
pub const SEED_KEY: &str = "data/mirage-seed";

/// Words of the processor's source that are mixed in at a time: twice the key.
const HARDWARE_WORDS: usize = 8;
/// How often the processor is asked for a word that it doesn't give (Intel's Software Developer's Manual, volume 1, 7.3.17:
/// ten times, else there is no source).
const HARDWARE_TRIES: u32 = 10;
/// Readings of the time stamp counter that are mixed in at a time, four by four.
const JITTER_ROUNDS: u32 = 16;

type Key = [u8; 32];

/// The domain's random source: ChaCha20, which [`rand_core`]'s traits draw from by a shared reference.
///
/// ```
/// use mirage_xen::Hypervisor;
/// use mirage_xen::entropy::{EntropyError, XenRng};
/// use rand_core::{Rng, TryRng, UnwrapErr};
///
/// fn draw<H: Hypervisor>(mut rng: &XenRng<H>) -> Result<u64, EntropyError> {
///     // For what takes an infallible source; drawing panics where there would be an error.
///     let _ = UnwrapErr(rng).next_u32();
///     rng.try_next_u64()
/// }
/// ```
pub struct XenRng<H: Hypervisor> {
    hypervisor: &'static H,
    generator: RefCell<ChaCha20Rng>,
    state: Cell<State>,
}

/// Whether numbers may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// It was ready, and a suspension has begun.
    Suspending,
    /// New entropy is needed.
    Stale,
}

impl<H: Hypervisor> XenRng<H> {
    /// A source, seeded from the processor, and from the toolstack's seed where there is one.
    ///
    /// # Errors
    ///
    /// [`EntropyError::NoSource`], [`EntropyError::Repeating`]: the processor gives nothing (good), and the seed is missing,
    /// shorter than [`SEED_LENGTH`], or all of one byte.
    pub fn new(hypervisor: &'static H, seed: Option<&[u8]>) -> Result<Self, EntropyError> {
        let rng = Self {
            hypervisor,
            generator: RefCell::new(ChaCha20Rng::from_seed([0; 32])),
            state: Cell::new(State::Stale),
        };
        rng.reseed(seed)?;
        Ok(rng)
    }

    /// As [`new`](Self::new), for the life of the program.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    #[cfg(any(feature = "alloc", test))]
    pub fn leak(
        hypervisor: &'static H,
        seed: Option<&[u8]>,
    ) -> Result<&'static Self, EntropyError> {
        let rng = Self::new(hypervisor, seed)?;
        Ok(alloc::boxed::Box::leak(alloc::boxed::Box::new(rng)))
    }

    /// Whether numbers can be drawn. Not between a suspension and the next [`reseed`](Self::reseed) that succeeds.
    pub fn is_ready(&self) -> bool {
        self.state.get() == State::Ready
    }

    /// A source of its own, seeded from this one, for what takes an infallible source: it knows nothing of suspensions, so nothing
    /// that is seeded by it may keep it.
    ///
    /// # Errors
    ///
    /// [`EntropyError::NotReseeded`]: as of any number that is drawn.
    pub fn generator(&self) -> Result<impl CryptoRng + use<H>, EntropyError> {
        let mut key = Key::default();
        self.draw(|generator| generator.fill_bytes(&mut key))?;
        Ok(ChaCha20Rng::from_seed(key))
    }

    /// Mixes new entropy in: from the processor, from the seed, from both. What was there before stays part of it.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new). What there was is mixed in all the same; whether numbers can be drawn stays as it was.
    pub fn reseed(&self, seed: Option<&[u8]>) -> Result<(), EntropyError> {
        let mut generator = self.generator.borrow_mut();
        let mut key = Key::default();
        generator.fill_bytes(&mut key);
        self.absorb_surroundings(&mut key);
        let hardware = self.absorb_hardware(&mut key);
        let mut seeded = false;
        if let Some(seed) = seed {
            for bytes in seed.chunks(size_of::<Key>()) {
                let mut chunk = Key::default();
                for (to, byte) in chunk.iter_mut().zip(bytes) {
                    *to = *byte;
                }
                absorb(&mut key, &chunk);
            }
            seeded = seed.len() >= SEED_LENGTH && seed.iter().any(|byte| *byte != seed[0]);
        }
        *generator = ChaCha20Rng::from_seed(key);
        if !seeded {
            hardware?;
        }
        self.state.set(State::Ready);
        Ok(())
    }

    /// Mixes the processor's words in.
    fn absorb_hardware(&self, key: &mut Key) -> Result<(), EntropyError> {
        let mut words = [0; HARDWARE_WORDS];
        for index in 0..HARDWARE_WORDS {
            let word = self.hardware_word().ok_or(EntropyError::NoSource)?;
            // By chance once in 2⁵⁸ times.
            if word == 0 || word == u64::MAX || words[..index].contains(&word) {
                return Err(EntropyError::Repeating);
            }
            words[index] = word;
        }
        absorb_words(key, &words);
        Ok(())
    }

    fn hardware_word(&self) -> Option<u64> {
        for _ in 0..HARDWARE_TRIES {
            let word = self.hypervisor.hardware_random();
            if word.is_some() {
                return word;
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Mixes in what tells one start, or one resume, from another: the clocks, and how long things take.
    fn absorb_surroundings(&self, key: &mut Key) {
        let page = self.hypervisor.shared_info();
        let time = &page.vcpu_info[0].time;
        absorb_words(
            key,
            &[
                page.wall_clock_seconds.load(Ordering::Relaxed).into(),
                page.wall_clock_nanoseconds.load(Ordering::Relaxed).into(),
                time.system_time.load(Ordering::Relaxed),
                time.tsc_timestamp.load(Ordering::Relaxed),
            ],
        );
        for _ in 0..JITTER_ROUNDS {
            let readings = [(); 4].map(|()| self.hypervisor.time_stamp_counter());
            absorb_words(key, &readings);
        }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut ChaCha20Rng) -> T) -> Result<T, EntropyError> {
        if self.is_ready() {
            Ok(draw(&mut self.generator.borrow_mut()))
        } else {
            Err(EntropyError::NotReseeded)
        }
    }
}

/// The next key: the first bytes of the key stream of the old one, with the chunk added.
fn absorb(key: &mut Key, chunk: &Key) {
    for (byte, more) in key.iter_mut().zip(chunk) {
        *byte ^= more;
    }
    ChaCha20Rng::from_seed(*key).fill_bytes(key);
}

fn absorb_words(key: &mut Key, words: &[u64]) {
    for words in words.chunks(size_of::<Key>() / size_of::<u64>()) {
        let mut chunk = Key::default();
        for (to, word) in chunk.chunks_mut(size_of::<u64>()).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        absorb(key, &chunk);
    }
}

impl<H: Hypervisor> TryRng for &XenRng<H> {
    type Error = EntropyError;

    fn try_next_u32(&mut self) -> Result<u32, EntropyError> {
        self.draw(Rng::next_u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, EntropyError> {
        self.draw(Rng::next_u64)
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), EntropyError> {
        self.draw(|generator| generator.fill_bytes(destination))
    }
}

impl<H: Hypervisor> TryCryptoRng for &XenRng<H> {}

impl<H: Hypervisor> Resume for XenRng<H> {
    fn stage(&self) -> Stage {
        Stage::Entropy
    }

    fn prepare(&self) {
        if self.is_ready() {
            self.state.set(State::Suspending);
        }
    }

    fn cancelled(&self) {
        if self.state.get() == State::Suspending {
            self.state.set(State::Ready);
        }
    }

    /// Mixes in what the processor gives. Where it gives nothing, nothing is drawn until somebody
    /// [reseeds](XenRng::reseed) it; that is no failure of the resume.
    fn resumed(&self) -> Result<(), ResumeError> {
        self.state.set(State::Stale);
        if self.reseed(None).is_err() {
            log::info!("no random numbers until the toolstack gives a new seed");
        }
        Ok(())
    }
}

impl<H: Hypervisor> fmt::Debug for XenRng<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the state.
        f.debug_struct("XenRng")
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

/// Why there are no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntropyError {
    /// The configuration's: the processor gives this domain no random words, and there is no seed.
    NoSource,
    /// The processor's: its random words repeat, and there is no seed.
    Repeating,
    /// The domain was resumed, and nobody has given a new seed yet.
    NotReseeded,
}

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::NoSource => "the processor offers neither RDSEED nor RDRAND to this domain",
            Self::Repeating => "the processor's random numbers repeat themselves",
            Self::NotReseeded => "the domain was resumed and has no new entropy",
        };
        write!(
            f,
            "no randomness: {what}, and the toolstack gave no seed. Use a processor that has RDRAND (in QEMU `-cpu \
             …,+rdrand`) and don't hide it with `cpuid=` in xl's configuration, or start the domain paused and write \
             {SEED_LENGTH} random bytes or more to {SEED_KEY} in its home in xenstore"
        )
    }
}

impl core::error::Error for EntropyError {}
