//! What a request asks for (RFC 9110 §9).

use core::fmt;

/// A request method. Names are compared with case, as they are defined (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// The current representation (RFC 9110 §9.3.1).
    Get,
    /// As GET, without the content (§9.3.2).
    Head,
    /// The resource's own processing of the content (§9.3.3).
    Post,
    /// Another representation in place of the current one (§9.3.4).
    Put,
    /// No representation any more (§9.3.5).
    Delete,
    /// A tunnel (§9.3.6). The server's machine refuses it.
    Connect,
    /// What can be asked (§9.3.7).
    Options,
    /// The request back (§9.3.8).
    Trace,
    /// A change (RFC 5789).
    Patch,
    /// Another token, of at most [`Method::MAX_LENGTH`] octets.
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// The longest name of a method that is read, in octets.
    pub const MAX_LENGTH: usize = 32;

    /// The method of this name; `None` if it is no token, or too long.
    pub fn new(name: &'a str) -> Option<Self> {
        let octets = name.as_bytes();
        if octets.len() > Self::MAX_LENGTH || !crate::scan::is_whole_token(octets) {
            return None;
        }
        Some(Self::of_token(name))
    }

    /// The method of a name that is known to be a token of at most `MAX_LENGTH` octets.
    pub(crate) fn of_token(name: &'a str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            other => Self::Other(other),
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'a str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(name) => name,
        }
    }

    /// Whether it is essentially read-only (RFC 9110 §9.2.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether asking twice has the effect of asking once, so that a request whose connection broke may be sent again
    /// (RFC 9110 §9.2.2).
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_compared_with_case() {
        assert_eq!(Method::new("GET"), Some(Method::Get));
        assert_eq!(Method::new("get"), Some(Method::Other("get")));
        assert_eq!(
            Method::new("PROPFIND").map(Method::as_str),
            Some("PROPFIND")
        );
    }

    #[test]
    fn a_method_is_a_token_and_short() {
        for name in ["", "G T", "GET\r", "GE(T", "GÉT", &"A".repeat(33)] {
            assert_eq!(Method::new(name), None, "{name:?}");
        }
        assert!(Method::new(&"A".repeat(32)).is_some());
    }

    #[test]
    fn what_may_be_sent_again() {
        assert!(Method::Get.is_idempotent() && Method::Put.is_idempotent());
        assert!(!Method::Post.is_idempotent() && !Method::Other("GE").is_idempotent());
        assert!(!Method::Put.is_safe());
    }
}
