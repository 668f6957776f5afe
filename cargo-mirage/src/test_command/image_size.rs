//! What an image may weigh: an image that has grown is noticed when it grows.

use std::fs;
use std::path::Path;

/// Images that the lab boots, each with the bytes that its file may have: what it had when the bound was last set, and about 1 %
/// more. Who makes one smaller lowers it.
const BOUNDS: &[(&str, u64)] = &[("dns", 369_000), ("web", 443_000)];

/// Looks at the images in `folder`, which were built just now. What is wrong with each, if anything is.
pub(super) fn faults(folder: &Path) -> Vec<String> {
    let faults = BOUNDS.iter().filter_map(|(name, bound)| {
        let path = folder.join(format!("{name}.elf"));
        match fs::metadata(&path) {
            Ok(file) => fault(name, file.len(), *bound),
            Err(error) => Some(format!("no image of `{name}`: {}: {error}", path.display())),
        }
    });
    faults.collect()
}

fn fault(name: &str, bytes: u64, bound: u64) -> Option<String> {
    let more = bytes.checked_sub(bound).filter(|more| *more > 0)?;
    let percent = 100.0 * more as f64 / bound as f64;
    Some(format!(
        "the image of `{name}` has {bytes} bytes, {more} ({percent:.1} %) more than it may: `cargo mirage build {name}` prints what \
         they are by crate, and what is largest; if they are worth it, raise the bound in {}",
        file!()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_over_its_bound_fails_and_says_by_how_much_and_where_to_look() {
        assert_eq!(fault("dns", 1_000, 1_000), None);
        let said = fault("dns", 1_050, 1_000).unwrap();
        for part in [
            "1050 bytes",
            "50 (5.0 %)",
            "`cargo mirage build dns`",
            "image_size.rs",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn an_image_that_is_not_there_is_a_fault_too() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(faults(folder.path()).len(), BOUNDS.len());
        for (name, bound) in BOUNDS {
            let path = folder.path().join(format!("{name}.elf"));
            fs::File::create(path).unwrap().set_len(*bound).unwrap();
        }
        assert_eq!(faults(folder.path()), [""; 0]);
    }
}
