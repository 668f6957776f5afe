//! Values of fields, of any octets: dates, lists, entity tags, ranges, conditions, codings, and paths.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_http::condition::{Validators, evaluate};
use mirage_http::field::{FieldSlot, elements};
use mirage_http::head::{HeadLimits, HeadParser};
use mirage_http::negotiate::{AcceptedCodings, Coding};
use mirage_http::range::{Multipart, Selection};
use mirage_http::{EntityTag, HttpDate, Path};

const NAMES: &[&str] = &[
    "accept-encoding",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, value)) = input.split_first() else {
        return;
    };
    let now = HttpDate::from_unix(1_780_000_000);
    if let Some(date) = HttpDate::parse(value, Some(now)) {
        assert_eq!(HttpDate::parse(&date.format(), None), Some(date));
    }
    assert!(elements(value).all(|element| !element.is_empty()));
    if let Some(tag) = EntityTag::parse(value) {
        assert!(tag.is_like(&tag) && tag.is_same(&tag) != tag.is_weak());
    }
    let size = u64::from(*choice) * 7;
    if let Selection::Parts(parts) = Selection::new(value, size) {
        for range in parts.as_slice() {
            assert!(range.length > 0 && range.last() < size);
        }
        let multipart = Multipart::new(b"tag", "text/plain", size);
        assert!(multipart.length(&parts) > 0);
    }
    if let Ok(path) = core::str::from_utf8(value) {
        let mut room = vec![0; path.len()];
        if let Ok(path) = Path::decode(path, &mut room) {
            assert!(path.segments().all(|segment| segment != ".."));
            let _ = path.key();
        }
    }
    let name = NAMES[usize::from(*choice) % NAMES.len()];
    let head = [
        b"GET / HTTP/1.1\r\nRange: bytes=0-1\r\n",
        name.as_bytes(),
        b": ",
        value,
        b"\r\n\r\n",
    ]
    .concat();
    let (mut parser, mut slots) = (HeadParser::request(), [FieldSlot::EMPTY; 4]);
    if let Ok(Some(_)) = parser.parse(&head, &mut slots, &HeadLimits::DEFAULT) {
        let head = parser
            .request_head(&head, &slots)
            .expect("the head is whole");
        let current = Validators {
            etag: EntityTag::strong(b"a"),
            last_modified: Some(HttpDate::from_unix(1_700_000_000)),
            now: Some(now),
        };
        evaluate(&head, Some(&current));
        evaluate(&head, None);
        let accepted = AcceptedCodings::new(&head.fields());
        let coding = accepted.choose(|_| true);
        assert!(accepted.accepts(coding) || coding == Coding::Identity);
    }
});
