//! Media types of files by their names' ends.

/// The most usual ends, sorted, in lower case. Text says that it is UTF-8: a site is written so.
const TYPES: &[(&str, &str)] = &[
    ("7z", "application/x-7z-compressed"),
    ("atom", "application/atom+xml"),
    ("avif", "image/avif"),
    ("bin", "application/octet-stream"),
    ("bmp", "image/bmp"),
    ("br", "application/x-brotli"),
    ("bz2", "application/x-bzip2"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("eot", "application/vnd.ms-fontobject"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jxl", "image/jxl"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("rss", "application/rss+xml"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xml", "application/xml"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// The media type for a file of this name, by what stands behind the last dot, compared without case. `application/octet-stream` for
/// what is not known, for a name without a dot, and for one that only begins with one.
///
/// ```
/// use mirage_http::media_type;
///
/// assert_eq!(media_type("css/site.CSS"), "text/css; charset=utf-8");
/// assert_eq!(media_type("LICENSE"), "application/octet-stream");
/// ```
pub fn media_type(name: &str) -> &'static str {
    const UNKNOWN: &str = "application/octet-stream";
    let octets = name.as_bytes();
    let at = octets
        .iter()
        .rposition(|octet| matches!(octet, b'.' | b'/'));
    // A dot with something of the file's name before it.
    let Some(at @ 1..) =
        at.filter(|at| octets[*at] == b'.' && octets[at.saturating_sub(1)] != b'/')
    else {
        return UNKNOWN;
    };
    let end = &octets[at + 1..];
    let mut room = [0; LONGEST_END];
    let Some(small) = room.get_mut(..end.len()) else {
        return UNKNOWN;
    };
    small.copy_from_slice(end);
    small.make_ascii_lowercase();
    let order = |known: &str| known.as_bytes().cmp(small);
    match TYPES.binary_search_by(|(known, _)| order(known)) {
        Ok(at) => TYPES[at].1,
        Err(_) => UNKNOWN,
    }
}

/// Octets of the longest end that is known.
const LONGEST_END: usize = {
    let (mut longest, mut at) = (0, 0);
    while at < TYPES.len() {
        if TYPES[at].0.len() > longest {
            longest = TYPES[at].0.len();
        }
        at += 1;
    }
    longest
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_found() {
        assert!(TYPES.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted");
        for (end, kind) in TYPES {
            assert_eq!(media_type(&std::format!("a.b/c.d.{end}")), *kind);
        }
    }

    #[test]
    fn the_last_end_of_the_last_part_counts_in_any_case() {
        for name in ["a.css/b.html", "\u{e9}.HTML", "x/.a.Html", "a..html"] {
            assert_eq!(media_type(name), "text/html; charset=utf-8", "{name}");
        }
    }

    #[test]
    fn what_is_not_known_is_octets() {
        for name in [
            "",
            "a",
            ".html",
            "a/.css",
            "a.b/c",
            "a.",
            "a.unknown",
            "a.of-more-octets-than-any-that-is-known",
            "a.html/b",
            "a/b/.html",
            "html",
        ] {
            assert_eq!(media_type(name), "application/octet-stream", "{name}");
        }
    }
}
