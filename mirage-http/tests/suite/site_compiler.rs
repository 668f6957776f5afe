//! The site compiler: what it reads and refuses, and how what it made is served.

use std::fs::{self, File};
use std::future::Future;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use mirage_core::Instant;
use mirage_core::kv::{CompiledStore, Key};
use mirage_http::Status;
use mirage_http::field::FieldSlot;
use mirage_http::files::Files;
use mirage_http::server::{Limits, Server, ServerEvent};
use mirage_http::site_compiler::{Fault, ModificationTimes, Site, SiteCompiler, SiteError};
use tempfile::TempDir;

/// Long enough to be worth compressing.
fn page() -> String {
    "<p>The same again and again.</p>\n".repeat(40)
}

/// A folder with these files, made in this order.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, octets) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("folders");
        fs::write(path, octets).expect("a file");
    }
    folder
}

fn compile(folder: &Path) -> Result<Site, SiteError> {
    let none = ModificationTimes::None;
    SiteCompiler::new().with_times(none).compile(folder)
}

fn refused(result: Result<Site, SiteError>) -> SiteError {
    result.expect_err("a site that is wrong")
}

#[test]
fn without_brotli_there_are_variants_in_gzip() {
    let page = page();
    let folder = folder(&[("index.html", page.as_bytes())]);
    let compiler = SiteCompiler::new().with_brotli(false);
    let site = compiler.compile(folder.path()).expect("a site");
    let keys: Vec<&str> = site.entries().map(|(key, _)| key).collect();
    assert_eq!(keys, ["index.html", "index.html.gz"]);
}

#[test]
fn variants_are_made_where_they_are_smaller_and_are_the_file() {
    let page = page();
    // A generator's output, of which nothing can be saved.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(2_000)
    .collect();
    let folder = folder(&[
        ("index.html", page.as_bytes()),
        ("css/site.css", page.as_bytes()),
        ("noise.bin", &noise),
        ("small.txt", b"small"),
        ("empty.txt", b""),
    ]);
    let site = compile(folder.path()).expect("a site");
    let keys: Vec<&str> = site.entries().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "css/site.css",
            "css/site.css.br",
            "css/site.css.gz",
            "empty.txt",
            "index.html",
            "index.html.br",
            "index.html.gz",
            "noise.bin",
            "small.txt"
        ]
    );
    for (key, entry) in site.entries() {
        let mut unpacked = Vec::new();
        match key.rsplit_once('.') {
            Some((_, "gz")) => {
                let mut reader = flate2::read::GzDecoder::new(entry.octets());
                reader.read_to_end(&mut unpacked).expect("gzip");
            }
            Some((_, "br")) => {
                let mut packed = entry.octets();
                brotli::BrotliDecompress(&mut packed, &mut unpacked).expect("Brotli");
            }
            _ => continue,
        }
        assert_eq!(unpacked, page.as_bytes(), "{key}");
        assert!(entry.octets().len() < page.len());
    }
}

#[test]
fn two_builds_of_the_same_files_are_the_same() {
    let page = page();
    let files: [(&str, &[u8]); 3] = [
        ("index.html", page.as_bytes()),
        ("a/b.txt", page.as_bytes()),
        ("a.txt", b"a"),
    ];
    let mut reversed = files;
    reversed.reverse();
    let written = [files, reversed].map(|files| {
        let folder = folder(&files);
        let out = tempfile::tempdir().expect("a folder");
        let site = compile(folder.path()).expect("a site");
        site.write_source(&out.path().join("site.rs"))
            .expect("written");
        ["site.rs", "site.rs.octets"].map(|name| fs::read(out.path().join(name)).expect("a file"))
    });
    assert_eq!(written[0], written[1]);
}

#[test]
fn times_are_the_files_but_not_later_than_the_sources() {
    let folder = folder(&[("index.html", b"1"), ("old.txt", b"2")]);
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for (name, seconds) in [("index.html", 2_000), ("old.txt", 500)] {
        let file = File::options().write(true).open(folder.path().join(name));
        let file = file.expect("a file");
        file.set_modified(at(seconds)).expect("a time");
    }
    for (times, expected) in [
        (ModificationTimes::None, [None, None]),
        (ModificationTimes::Files, [Some(2_000), Some(500)]),
        (
            ModificationTimes::NotAfter(Duration::from_secs(1_000)),
            [Some(1_000), Some(500)],
        ),
    ] {
        let site = SiteCompiler::new().with_times(times).compile(folder.path());
        let site = site.expect("a site");
        let told: Vec<_> = site
            .entries()
            .map(|(_, entry)| entry.last_modified().map(|time| time.as_secs()))
            .collect();
        assert_eq!(told, expected, "{times:?}");
    }
}

#[test]
fn names_with_a_dot_in_front_are_left_out_and_told() {
    let folder = folder(&[
        ("index.html", b"1"),
        (".git/config", b"2"),
        ("a/.htaccess", b"3"),
        ("a/.well-known/x", b"4"),
        (".well-known/security.txt", b"5"),
    ]);
    let site = compile(folder.path()).expect("a site");
    let keys: Vec<&str> = site.entries().map(|(key, _)| key).collect();
    assert_eq!(keys, [".well-known/security.txt", "index.html"]);
    let left_out = [".git", "a/.htaccess", "a/.well-known"].map(|name| folder.path().join(name));
    assert_eq!(site.left_out(), left_out);
}

/// `Path` takes neither of them of a client, so such a file could never be had.
#[test]
fn a_name_that_no_path_means_is_refused() {
    for name in ["a\\b.txt", "a\nb", "\u{7f}", "a\\b/index.html"] {
        let folder = folder(&[("index.html", b"1"), (name, b"2")]);
        let error = refused(compile(folder.path()));
        assert!(
            matches!(error.fault(), Fault::NameNotServed),
            "{name:?}: {error}"
        );
    }
    // What has to be written with a percent sign is no reason.
    let folder = folder(&[
        ("index.html", b"1"),
        ("50% off?.txt", b"2"),
        ("ä b#c", b"3"),
    ]);
    assert!(compile(folder.path()).is_ok());
}

#[test]
fn what_is_wrong_is_told_with_its_file() {
    let error = refused(compile(Path::new("/nowhere/at all")));
    assert!(error.to_string().starts_with("/nowhere/at all: "));
    assert!(matches!(error.fault(), Fault::Io(_)));

    let empty = folder(&[("index.htm", b"")]);
    let error = refused(compile(empty.path()));
    assert!(matches!(error.fault(), Fault::NoIndex) && error.path() == empty.path());

    for file in ["a.txt.gz", "a.txt.br"] {
        let folder = folder(&[("index.html", b""), ("a.txt", b""), (file, b"")]);
        let error = refused(compile(folder.path()));
        assert_eq!(error.path(), folder.path().join(file));
        assert!(matches!(error.fault(), Fault::VariantOf(of) if of == "a.txt"));
    }

    let linked = folder(&[("index.html", b"")]);
    let link = linked.path().join("passwd");
    std::os::unix::fs::symlink("/etc/passwd", &link).expect("a link");
    let error = refused(compile(linked.path()));
    assert!(matches!(error.fault(), Fault::Link) && error.path() == link);

    let special = folder(&[("index.html", b"")]);
    let socket = special.path().join("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let error = refused(compile(special.path()));
    assert!(matches!(error.fault(), Fault::NoFile) && error.path() == socket);

    let named = folder(&[("index.html", b"")]);
    let name = std::ffi::OsStr::from_bytes(b"\xff.txt");
    fs::write(named.path().join(name), b"").expect("a file");
    let error = refused(compile(named.path()));
    assert!(matches!(error.fault(), Fault::NameNotUtf8));

    let deep = folder(&[("index.html", b"")]);
    fs::create_dir_all(deep.path().join("d/".repeat(17))).expect("folders");
    let error = refused(compile(deep.path()));
    assert!(matches!(error.fault(), Fault::TooDeep(16)));
}

#[test]
fn bounds_are_kept_exactly() {
    let folder = folder(&[("index.html", b"123"), ("a", b"4567")]);
    let compiler = SiteCompiler::new().with_times(ModificationTimes::None);
    let fits = compiler.with_max_files(2).with_max_octets(7);
    assert!(fits.compile(folder.path()).is_ok());
    let error = refused(fits.with_max_files(1).compile(folder.path()));
    assert!(matches!(error.fault(), Fault::TooManyFiles(1)));
    let error = refused(fits.with_max_octets(6).compile(folder.path()));
    assert!(matches!(error.fault(), Fault::TooManyOctets(6)));
}

/// Status, head and content's key of the answer to a request for `/`.
fn ask(store: &CompiledStore, fields: &str) -> (Status, String, Option<String>) {
    let server = Server::new(Limits::DEFAULT);
    let mut connection = server.connect(Instant::ZERO);
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let mut slots = [FieldSlot::EMPTY; 16];
    let event = connection.handle_input(request.as_bytes(), &mut slots, Instant::ZERO);
    let ServerEvent::Request { head, .. } = event else {
        panic!("{event:?}");
    };
    let (mut decoded, mut room, mut out) = ([0; 64], [0; 128], [0; 1_024]);
    let path = head.parse_target().expect("a target").path(&mut decoded);
    let files = Files::new(store);
    let answering = files.answer(&head, path.expect("a path"), None, &mut room);
    let Poll::Ready(answer) = pin!(answering).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a compiled store never waits");
    };
    let answer = answer.expect("no error");
    let mut response = connection
        .respond(&mut out, answer.status())
        .expect("a request");
    answer.write_fields(&head, &mut response);
    let length = response
        .finish(answer.content_length(), Instant::ZERO)
        .expect("a head");
    let head = String::from_utf8(out[..length].to_vec()).expect("text");
    let key = answer.key().map(|key| key.as_str().to_string());
    (answer.status(), head, key)
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn clients_get_the_variant_that_they_take_with_a_tag_of_its_own() {
    let folder = folder(&[("index.html", page().as_bytes())]);
    let store = compile(folder.path()).expect("a site").leak();
    let store = store.expect("a store");
    let mut tags = Vec::new();
    for (accepted, key, coding) in [
        ("", "index.html", None),
        ("Accept-Encoding: gzip\r\n", "index.html.gz", Some("gzip")),
        ("Accept-Encoding: gzip, br\r\n", "index.html.br", Some("br")),
        (
            "Accept-Encoding: br;q=0, gzip;q=0.5\r\n",
            "index.html.gz",
            Some("gzip"),
        ),
    ] {
        let (status, head, sent) = ask(&store, accepted);
        assert_eq!(
            (status, sent.as_deref()),
            (Status::OK, Some(key)),
            "{accepted}"
        );
        assert_eq!(field(&head, "content-encoding"), coding, "{head}");
        assert_eq!(field(&head, "vary"), Some("accept-encoding"), "{head}");
        let html = Some("text/html; charset=utf-8");
        assert_eq!(field(&head, "content-type"), html, "{head}");
        let tag = field(&head, "etag").expect("a tag").to_string();
        // Strong: it is a digest of what is sent, made when the site was compiled.
        let digest = store.value(Key::new(key).expect("a key")).expect("a value");
        assert_eq!(tag, format!("\"{}\"", sha256_beginning(digest)));
        // Who has that variant gets nothing; the tag of another is no match.
        let (status, _, _) = ask(&store, &format!("{accepted}If-None-Match: {tag}\r\n"));
        assert_eq!(status, Status::NOT_MODIFIED, "{accepted}");
        tags.push((key, tag));
    }
    let other = &tags[1].1;
    let (status, ..) = ask(&store, &format!("If-None-Match: {other}\r\n"));
    assert_eq!(status, Status::OK);
    assert!(tags[0].1 != tags[1].1 && tags[1].1 != tags[2].1);
    assert_eq!(tags[1], tags[3]);
}

/// The first 128 bits of a hash, in hexadecimal.
fn sha256_beginning(octets: &[u8]) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(octets);
    hash[..16]
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

#[test]
fn source_says_what_the_site_is() {
    let folder = folder(&[("index.html", page().as_bytes()), ("a \"b\".txt", b"c")]);
    let out = tempfile::tempdir().expect("a folder");
    let times = ModificationTimes::NotAfter(Duration::from_secs(7));
    let site = SiteCompiler::new().with_times(times).compile(folder.path());
    let site = site.expect("a site");
    site.write_source(&out.path().join("site.rs"))
        .expect("written");
    let source = fs::read_to_string(out.path().join("site.rs")).expect("source");
    assert!(source.contains(r#"CompiledEntry::new("a \"b\".txt", part(0, 1))"#));
    assert!(source.contains("with_last_modified(Duration::from_secs(7))"));
    let octets = fs::read(out.path().join("site.rs.octets")).expect("octets");
    assert_eq!(octets.len() as u64, site.octets());
    let error = refused(
        site.write_source(&out.path().join("none/site.rs"))
            .map(|()| site.clone()),
    );
    assert!(error.path().ends_with("none/site.rs.octets"));
}
