//! What an appliance may be called.

use crate::lab::guest;

/// Rust's keywords, reserved ones too (The Rust Reference, Keywords): a crate with such a name can't be named.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Crates that every program has, or that the written packages depend on: two with one name can't be told apart.
const CRATES: &[&str] = &[
    "alloc",
    "clap",
    "core",
    "edge-nal",
    "log",
    "mirage-core",
    "mirage-dns",
    "mirage-host",
    "mirage-http",
    "mirage-net",
    "mirage-xen",
    "proc-macro",
    "std",
    "test",
];

/// The longest name that a registry takes, in characters, less what a main's name adds (`-host`).
const LONGEST: usize = 64 - 5;

/// Says what is wrong with a name, or nothing.
///
/// A name is that of three packages, of two crates, of a guest and of environment variables: lower-case letters, digits and
/// `-`, the first a letter.
pub(super) fn problem_with(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let Some(first) = name.chars().next() else {
        return Some("a name can't be empty".into());
    };
    if let Some(other) = name.chars().find(|c| !allowed(*c)) {
        return Some(format!(
            "`{name}` is no name of a crate: {other:?} is no lower-case letter, digit, `-` or `_`{}",
            if name.contains('/') {
                "; change into the folder in which the new one is to be"
            } else {
                ""
            }
        ));
    }
    if !first.is_ascii_lowercase() {
        return Some(format!(
            "`{name}` is no name of a crate: it must begin with a letter"
        ));
    }
    if name.len() > LONGEST {
        return Some(format!("`{name}` is longer than {LONGEST} characters"));
    }
    // Rust takes both for one.
    let is = |other: &str| other.replace('-', "_") == name.replace('-', "_");
    if KEYWORDS.iter().any(|keyword| is(keyword)) {
        return Some(format!("`{name}` is a keyword of Rust"));
    }
    if CRATES.iter().any(|other| is(other)) {
        return Some(format!(
            "`{name}` is the name of a crate that an appliance is made of"
        ));
    }
    guest::problem_with(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crates_are_taken() {
        for name in ["hello", "a", "web-2", "selfish", "dns-host-2"] {
            assert_eq!(problem_with(name), None);
        }
    }

    #[test]
    fn what_is_no_name_of_a_crate_is_refused_with_the_reason() {
        let (long, guest) = ("a".repeat(60), "a".repeat(33));
        for (name, reason) in [
            ("", "empty"),
            ("Hello", "'H'"),
            ("2much", "begin with a letter"),
            ("-a", "begin with a letter"),
            ("_a", "begin with a letter"),
            ("a b", "' '"),
            ("a.b", "'.'"),
            ("hällo", "'ä'"),
            ("../hello", "change into the folder"),
            ("self", "keyword"),
            ("gen", "keyword"),
            ("mirage_core", "made of"),
            ("std", "made of"),
            (long.as_str(), "longer"),
            ("my_dns", "guest's name"),
            ("xen", "guest's name"),
            ("dom0", "guest's name"),
            (guest.as_str(), "guest's name"),
        ] {
            let problem = problem_with(name).unwrap_or_default();
            assert!(problem.contains(reason), "{name}: {problem}");
        }
    }
}
