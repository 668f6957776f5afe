//! Request targets and paths (RFC 9112 §3.2, RFC 3986).
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Target`] | a request target by its form |
//! | [`Path`] | a path that was decoded, once, and leads nowhere else |
//! | [`TargetError`], [`PathError`] | what is wrong |

use core::fmt;

use mirage_core::kv::{Key, KeyError};

use crate::method::Method;
use crate::scan::hex_digit;

/// A request target, nothing of it decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Path and query on this server (RFC 9112 §3.2.1): `/where?q=now`.
    Origin {
        /// With a `/` at the beginning.
        path: &'a str,
        /// What follows the first `?`.
        query: Option<&'a str>,
    },
    /// A whole URI of `http` or `https` (§3.2.2), as to a proxy. Its authority counts, not the field Host.
    Absolute {
        /// Whether the scheme is `https`.
        is_https: bool,
        /// Host, and port where there is one. Never empty, and without user information.
        authority: &'a str,
        /// With a `/` at the beginning, where it isn't empty.
        path: &'a str,
        /// What follows the first `?`.
        query: Option<&'a str>,
    },
    /// Host and port, for CONNECT alone (§3.2.3).
    Authority(&'a str),
    /// `*`, for OPTIONS alone (§3.2.4).
    Asterisk,
}

impl<'a> Target<'a> {
    /// Tells a target's form.
    ///
    /// # Errors
    ///
    /// It has none of the forms, or not the one that goes with the method.
    pub fn new(method: Method<'_>, target: &'a str) -> Result<Self, TargetError> {
        if method == Method::Connect {
            let colon = target.bytes().rposition(|octet| octet == b':');
            let port = colon.and_then(|at| target.get(at + 1..));
            let has_port = port.is_some_and(is_port);
            return match has_port && is_authority(target) {
                true => Ok(Self::Authority(target)),
                false => Err(TargetError::Form),
            };
        }
        if target.starts_with('/') {
            let (path, query) = split_query(target);
            return Ok(Self::Origin { path, query });
        }
        if target == "*" {
            return match method {
                Method::Options => Ok(Self::Asterisk),
                _ => Err(TargetError::Form),
            };
        }
        let (scheme, rest) = target.split_once("://").ok_or(TargetError::Form)?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return Err(TargetError::Scheme);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // An empty host in a URI of http is an error (RFC 9110 §4.2.1).
        if authority.is_empty() || authority.starts_with(':') || !is_authority(authority) {
            return Err(TargetError::Authority);
        }
        let (path, query) = split_query(rest);
        Ok(Self::Absolute {
            is_https,
            authority,
            path,
            query,
        })
    }

    /// The path, not decoded; `/` for a URI without one, empty where the form has none.
    pub fn raw_path(&self) -> &'a str {
        match *self {
            Self::Origin { path, .. } => path,
            Self::Absolute { path: "", .. } => "/",
            Self::Absolute { path, .. } => path,
            Self::Authority(_) | Self::Asterisk => "",
        }
    }

    /// The query, not decoded.
    pub fn query(&self) -> Option<&'a str> {
        match *self {
            Self::Origin { query, .. } | Self::Absolute { query, .. } => query,
            Self::Authority(_) | Self::Asterisk => None,
        }
    }

    /// The path, decoded. `room` is used where there is something to decode: as many octets as the path has are enough.
    ///
    /// # Errors
    ///
    /// [`PathError`], also for the forms without a path.
    pub fn path<'p>(&self, room: &'p mut [u8]) -> Result<Path<'p>, PathError>
    where
        'a: 'p,
    {
        Path::decode(self.raw_path(), room)
    }
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match split_at_first(text, b'?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// What is before and behind the first of an ASCII character. The library's way is made for every character, and several times the code.
fn split_at_first(text: &str, octet: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|other| other == octet)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Whether a text is what may stand in the field Host: a host, and a port where there is one (RFC 9110 §7.2), or nothing.
///
/// A host is a name, an IPv4 address, or an IP literal in brackets (RFC 3986 §3.2.2). User information is none of it: `a@b` is refused, for
/// one takes `a`, another `b` for the host.
pub(crate) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((literal, behind)) = split_at_first(rest, b']') else {
                return false;
            };
            let is_literal = |octet: u8| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.');
            if literal.is_empty() || !literal.bytes().all(is_literal) {
                return false;
            }
            ("", behind)
        }
        None => {
            let colon = text.bytes().position(|octet| octet == b':');
            text.split_at(colon.unwrap_or(text.len()))
        }
    };
    let may_follow = match port.strip_prefix(':') {
        Some(port) => port.is_empty() || is_port(port),
        None => port.is_empty(),
    };
    may_follow && host.bytes().all(is_name_octet)
}

/// Digits, no more than 65535 has.
fn is_port(port: &str) -> bool {
    !port.is_empty()
        && port.bytes().all(|octet| octet.is_ascii_digit())
        && port.parse::<u16>().is_ok()
}

/// Octets of a reg-name (RFC 3986 §3.2.2), without percent signs, which no host name on the net has.
fn is_name_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// What is wrong with a request target: the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// It has none of the forms, or one that does not go with the method.
    Form,
    /// A scheme other than `http` and `https`.
    Scheme,
    /// A host or port that is none, an empty one, or user information before it.
    Authority,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "request target has not the form that goes with the method",
            Self::Scheme => "request target is of another scheme",
            Self::Authority => "request target has no proper host",
        })
    }
}

impl core::error::Error for TargetError {}

/// A path that was decoded exactly once: UTF-8, a `/` at the beginning, no control, and no segment that is `.` or `..`.
///
/// Whoever holds one needs no check of his own, and must not decode it again: `%` is a character like any other here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// Decodes a path as it stands in a target.
    ///
    /// What could mean one thing to one reader and another to the next is an error, and nothing is repaired: a segment `.` or `..`,
    /// written so or with percent signs (clients take them out before they ask, RFC 3986 §5.2.4); a `/`, NUL or other
    /// control behind a percent sign; a backslash, which some take for a `/`. Several `/` in a row stay; no [`Key`] has them.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn decode(raw: &'a str, room: &'a mut [u8]) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        let decoded = match raw.bytes().any(|octet| octet == b'%') {
            true => percent_decode(raw, room)?,
            false => raw,
        };
        let mut octets = decoded.bytes();
        if octets.any(|octet| matches!(octet, 0..0x20 | 0x7f | b'\\')) {
            return Err(PathError::Octet);
        }
        if decoded
            .split('/')
            .any(|segment| matches!(segment, "." | ".."))
        {
            return Err(PathError::Dots);
        }
        Ok(Self(decoded))
    }

    /// The path, with a `/` at the beginning.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The segments, empty ones too: one more than there are `/` behind the first.
    pub fn segments(self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.0.get(1..).unwrap_or_default().split('/')
    }

    /// Whether it ends with a `/`, as that of a folder does.
    pub fn is_folder(self) -> bool {
        self.0.ends_with('/')
    }

    /// The key that it names in a store; for a folder that of the folder, without the `/` at its end.
    ///
    /// # Errors
    ///
    /// An empty segment within.
    pub fn key(self) -> Result<Key<'a>, KeyError> {
        let path = match self.0.get(1..).unwrap_or_default() {
            "" => return Ok(Key::ROOT),
            path => path.strip_suffix('/').unwrap_or(path),
        };
        // A key may have one `/` before it, a path that has its own already may not.
        match path.is_empty() || path.starts_with('/') {
            true => Err(KeyError::Empty),
            false => Key::new(path),
        }
    }

    /// What is left of the path behind a prefix of whole segments, which is written as `/assets`; it begins with a `/` again.
    pub fn below(self, prefix: &str) -> Option<Self> {
        let rest = self.0.strip_prefix(prefix)?;
        match rest.as_bytes() {
            [] => Some(Self("/")),
            [b'/', ..] => Some(Self(rest)),
            _ => None,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Decodes what stands behind percent signs (RFC 3986 §2.1), each octet once.
fn percent_decode<'a>(raw: &str, room: &'a mut [u8]) -> Result<&'a str, PathError> {
    let mut octets = raw.bytes();
    let mut length = 0;
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'%' => {
                let mut digit = || octets.next().and_then(hex_digit).ok_or(PathError::Percent);
                let octet = digit()? << 4 | digit()?;
                // Decoded, these would be others than they were when somebody else looked at them.
                if matches!(octet, b'/' | b'\\' | 0..0x20 | 0x7f) {
                    return Err(PathError::Octet);
                }
                octet
            }
            octet => octet,
        };
        *room.get_mut(length).ok_or(PathError::TooLong)? = octet;
        length += 1;
    }
    core::str::from_utf8(&room[..length]).map_err(|_| PathError::NotUtf8)
}

/// What is wrong with a path: the client's fault, all but [`TooLong`](Self::TooLong).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// It does not begin with a `/`.
    NotAbsolute,
    /// No two hexadecimal digits behind a percent sign.
    Percent,
    /// `%2f`, a backslash, `%00` or another control.
    Octet,
    /// A segment is `.` or `..`.
    Dots,
    /// It is not UTF-8.
    NotUtf8,
    /// The caller's room is too small.
    TooLong,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "path does not begin with a slash",
            Self::Percent => "no two hexadecimal digits behind a percent sign",
            Self::Octet => "slash, backslash or control behind a percent sign",
            Self::Dots => "path has a segment `.` or `..`",
            Self::NotUtf8 => "path is not UTF-8",
            Self::TooLong => "path is too long",
        })
    }
}

impl core::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn decode(raw: &str) -> Result<String, PathError> {
        let mut room = [0; 64];
        Path::decode(raw, &mut room).map(|path| path.as_str().to_string())
    }

    fn get(target: &str) -> Result<Target<'_>, TargetError> {
        Target::new(Method::Get, target)
    }

    #[test]
    fn each_form_goes_with_its_methods() {
        assert_eq!(
            get("/a/b?c=d?e"),
            Ok(Target::Origin {
                path: "/a/b",
                query: Some("c=d?e")
            })
        );
        assert_eq!(
            get("HTTP://example.org:80?q"),
            Ok(Target::Absolute {
                is_https: false,
                authority: "example.org:80",
                path: "",
                query: Some("q")
            })
        );
        assert_eq!(get("https://[::1]/").unwrap().raw_path(), "/");
        assert_eq!(get("http://a").unwrap().raw_path(), "/");
        assert_eq!(Target::new(Method::Options, "*"), Ok(Target::Asterisk));
        let connect = |target| Target::new(Method::Connect, target);
        assert_eq!(connect("a:443"), Ok(Target::Authority("a:443")));
        for target in ["a", "/", "*", "http://a:443/", ":", "a:", "a:x", "a:65536"] {
            assert_eq!(connect(target), Err(TargetError::Form), "{target}");
        }
        for target in ["*", "a", "a:80", "?q", "http:/a", "//"] {
            let origin = target == "//";
            assert_eq!(get(target).is_ok(), origin, "{target}");
        }
        assert_eq!(get("ftp://a/"), Err(TargetError::Scheme));
        assert_eq!(get("file:///etc/passwd"), Err(TargetError::Scheme));
    }

    #[test]
    fn a_host_is_a_host_and_a_port() {
        for host in [
            "",
            "a",
            "a.example:80",
            "127.0.0.1",
            "[::1]",
            "[::1]:8080",
            "a:",
            "xn--a_b~",
        ] {
            assert!(is_authority(host), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "a@b",
            "user:pw@b",
            "a:80:80",
            "a:x",
            "a:65536",
            "a:-1",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[a/b]",
            "a%00b",
            "a\\b",
            "a,b c",
            "http://a",
            "a?b",
            "\u{e4}",
        ] {
            assert!(!is_authority(host), "{host}");
        }
        for target in [
            "http://",
            "http:///a",
            "http://:80/",
            "http://user@a/",
            "http://a b/",
            "http://a:x/",
        ] {
            assert_eq!(get(target), Err(TargetError::Authority), "{target}");
        }
    }

    #[test]
    fn path_is_decoded_exactly_once() {
        assert_eq!(decode("/a%20b").as_deref(), Ok("/a b"));
        assert_eq!(decode("/%2520").as_deref(), Ok("/%20"));
        assert_eq!(decode("/%252e%252e/").as_deref(), Ok("/%2e%2e/"));
        assert_eq!(decode("/%252f").as_deref(), Ok("/%2f"));
        assert_eq!(decode("/%C3%a4").as_deref(), Ok("/ä"));
        assert_eq!(decode("/+").as_deref(), Ok("/+"));
    }

    #[test]
    fn path_decoded_twice_dots_behind_percent_2f() {
        for path in [
            "/..%2f",
            "/..%2Fetc",
            "/%2e%2e%2f",
            "/..%5c",
            "/a%2fb",
            "/%5C",
        ] {
            assert_eq!(decode(path), Err(PathError::Octet), "{path}");
        }
    }

    #[test]
    fn dot_segments_lead_nowhere() {
        for path in [
            "/..",
            "/.",
            "/../",
            "/a/..",
            "/a/../b",
            "/./a",
            "/%2e%2e/a",
            "/.%2e",
            "/%2E",
            "/a/%2e%2E/b",
            "//../",
        ] {
            assert_eq!(decode(path), Err(PathError::Dots), "{path}");
        }
        for path in ["/...", "/..a", "/a..", "/.a", "/a./", "/.well-known/x"] {
            assert_eq!(decode(path).as_deref(), Ok(path));
        }
    }

    #[test]
    fn nul_and_controls_in_a_path() {
        for path in [
            "/%00",
            "/a%0d%0ab",
            "/%7f",
            "/a.html%00.png",
            "/%1f",
            "/%09",
        ] {
            assert_eq!(decode(path), Err(PathError::Octet), "{path}");
        }
        assert_eq!(decode("/a\u{1}"), Err(PathError::Octet));
        assert_eq!(decode("/..\\..\\x"), Err(PathError::Octet));
    }

    #[test]
    fn percent_sign_without_two_digits() {
        for path in [
            "/%", "/%4", "/%4g", "/%g4", "/%%41", "/%u0041", "/% 41", "/%+1",
        ] {
            assert_eq!(decode(path), Err(PathError::Percent), "{path}");
        }
    }

    #[test]
    fn path_that_is_not_utf8() {
        // Overlong forms of `/` and `.` among them.
        for path in [
            "/%ff",
            "/%c0%af",
            "/%c0%ae%c0%ae",
            "/%e0%80%af",
            "/%c3",
            "/%ed%a0%80",
        ] {
            assert_eq!(decode(path), Err(PathError::NotUtf8), "{path}");
        }
    }

    #[test]
    fn a_path_has_a_key_or_none() {
        let key = |path: &'static str| Path(path).key().map(Key::as_str);
        assert_eq!(key("/a/b"), Ok("a/b"));
        assert_eq!(key("/a/b/"), Ok("a/b"));
        assert_eq!(key("/"), Ok(""));
        assert!(key("//").is_err() && key("//a").is_err() && key("/a//b").is_err());
        assert_eq!(decode("a"), Err(PathError::NotAbsolute));
        assert_eq!(decode(""), Err(PathError::NotAbsolute));
        let long = "/%41".repeat(40);
        assert_eq!(decode(&long), Err(PathError::TooLong));
    }

    #[test]
    fn below_a_prefix_are_whole_segments() {
        assert_eq!(Path("/a/b").below("/a"), Some(Path("/b")));
        assert_eq!(Path("/a").below("/a"), Some(Path("/")));
        assert_eq!(Path("/ab").below("/a"), None);
        assert_eq!(Path("/a/b").below(""), Some(Path("/a/b")));
    }

    proptest! {
        #[test]
        fn no_path_leads_out(raw in "/([a.]|%2[eEfF]|%5[cC]|%00|%25|/|%c3|%a4){0,12}") {
            if let Ok(path) = decode(&raw) {
                prop_assert!(path.starts_with('/') && path.len() <= raw.len());
                prop_assert!(!path.split('/').any(|segment| segment == ".." || segment == "."));
                prop_assert!(!path.bytes().any(|octet| octet < 0x20));
                let slashes = |text: &str| text.matches('/').count();
                prop_assert_eq!(slashes(&path), slashes(&raw), "no segment more or less");
                if let Ok(key) = Path(&path).key() {
                    prop_assert!(key.segments().all(|segment| segment != ".."));
                }
            }
        }
    }
}
