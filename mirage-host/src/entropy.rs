//! Randomness from the operating system.

use rand_core::{Infallible, TryCryptoRng, TryRng};

/// The operating system's random source: getrandom(2), cryptographically secure, one system call a request.
///
/// It implements `rand_core`'s [`CryptoRng`](rand_core::CryptoRng). For many small draws seed a generator from it.
///
/// # Panics
///
/// Drawing panics when the system refuses randomness ([`SystemRng::new`] draws once, so that a system without any is
/// found at start): there is nothing safe that a caller could do instead.
///
/// ```
/// use rand_core::Rng;
///
/// let mut rng = mirage_host::SystemRng::new().expect("this system has randomness");
/// let transaction = rng.next_u64();
/// # let _ = transaction;
/// ```
#[derive(Debug)]
pub struct SystemRng(());

impl SystemRng {
    /// The system's source, after one draw from it has succeeded.
    ///
    /// # Errors
    ///
    /// The system has no random source, or it refuses this process.
    pub fn new() -> Result<Self, EntropyError> {
        let mut first = [0; 8];
        getrandom::fill(&mut first).map_err(EntropyError)?;
        Ok(Self(()))
    }

    /// Draws a seed, for a generator of `rand_core`'s [`SeedableRng`](rand_core::SeedableRng).
    pub fn seed<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let mut seed = [0; LENGTH];
        fill(&mut seed);
        seed
    }
}

impl TryRng for SystemRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(self.seed()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(self.seed()))
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        fill(destination);
        Ok(())
    }
}

impl TryCryptoRng for SystemRng {}

fn fill(destination: &mut [u8]) {
    if let Err(error) = getrandom::fill(destination) {
        panic!("the system stopped giving randomness: {error}");
    }
}

/// The system gives no randomness.
#[derive(Clone, Copy, Debug)]
pub struct EntropyError(getrandom::Error);

impl std::fmt::Display for EntropyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the system gives no randomness: {}", self.0)
    }
}

impl std::error::Error for EntropyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn two_draws_differ_and_a_buffer_is_filled_to_its_end() {
        let mut rng = SystemRng::new().expect("randomness");
        assert_ne!(rng.seed::<32>(), rng.seed::<32>());
        // 1,000 bytes: each of the 256 values misses with probability (255/256)^1000 = 2 %; all zero at the end never.
        let mut bytes = [0; 1000];
        rng.fill_bytes(&mut bytes);
        assert!(bytes[984..].iter().any(|byte| *byte != 0));
    }
}
