//! Answers of several messages.

use super::*;

fn exchange(keys: &[Key]) -> (StreamSigner<'_>, StreamVerifier<'_>) {
    let (mut request, pending) = signed(&keys[0], &query(7), NOW);
    let verifier = RequestVerifier::new(KeyRing::new(keys));
    let verified = verifier.verify(&mut request, NOW).unwrap().unwrap();
    (verified.stream(), pending.stream())
}

fn sign(signer: &mut StreamSigner<'_>, message: &[u8], now: u64) -> Vec<u8> {
    let mut buffer = message.to_vec();
    buffer.resize(message.len() + signer.record_length(), 0);
    let length = signer.sign(&mut buffer, message.len(), now).unwrap();
    buffer.truncate(length);
    buffer
}

/// A signer as others have it, which does not sign each message.
struct Sparse<'k> {
    key: &'k Key,
    context: mac::Context,
    digested: record::Digested,
}

impl<'k> Sparse<'k> {
    fn new(key: &'k Key, request: &[u8]) -> Self {
        let mut context = key.context();
        let tsig = record::Tsig::find(request).ok().flatten().unwrap();
        context.update_with_mac(&tsig.mac.copied());
        Self {
            key,
            context,
            digested: record::Digested::All,
        }
    }

    fn leave(&mut self, message: &[u8]) -> Vec<u8> {
        self.context.update(message);
        message.to_vec()
    }

    fn sign(&mut self, message: &[u8], now: u64) -> Vec<u8> {
        let mut buffer = message.to_vec();
        buffer.resize(message.len() + 512, 0);
        let variables = record::Variables::at(now);
        let context = core::mem::replace(&mut self.context, self.key.context());
        let (length, mac) = record::sign(
            &mut buffer,
            message.len(),
            self.key,
            context,
            &variables,
            self.digested,
        )
        .unwrap();
        self.context.update_with_mac(&mac);
        self.digested = record::Digested::Timers;
        buffer.truncate(length);
        buffer
    }
}

#[test]
fn stream_of_messages_each_of_them_signed() {
    let keys = keys();
    let (mut signer, mut verifier) = exchange(&keys);
    for number in 0..250u16 {
        let plain = answer(7, (number % 30) as u8);
        let now = NOW + u64::from(number) * 10;
        let mut whole = sign(&mut signer, &plain, now);
        let length = verifier.verify(&mut whole, now).unwrap();
        assert_eq!(whole[..length], plain);
    }
    assert_eq!(verifier.finish(), Ok(()));
}

#[test]
fn stream_of_one_message_is_signed_as_any_answer() {
    let keys = keys();
    let (mut request, pending) = signed(&keys[0], &query(7), NOW);
    let verifier = RequestVerifier::new(KeyRing::new(&keys));
    let verified = verifier.verify(&mut request, NOW).unwrap().unwrap();
    let mut whole = sign(&mut verified.stream(), &answer(7, 1), NOW);
    assert!(pending.verify_answer(&mut whole.clone(), NOW).is_ok());
    let mut stream = pending.stream();
    assert!(stream.verify(&mut whole, NOW).is_ok());
    assert_eq!(stream.finish(), Ok(()));
}

#[test]
fn messages_that_are_left_out_repeated_or_swapped_are_noticed() {
    let keys = keys();
    for order in [&[0, 2][..], &[0, 1, 1], &[1], &[0, 2, 1], &[0, 0]] {
        let (mut signer, mut verifier) = exchange(&keys);
        let messages: Vec<_> = (0..3)
            .map(|number| sign(&mut signer, &answer(7, number), NOW))
            .collect();
        let results: Vec<_> = order
            .iter()
            .map(|&index: &usize| verifier.verify(&mut messages[index].clone(), NOW))
            .collect();
        assert!(
            results.contains(&Err(AnswerError::BadSignature)),
            "{order:?}"
        );
        assert_eq!(verifier.finish(), Err(AnswerError::BadSignature));
    }
}

#[test]
fn ninety_nine_messages_without_signature_are_taken_and_no_more() {
    let keys = keys();
    for (unsigned, is_taken) in [(0, true), (1, true), (99, true), (100, false)] {
        let (request, pending) = signed(&keys[0], &query(7), NOW);
        let mut signer = Sparse::new(&keys[0], &request);
        let mut verifier = pending.stream();
        for round in 0..2u8 {
            let mut first = signer.sign(&answer(7, round), NOW);
            if verifier.verify(&mut first, NOW).is_err() {
                break;
            }
            for number in 0..unsigned {
                let mut message = signer.leave(&answer(7, number % 7));
                let plain = message.len();
                if let Ok(length) = verifier.verify(&mut message, NOW) {
                    assert_eq!(length, plain);
                }
            }
        }
        let mut last = signer.sign(&answer(7, 9), NOW);
        let result = verifier.verify(&mut last, NOW);
        assert_eq!(result.is_ok(), is_taken, "{unsigned}");
        let error = is_taken.then_some(()).ok_or(AnswerError::Unsigned);
        assert_eq!(verifier.finish(), error);
    }
}

#[test]
fn message_without_signature_is_covered_by_the_next_one() {
    let keys = keys();
    let (request, pending) = signed(&keys[0], &query(7), NOW);
    let mut signer = Sparse::new(&keys[0], &request);
    let mut verifier = pending.stream();
    let mut first = signer.sign(&answer(7, 1), NOW);
    let mut between = signer.leave(&answer(7, 2));
    let mut last = signer.sign(&answer(7, 3), NOW);
    *between.last_mut().unwrap() ^= 1;
    assert!(verifier.verify(&mut first, NOW).is_ok());
    assert!(verifier.verify(&mut between, NOW).is_ok());
    let forged = Err(AnswerError::BadSignature);
    assert_eq!(verifier.verify(&mut last, NOW), forged);
    // The stream is over, whatever comes.
    assert_eq!(verifier.verify(&mut answer(7, 1), NOW), forged);
    assert_eq!(verifier.finish(), Err(AnswerError::BadSignature));
}

#[test]
fn first_and_last_message_must_be_signed() {
    let keys = keys();
    let (_, mut verifier) = exchange(&keys);
    let unsigned = Err(AnswerError::Unsigned);
    assert_eq!(verifier.verify(&mut answer(7, 1), NOW), unsigned);
    let (_, verifier) = exchange(&keys);
    assert_eq!(verifier.finish(), Err(AnswerError::Unsigned));
    let (mut signer, mut verifier) = exchange(&keys);
    let mut first = sign(&mut signer, &answer(7, 1), NOW);
    assert!(verifier.verify(&mut first, NOW).is_ok());
    assert!(verifier.verify(&mut answer(7, 1), NOW).is_ok());
    assert_eq!(verifier.finish(), Err(AnswerError::Unsigned));
}

#[test]
fn times_are_checked_in_the_middle_too() {
    let keys = keys();
    let (mut signer, mut verifier) = exchange(&keys);
    let mut first = sign(&mut signer, &answer(7, 1), NOW);
    let mut second = sign(&mut signer, &answer(7, 2), NOW);
    assert!(verifier.verify(&mut first, NOW).is_ok());
    let late = Err(AnswerError::BadTime);
    assert_eq!(verifier.verify(&mut second, NOW + 301), late);
}

#[test]
fn message_without_room_changes_nothing() {
    let keys = keys();
    let (mut signer, mut verifier) = exchange(&keys);
    let plain = answer(7, 1);
    let mut full = plain.clone();
    let no_room = Err(SignError::NoRoom);
    assert_eq!(signer.sign(&mut full, plain.len(), NOW), no_room);
    assert_eq!(full, plain);
    let mut first = sign(&mut signer, &plain, NOW);
    assert!(verifier.verify(&mut first, NOW).is_ok());
}
