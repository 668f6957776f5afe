//! Which crate a symbol comes from.

/// The crate at the root of a symbol's name, or `None` if the name is not a mangled one of Rust's: assembly, and what is
/// exported under a name of its own.
///
/// Of an implementation it is the crate of the type; where that is no crate's (`<[T] as Debug>::fmt`), the crate of the trait,
/// and without a trait (`<str>::find`) `core`.
///
/// ```
/// use cargo_mirage::build_command::image::crate_of;
///
/// assert_eq!(crate_of("_ZN4core3fmt5write17h0123456789abcdefE").as_deref(), Some("core"));
/// assert_eq!(crate_of("memcpy"), None);
/// ```
pub fn crate_of(symbol: &str) -> Option<String> {
    let demangled = rustc_demangle::try_demangle(symbol).ok()?;
    // Without hashes.
    root_of(&format!("{demangled:#}")).map(str::to_owned)
}

/// The first identifier that a path begins with.
fn root_of(path: &str) -> Option<&str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = path;
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        if word[end..].starts_with("::") {
            // A method of a type without a path.
            let after_type = rest[..start].ends_with(">::");
            return Some(if after_type { "core" } else { &word[..end] });
        }
        rest = &word[end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_is_the_root_of_the_path() {
        for (path, root) in [
            ("core::fmt::write", "core"),
            (
                "<heapless::vec::Vec<u8, 3> as core::fmt::Debug>::fmt",
                "heapless",
            ),
            (
                "<&mut mirage_net::Stack as core::fmt::Debug>::fmt",
                "mirage_net",
            ),
            ("<[u8] as core::fmt::Debug>::fmt", "core"),
            ("<&dyn log::Log>::enabled", "log"),
            ("<str>::find::<char>", "core"),
            ("<[u8]>::sort_by::<web::Page>::{closure#0}", "core"),
            (
                "<dns_appliance::Service>::answer::{closure#0}",
                "dns_appliance",
            ),
        ] {
            assert_eq!(root_of(path), Some(root), "{path}");
        }
        assert_eq!(root_of("main"), None);
    }

    #[test]
    fn both_manglings_are_known_and_other_names_are_nobodys() {
        for (symbol, expected) in [
            ("_RNvCsfQFEIFy1OKh_9appliance4main", Some("appliance")),
            (
                "_RNvXs_NtCs1_8heapless3vecINtB4_3VechENtNtCs2_4core3fmt5Debug3fmt",
                Some("heapless"),
            ),
            (
                "_ZN60_$LT$alloc..string..String$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE",
                Some("alloc"),
            ),
            ("_start", None),
            ("", None),
        ] {
            assert_eq!(crate_of(symbol).as_deref(), expected, "{symbol}");
        }
    }
}
