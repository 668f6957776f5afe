//! Conditional requests (RFC 9110 §13).

use crate::date::HttpDate;
use crate::etag::{EntityTag, tags};
use crate::field::{FieldName, Fields};
use crate::head::RequestHead;
use crate::method::Method;

/// What there is of a resource now, as far as conditions ask for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// The tag of the representation that would be sent.
    pub etag: Option<EntityTag<'a>>,
    /// When it was last changed.
    pub last_modified: Option<HttpDate>,
    /// The time now, where it is known.
    pub now: Option<HttpDate>,
}

/// What a request's conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Do what is asked.
    Go,
    /// Do what is asked, but leave a Range out: the representation is another than the client has a part of.
    GoWithoutRange,
    /// Answer 304: what the client has is current.
    NotModified,
    /// Answer 412.
    PreconditionFailed,
}

/// Evaluates the conditions of a request in their order of precedence (RFC 9110 §13.2.2). `current` is what there is, or `None`
/// where there is no representation.
///
/// To be called where the answer without conditions would be 2xx or 412 (§13.2.1).
pub fn evaluate(head: &RequestHead<'_>, current: Option<&Validators<'_>>) -> Outcome {
    let fields = &head.fields();
    let reads = matches!(head.method(), Method::Get | Method::Head);
    if fields.has(FieldName::IfMatch) {
        if !is_any_tag(fields, FieldName::IfMatch, current, |a, b| a.is_same(b)) {
            return Outcome::PreconditionFailed;
        }
    } else if let Some(date) = date(fields, FieldName::IfUnmodifiedSince, current) {
        let changed = current.and_then(|current| current.last_modified);
        if changed.is_some_and(|changed| changed > date) {
            return Outcome::PreconditionFailed;
        }
    }
    if fields.has(FieldName::IfNoneMatch) {
        if is_any_tag(fields, FieldName::IfNoneMatch, current, |a, b| a.is_like(b)) {
            return match reads {
                true => Outcome::NotModified,
                false => Outcome::PreconditionFailed,
            };
        }
    } else if reads && let Some(date) = date(fields, FieldName::IfModifiedSince, current) {
        let changed = current.and_then(|current| current.last_modified);
        if changed.is_some_and(|changed| changed <= date) {
            return Outcome::NotModified;
        }
    }
    if fields.has(FieldName::Range)
        && fields.has(FieldName::IfRange)
        && !is_range_current(fields, current)
    {
        return Outcome::GoWithoutRange;
    }
    Outcome::Go
}

/// Whether `*` is asked for and there is a representation, or one of the tags is its tag.
fn is_any_tag(
    fields: &Fields<'_>,
    name: FieldName,
    current: Option<&Validators<'_>>,
    compare: impl Fn(&EntityTag<'_>, &EntityTag<'_>) -> bool,
) -> bool {
    let Some(current) = current else {
        return false;
    };
    fields.all(name).any(|value| {
        value == b"*"
            || current.etag.is_some_and(|current| {
                tags(value).any(|tag| tag.is_some_and(|tag| compare(&current, &tag)))
            })
    })
}

/// A condition's date; one that is none, or there twice, is no condition (RFC 9110 §13.1.3, §13.1.4).
fn date(
    fields: &Fields<'_>,
    name: FieldName,
    current: Option<&Validators<'_>>,
) -> Option<HttpDate> {
    let now = current.and_then(|current| current.now);
    HttpDate::parse(fields.single(name)?, now)
}

/// Whether If-Range says that the client has a part of what there is (RFC 9110 §13.1.5).
fn is_range_current(fields: &Fields<'_>, current: Option<&Validators<'_>>) -> bool {
    let (Some(current), Some(value)) = (current, fields.single(FieldName::IfRange)) else {
        return false;
    };
    if let Some(tag) = EntityTag::parse(value) {
        return current.etag.is_some_and(|current| current.is_same(&tag));
    }
    let (Some(date), Some(changed)) = (HttpDate::parse(value, current.now), current.last_modified)
    else {
        return false;
    };
    // To the second alone a date tells two changes within one second apart only when that second is over: a date is a
    // strong validator then (RFC 9110 §8.8.2.2).
    date == changed && current.now.is_some_and(|now| now > changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldSlot;
    use crate::head::{HeadLimits, HeadParser};

    const OLD: &str = "Sat, 05 Nov 1994 08:49:37 GMT";
    const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    fn validators() -> Validators<'static> {
        Validators {
            etag: EntityTag::strong(b"a"),
            last_modified: HttpDate::parse(CHANGED.as_bytes(), None),
            now: HttpDate::parse(NEW.as_bytes(), None),
        }
    }

    fn with(method: &str, fields: &str, current: Option<&Validators<'_>>) -> Outcome {
        let head = std::format!("{method} / HTTP/1.1\r\n{fields}\r\n\r\n");
        let (mut parser, mut slots) = (HeadParser::request(), [FieldSlot::EMPTY; 8]);
        let parsed = parser.parse(head.as_bytes(), &mut slots, &HeadLimits::DEFAULT);
        assert_eq!(parsed, Ok(Some(head.len())), "{head}");
        evaluate(
            &parser.request_head(head.as_bytes(), &slots).unwrap(),
            current,
        )
    }

    fn get(fields: &str) -> Outcome {
        with("GET", fields, Some(&validators()))
    }

    #[test]
    fn if_match_is_strong() {
        assert_eq!(get("If-Match: \"a\""), Outcome::Go);
        assert_eq!(get("If-Match: \"b\", \"a\""), Outcome::Go);
        assert_eq!(get("If-Match: \"b\"\r\nIf-Match: \"a\""), Outcome::Go);
        assert_eq!(get("If-Match: *"), Outcome::Go);
        for no in ["W/\"a\"", "\"b\"", "a", "", "\"*\""] {
            let field = std::format!("If-Match: {no}");
            assert_eq!(get(&field), Outcome::PreconditionFailed, "{no}");
        }
        assert_eq!(
            with("PUT", "If-Match: *", None),
            Outcome::PreconditionFailed
        );
    }

    #[test]
    fn if_none_match_is_weak_and_goes_before_the_date() {
        for yes in ["W/\"a\"", "\"b\", \"a\"", "*"] {
            let field = std::format!("If-None-Match: {yes}");
            assert_eq!(get(&field), Outcome::NotModified, "{yes}");
            let put = with("PUT", &field, Some(&validators()));
            assert_eq!(put, Outcome::PreconditionFailed, "{yes}");
        }
        assert_eq!(get("If-None-Match: \"b\""), Outcome::Go);
        let both = std::format!("If-None-Match: \"b\"\r\nIf-Modified-Since: {NEW}");
        assert_eq!(get(&both), Outcome::Go);
        assert_eq!(with("PUT", "If-None-Match: *", None), Outcome::Go);
    }

    #[test]
    fn if_modified_since_is_for_reading_and_for_dates() {
        let since = |date: &str| std::format!("If-Modified-Since: {date}");
        assert_eq!(get(&since(OLD)), Outcome::Go);
        assert_eq!(get(&since(CHANGED)), Outcome::NotModified);
        assert_eq!(get(&since(NEW)), Outcome::NotModified);
        assert_eq!(with("POST", &since(NEW), Some(&validators())), Outcome::Go);
        assert_eq!(get(&since("yesterday")), Outcome::Go);
        let twice = std::format!("{}\r\n{}", since(NEW), since(NEW));
        assert_eq!(get(&twice), Outcome::Go);
    }

    #[test]
    fn if_unmodified_since_counts_without_if_match_alone() {
        let since = |date: &str| std::format!("If-Unmodified-Since: {date}");
        assert_eq!(get(&since(OLD)), Outcome::PreconditionFailed);
        assert_eq!(get(&since(CHANGED)), Outcome::Go);
        assert_eq!(
            get(&std::format!("If-Match: \"a\"\r\n{}", since(OLD))),
            Outcome::Go
        );
        assert_eq!(get(&since("never")), Outcome::Go);
    }

    #[test]
    fn a_failed_precondition_goes_before_not_modified() {
        assert_eq!(
            get("If-None-Match: \"a\"\r\nIf-Match: \"b\""),
            Outcome::PreconditionFailed
        );
        assert_eq!(
            get("If-None-Match: \"a\"\r\nIf-Match: \"a\""),
            Outcome::NotModified
        );
    }

    #[test]
    fn if_range_is_strong() {
        let range =
            |condition: &str| get(&std::format!("Range: bytes=0-1\r\nIf-Range: {condition}"));
        assert_eq!(range("\"a\""), Outcome::Go);
        assert_eq!(range(CHANGED), Outcome::Go);
        for no in ["W/\"a\"", "\"b\"", OLD, NEW, "x", "\"a\", \"a\""] {
            assert_eq!(range(no), Outcome::GoWithoutRange, "{no}");
        }
        assert_eq!(
            get("If-Range: \"b\""),
            Outcome::Go,
            "without a range it says nothing"
        );
        let just_changed = Validators {
            now: validators().last_modified,
            ..validators()
        };
        let fields = std::format!("Range: bytes=0-1\r\nIf-Range: {CHANGED}");
        assert_eq!(
            with("GET", &fields, Some(&just_changed)),
            Outcome::GoWithoutRange
        );
    }
}
