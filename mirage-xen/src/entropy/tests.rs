use super::*;
use crate::testing::TestHypervisor;
use rand_core::UnwrapErr;
use std::collections::HashSet;
use std::format;
use std::vec::Vec;

const SEED: [u8; SEED_LENGTH] = *b"0123456789abcdef0123456789abcdef";

fn words(count: u64) -> Vec<Option<u64>> {
    (1..=count).map(|word| Some(word * 0x0123_4567)).collect()
}

fn with_words(words: &[Option<u64>]) -> &'static TestHypervisor {
    let hypervisor = TestHypervisor::leak();
    *hypervisor.random.borrow_mut() = words.into();
    hypervisor
}

fn draw(mut rng: &XenRng<TestHypervisor>) -> u64 {
    rng.try_next_u64().unwrap()
}

#[test]
fn the_processors_words_are_enough_and_each_of_them_counts() {
    let mut seen = HashSet::new();
    for changed in 0..=HARDWARE_WORDS {
        let mut words = words(8);
        if let Some(word) = words.get_mut(changed) {
            *word = Some(0x7777_7777);
        }
        let rng = XenRng::leak(with_words(&words), None).unwrap();
        assert!(seen.insert(draw(rng)), "word {changed} changes nothing");
    }
    // The same words, the same counter: nothing else would be in there.
    assert!(!seen.insert(draw(XenRng::leak(with_words(&words(8)), None).unwrap())));
}

#[test]
fn a_processor_that_is_slow_is_asked_ten_times() {
    let mut slow = Vec::new();
    for word in words(8) {
        slow.extend([None; 9]);
        slow.push(word);
    }
    XenRng::leak(with_words(&slow), None).unwrap();
    slow.insert(0, None);
    let refused = XenRng::leak(with_words(&slow), None).unwrap_err();
    assert_eq!(refused, EntropyError::NoSource);
}

#[test]
fn a_source_that_repeats_itself_is_none() {
    for broken in [
        [Some(u64::MAX); 8],
        [Some(0); 8],
        [Some(0x1234); 8],
        [
            Some(1),
            Some(2),
            Some(3),
            Some(4),
            Some(5),
            Some(6),
            Some(7),
            Some(2),
        ],
    ] {
        let refused = XenRng::leak(with_words(&broken), None).unwrap_err();
        assert_eq!(refused, EntropyError::Repeating);
        XenRng::leak(with_words(&broken), Some(&SEED)).unwrap();
    }
}

#[test]
fn with_neither_source_nor_seed_the_domain_says_so() {
    let mut short = SEED;
    short[0] = 1;
    for seed in [None, Some(&[][..]), Some(&short[..31]), Some(&[0x55; 64])] {
        let refused = XenRng::leak(TestHypervisor::leak(), seed).unwrap_err();
        assert_eq!(refused, EntropyError::NoSource);
        let text = format!("{refused}");
        assert!(text.contains("RDRAND") && text.contains(SEED_KEY), "{text}");
    }
}

#[test]
fn every_byte_of_a_seed_counts_and_so_does_the_counter() {
    let mut seen = HashSet::new();
    let mut seed = [0; 70];
    for index in 0..=seed.len() {
        if index > 0 {
            seed[index - 1] = 1;
        }
        if index == 0 || index == seed.len() {
            seed[0] ^= 2;
        }
        let rng = XenRng::leak(TestHypervisor::leak(), Some(&seed)).unwrap();
        assert!(seen.insert(draw(rng)), "byte {index} changes nothing");
    }
    let hypervisor = TestHypervisor::leak();
    hypervisor.tsc_step.set(3);
    assert!(seen.insert(draw(XenRng::leak(hypervisor, Some(&seed)).unwrap())));
    let hypervisor = TestHypervisor::leak();
    let page = hypervisor.shared_info();
    page.wall_clock_nanoseconds.store(1, Ordering::Relaxed);
    assert!(seen.insert(draw(XenRng::leak(hypervisor, Some(&seed)).unwrap())));
}

#[test]
fn all_of_the_traits_methods_draw() {
    let mut rng: &XenRng<_> = XenRng::leak(TestHypervisor::leak(), Some(&SEED)).unwrap();
    let mut bytes = [0; 100];
    rng.try_fill_bytes(&mut bytes).unwrap();
    assert!(bytes.chunks(4).all(|chunk| chunk != [0; 4]));
    let mut infallible = UnwrapErr(rng);
    let (a, b) = (infallible.next_u32(), infallible.next_u32());
    assert_ne!(a, b);
    assert_ne!(rng.try_next_u32().unwrap(), b);
}

/// Two domains restored from one image.
fn twins(words: &[Option<u64>]) -> [&'static XenRng<TestHypervisor>; 2] {
    [(); 2].map(|()| XenRng::leak(with_words(words), Some(&SEED)).unwrap())
}

#[test]
fn a_restored_image_does_not_repeat_its_random_numbers() {
    let [mut one, mut two] = twins(&words(8));
    assert_eq!(draw(one), draw(two), "they are twins");
    for (rng, word) in [(one, 100), (two, 200)] {
        rng.prepare();
        let more = (0..8).map(|index| Some(word + index));
        rng.hypervisor.random.borrow_mut().extend(more);
        rng.resumed().unwrap();
    }
    assert!(one.is_ready());
    assert_ne!(one.try_next_u64(), two.try_next_u64());
}

#[test]
fn nothing_is_drawn_between_a_suspension_and_new_entropy() {
    let [mut rng, twin] = twins(&[]);
    rng.prepare();
    twin.prepare();
    assert!(!rng.is_ready() && !twin.is_ready());
    assert_eq!(rng.try_next_u64(), Err(EntropyError::NotReseeded));
    // No hardware here either.
    rng.resumed().unwrap();
    twin.resumed().unwrap();
    let mut bytes = [7; 3];
    assert_eq!(
        rng.try_fill_bytes(&mut bytes),
        Err(EntropyError::NotReseeded)
    );
    assert_eq!(bytes, [7; 3]);
    assert_eq!(rng.try_next_u32(), Err(EntropyError::NotReseeded));
    assert_eq!(rng.reseed(Some(&SEED[1..])), Err(EntropyError::NoSource));
    // A suspension that is cancelled doesn't bring any.
    rng.prepare();
    rng.cancelled();
    assert!(!rng.is_ready());
    // The same seed again; but one of them has been through more.
    rng.reseed(Some(&SEED)).unwrap();
    twin.reseed(Some(&SEED)).unwrap();
    assert_ne!(draw(rng), draw(twin));
}

#[test]
fn a_cancelled_suspension_costs_nothing() {
    let [mut rng, mut twin] = twins(&words(8));
    rng.prepare();
    rng.cancelled();
    assert_eq!(rng.try_next_u64(), twin.try_next_u64());
    // A reseed that finds nothing leaves a good state good.
    assert_eq!(rng.reseed(None), Err(EntropyError::NoSource));
    assert!(rng.try_next_u64().is_ok());
}
