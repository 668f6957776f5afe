//! Keys in text.

use super::*;
use std::format;
use std::string::ToString;

const SECRET_TEXT: &str = "c2VjcmV0IG9mIHRoaXMgZXhhbXBsZSwgMzIgb2N0ZXRz";

/// Whether a key is the one that [`keys`] has under this name.
fn is_the_same(read: &Key) -> bool {
    let keys = keys();
    let (request, _) = signed(read, &query(7), NOW);
    verify(&keys, &request, NOW).is_ok()
}

/// The first error of a key file: line, column, what was expected.
fn error(text: &str) -> (u32, u32, &'static str) {
    let mut file = KeyFile::new(text);
    let error = file.find_map(Result::err);
    assert!(file.next().is_none(), "nothing comes after an error");
    let error = error.unwrap_or_else(|| panic!("no error in {text}"));
    (error.line, error.column, error.expected)
}

#[test]
fn file_of_tsig_keygen_is_read() {
    let text = format!(
        "key \"sha256.example\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET_TEXT}\";\n}};\n"
    );
    let keys: Vec<Key> = KeyFile::new(&text).collect::<Result<_, _>>().unwrap();
    assert_eq!(keys.len(), 1);
    assert!(is_the_same(&keys[0]));
}

#[test]
fn several_keys_comments_and_any_order() {
    let text = format!(
        "# of the shell }} ; \" \n/* of C \n over lines */key sha256.example{{secret {SECRET_TEXT};algorithm \
         \"HMAC-SHA256\";}};// of C++\nkey /* here */ sha512.example. {{ algorithm hmac-sha512.; secret \
         \"{SECRET_TEXT}\"; }} ; // at the end"
    );
    let keys: Vec<Key> = KeyFile::new(&text).collect::<Result<_, _>>().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(is_the_same));
    for empty in ["", " \n\t\r\n", "# nothing", "//", "/**/"] {
        assert_eq!(KeyFile::new(empty).count(), 0, "{empty:?}");
    }
}

#[test]
fn errors_say_line_and_column() {
    let algorithms = "hmac-sha256, hmac-sha384 or hmac-sha512";
    let statement = "`algorithm`, `secret` or `}`";
    let once = "`algorithm`, `secret` or `}`, each once";
    let secret = "a secret of 1 to 512 octets in base64";
    for (text, wanted) in [
        ("zone a {}", (1, 1, "`key`")),
        ("\n  \"key\" a {}", (2, 3, "`key`")),
        ("key", (1, 4, "the name of a key")),
        ("key {", (1, 5, "the name of a key")),
        ("key a..b {", (1, 5, "the name of a key")),
        ("key a", (1, 6, "`{`")),
        ("key a;", (1, 6, "`{`")),
        ("key a \"{\"", (1, 7, "`{`")),
        ("key a {", (1, 8, statement)),
        ("key a {\n\n;", (3, 1, once)),
        ("key a {\n algorithm hmac-md5;", (2, 12, algorithms)),
        ("key a { algorithm ;", (1, 19, algorithms)),
        ("key a { algorithm hmac-sha256 }", (1, 31, "`;`")),
        (
            "key a { secret \"\";};",
            (1, 19, "an `algorithm` statement before it"),
        ),
        (
            "key a { algorithm hmac-sha256; };",
            (1, 32, "a `secret` statement before it"),
        ),
        (
            "key a { algorithm hmac-sha256; algorithm hmac-sha256; };",
            (1, 32, once),
        ),
        (
            "key a { secret \"c2Vj\"; secret \"c2Vj\"; };",
            (1, 24, once),
        ),
        (
            "key a { algorithm hmac-sha256; secret \"c2V\"; };",
            (1, 39, secret),
        ),
        (
            "key a { algorithm hmac-sha256; secret \"\"; };",
            (1, 39, secret),
        ),
        (
            "key a { algorithm hmac-sha256; secret \"c2Vj\"; }",
            (1, 48, "`;`"),
        ),
        ("key \"a\n\" {", (1, 5, "a string that ends on its line")),
        ("key \"a", (1, 5, "a string that ends on its line")),
        ("\n /* key", (2, 2, "a comment that ends")),
        ("/*/", (1, 1, "a comment that ends")),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
    let long = "AAAA".repeat(171);
    let text = format!("key a {{ algorithm hmac-sha256; secret {long}; }};");
    assert_eq!(error(&text), (1, 39, secret));
}

#[test]
fn errors_do_not_show_secrets() {
    let text = "key a { algorithm hmac-sha256; secret \"hunter2!\"; };";
    let shown = KeyFile::new(text).find_map(Result::err).unwrap();
    assert_eq!(
        shown.to_string(),
        "1:39: expected a secret of 1 to 512 octets in base64"
    );
    assert!(!format!("{shown:?} {:?}", KeyFile::new(text)).contains("hunter"));
}

#[test]
fn argument_of_dig_is_read() {
    let key = Key::from_text(&format!("sha256.example:{SECRET_TEXT}")).unwrap();
    assert!(is_the_same(&key));
    let key = Key::from_text(&format!("hmac-sha384:sha384.example.:{SECRET_TEXT}")).unwrap();
    assert!(is_the_same(&key));
    for (text, wanted) in [
        ("", "1:1: expected [ALGORITHM:]NAME:SECRET"),
        ("a", "1:1: expected [ALGORITHM:]NAME:SECRET"),
        (
            "hmac-md5:a:c2Vj",
            "1:1: expected hmac-sha256, hmac-sha384 or hmac-sha512",
        ),
        ("a..b:c2Vj", "1:1: expected the name of a key"),
        ("hmac-sha256::c2Vj", "1:13: expected the name of a key"),
        (
            "hmac-sha256:a:!",
            "1:15: expected a secret of 1 to 512 octets in base64",
        ),
        ("a:", "1:3: expected a secret of 1 to 512 octets in base64"),
    ] {
        assert_eq!(
            Key::from_text(text).unwrap_err().to_string(),
            wanted,
            "{text}"
        );
    }
}
