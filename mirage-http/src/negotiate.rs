//! Which of the representations that there are a client is sent (RFC 9110 §12).

use crate::field::{FieldName, Fields, weight};

/// A content coding that files may be there in, precompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// None: as it is.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
}

impl Coding {
    /// Its name in Content-Encoding; none for what is as it is.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }

    /// What is put behind a file's name for its variant in this coding.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => ".gz",
            Self::Brotli => ".br",
        }
    }
}

/// What a client says of the codings, in thousandths; 0 is "not at all" (RFC 9110 §12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedCodings {
    identity: u16,
    gzip: u16,
    brotli: u16,
}

impl AcceptedCodings {
    /// What a request says. One that says nothing gets what is as it is.
    pub fn new(fields: &Fields<'_>) -> Self {
        let (mut identity, mut gzip, mut brotli, mut other) = (None, None, None, None);
        for element in fields.list(FieldName::AcceptEncoding) {
            // What is wrong counts for nothing.
            let Some((coding, weight)) = weight(element) else {
                continue;
            };
            let place = match coding {
                b"*" => &mut other,
                name if name.eq_ignore_ascii_case(b"br") => &mut brotli,
                // RFC 9110 §8.4.1.3: x-gzip is gzip.
                name if name.eq_ignore_ascii_case(b"gzip") => &mut gzip,
                name if name.eq_ignore_ascii_case(b"x-gzip") => &mut gzip,
                name if name.eq_ignore_ascii_case(b"identity") => &mut identity,
                _ => continue,
            };
            // Named twice, the first counts.
            place.get_or_insert(weight);
        }
        Self {
            // Without a word about it, it is acceptable, though a coding that was asked for goes before it.
            identity: identity.or(other).unwrap_or(1),
            gzip: gzip.or(other).unwrap_or(0),
            brotli: brotli.or(other).unwrap_or(0),
        }
    }

    /// Whether a coding is wanted at all.
    pub fn accepts(&self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// The best of the codings that there are: the one that the client likes best, of those that it likes equally the smallest. What
    /// is as it is where nothing is acceptable: a client that gets something can still say no (RFC 9110 §12.5.3).
    pub fn choose(&self, is_there: impl Fn(Coding) -> bool) -> Coding {
        let mut best = Coding::Identity;
        for coding in [Coding::Gzip, Coding::Brotli] {
            let weight = self.weight(coding);
            if weight > 0 && weight >= self.weight(best) && is_there(coding) {
                best = coding;
            }
        }
        best
    }

    fn weight(&self, coding: Coding) -> u16 {
        match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldSlot;
    use crate::head::{HeadLimits, HeadParser};

    fn choose_of(value: Option<&str>, is_there: impl Fn(Coding) -> bool) -> Coding {
        let mut head = std::string::String::from("GET / HTTP/1.1\r\n");
        if let Some(value) = value {
            head += &std::format!("Accept-Encoding: {value}\r\n");
        }
        head += "\r\n";
        let (mut parser, mut slots) = (HeadParser::request(), [FieldSlot::EMPTY; 4]);
        let parsed = parser.parse(head.as_bytes(), &mut slots, &HeadLimits::DEFAULT);
        assert_eq!(parsed, Ok(Some(head.len())));
        let head = parser.request_head(head.as_bytes(), &slots).unwrap();
        AcceptedCodings::new(&head.fields()).choose(is_there)
    }

    fn choose(value: &str) -> Coding {
        choose_of(Some(value), |_| true)
    }

    #[test]
    fn what_browsers_and_tools_say() {
        assert_eq!(choose("gzip, deflate, br, zstd"), Coding::Brotli);
        assert_eq!(choose("gzip, deflate"), Coding::Gzip);
        assert_eq!(choose("deflate"), Coding::Identity);
        assert_eq!(choose("*"), Coding::Brotli);
        assert_eq!(choose(""), Coding::Identity);
        assert_eq!(choose_of(None, |_| true), Coding::Identity);
    }

    #[test]
    fn weights_count() {
        assert_eq!(choose("br;q=0.5, gzip"), Coding::Gzip);
        assert_eq!(choose("br;q=0, gzip;q=0.001"), Coding::Gzip);
        assert_eq!(choose("gzip;q=0.5, identity;q=0.8"), Coding::Identity);
        assert_eq!(choose("gzip;q=0.5, identity;q=0.5"), Coding::Gzip);
        assert_eq!(choose("br;q=0, *"), Coding::Gzip);
        assert_eq!(choose("*;q=0"), Coding::Identity, "nothing is acceptable");
        assert_eq!(choose("GZIP"), Coding::Gzip);
        assert_eq!(choose("x-gzip;q=0.3"), Coding::Gzip);
        assert_eq!(choose("gzip;q=2, br;q=x"), Coding::Identity);
        assert_eq!(choose("gzip;q=0, gzip"), Coding::Identity);
    }

    #[test]
    fn what_is_not_there_is_not_chosen() {
        let without_brotli = |coding| coding != Coding::Brotli;
        assert_eq!(
            choose_of(Some("br, gzip;q=0.5"), without_brotli),
            Coding::Gzip
        );
        let plain = |coding| coding == Coding::Identity;
        assert_eq!(choose_of(Some("br, gzip"), plain), Coding::Identity);
    }
}
