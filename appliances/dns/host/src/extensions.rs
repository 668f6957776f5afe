//! What the server does beside answering: NSID, cookies, TCP keep-alive, rate limiting, a memo.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use mirage_dns::server::{
    Cookies, Extensions, MAX_NSID_LENGTH, Memo, MemoSlot, RateBucket, RateLimiter, RateLimits,
    SERVER_SECRET_LENGTH,
};
use mirage_host::SystemRng;

use crate::arguments::Arguments;
use crate::error::Failure;

/// Places of the rate limiter's table: 768 KiB. With a thousand floods at a time, one client in a thousand shares its places
/// with two of them.
const RATE_BUCKETS: usize = 1 << 16;

type Secret = [u8; SERVER_SECRET_LENGTH];

/// What the command line asks for, for the rest of the process.
pub(crate) fn leak(arguments: &Arguments) -> Result<Extensions<'static>, Failure> {
    let mut rng = SystemRng::new()?;
    // RFC 7828 counts in tenths of a second.
    let tenths = u16::try_from(arguments.tcp_idle_ms / 100).unwrap_or(u16::MAX);
    let mut extensions = Extensions::NONE.with_tcp_keepalive(tenths);
    if let Some(nsid) = &arguments.nsid {
        let nsid: &'static str = nsid.clone().leak();
        extensions = extensions.with_nsid(nsid.as_bytes()).ok_or_else(|| {
            Failure::Arguments(format!("--nsid has more than {MAX_NSID_LENGTH} octets"))
        })?;
    }
    if !arguments.no_cookies {
        let cookies = match &arguments.cookie_secrets {
            None => Cookies::new(rng.seed()),
            Some(path) => read_secrets(path)?,
        };
        extensions = extensions.with_cookies(Box::leak(Box::new(cookies)));
    }
    if let Some(per_second) = arguments.rate_limit {
        let limits = RateLimits {
            per_second,
            slip: arguments.rate_limit_slip,
            ..RateLimits::default()
        };
        let buckets = vec![RateBucket::default(); RATE_BUCKETS].leak();
        let exempt = arguments.rate_limit_exempt.clone().leak();
        let limiter = RateLimiter::new(limits, rng.seed(), buckets, exempt);
        extensions = extensions.with_rate_limiter(Box::leak(Box::new(limiter)));
    }
    Ok(extensions)
}

/// A memo of so many answers, for the rest of the process.
pub(crate) fn leak_memo(answers: usize) -> &'static RefCell<Memo<'static>> {
    let slots = vec![MemoSlot::EMPTY; answers].leak();
    Box::leak(Box::new(RefCell::new(Memo::new(slots))))
}

/// Reads one secret or two.
fn read_secrets(path: &Path) -> Result<Cookies, Failure> {
    let wrong =
        |what: String| Failure::Arguments(format!("--cookie-secrets {}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut secrets = text.split_ascii_whitespace().map(secret);
    let expected = || wrong("expected one secret or two, each of 32 hexadecimal digits".into());
    let cookies = Cookies::new(secrets.next().flatten().ok_or_else(expected)?);
    if let Some(second) = secrets.next() {
        cookies.accept(second.ok_or_else(expected)?);
    }
    match secrets.next() {
        None => Ok(cookies),
        Some(_) => Err(expected()),
    }
}

fn secret(digits: &str) -> Option<Secret> {
    let mut secret = Secret::default();
    let in_order =
        digits.len() == 2 * secret.len() && digits.bytes().all(|d| d.is_ascii_hexdigit());
    if !in_order {
        return None;
    }
    for (octet, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_32_hexadecimal_digits() {
        let digits = "000102030405060708090a0B0c0D0e0f";
        let octets: Secret = std::array::from_fn(|index| index as u8);
        assert_eq!(secret(digits), Some(octets));
        for wrong in [
            "",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('a', "g"),
            &digits.replace("00", "+1"),
        ] {
            assert_eq!(secret(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn files_with_one_secret_or_two_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        let digits = "00".repeat(16);
        for (text, taken) in [
            (String::new(), false),
            (digits.clone(), true),
            (format!("{digits}\n{digits}\n"), true),
            (format!("{digits} {digits} {digits}"), false),
            (format!("{digits} x"), false),
        ] {
            fs::write(&path, &text).unwrap();
            assert_eq!(read_secrets(&path).is_ok(), taken, "{text}");
        }
        assert!(read_secrets(&folder.path().join("none")).is_err());
    }
}
