//! A site as source.

use core::fmt::Write;
use std::fs;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use super::{Site, SiteError};

impl Site {
    /// Writes the file `path`, the source of an expression of type [`CompiledStore`](mirage_core::kv::CompiledStore), and beside it a
    /// file with the octets, which is called the same with `.octets` behind it.
    ///
    /// The crate that includes the source depends on `mirage-core`.
    ///
    /// # Errors
    ///
    /// One of the two can't be written.
    pub fn write_source(&self, path: &Path) -> Result<(), SiteError> {
        let (mut source, mut octets) = (String::new(), Vec::new());
        // All in one, by value: so that they have one symbol, by which it is seen how much of an image they are.
        let beside = path.with_added_extension("octets");
        let file = beside.file_name().unwrap_or_default();
        let _ = write!(
            source,
            "{{\n    use mirage_core::kv::{{CompiledEntry, CompiledStore, Digest}};\n    use core::time::Duration;\n    \
             static OCTETS: [u8; {}] = *include_bytes!({file:?});\n    \
             const fn part(start: usize, length: usize) -> &'static [u8] {{\n        \
             OCTETS.split_at(start).1.split_at(length).0\n    }}\n    \
             const fn digest(octets: [u8; 16]) -> Digest {{\n        \
             match Digest::new(&octets) {{\n            \
             Some(digest) => digest,\n            None => panic!(\"sixteen octets are a digest\"),\n        }}\n    }}\n    \
             CompiledStore::new_const(&[\n",
            self.octets()
        );
        for (key, entry) in self.entries() {
            let (start, length) = (octets.len(), entry.octets().len());
            octets.extend_from_slice(entry.octets());
            // Writing to text never fails.
            let _ = write!(
                source,
                "        CompiledEntry::new({key:?}, part({start}, {length}))\n            .with_digest(digest({:?}))",
                entry.digest().as_bytes()
            );
            if let Some(modified) = entry.last_modified() {
                let seconds = modified.as_secs();
                let _ = write!(
                    source,
                    "\n            .with_last_modified(Duration::from_secs({seconds}))"
                );
            }
            source.push_str(",\n");
        }
        source.push_str("    ])\n}\n");
        for (path, content) in [(beside.as_path(), &octets[..]), (path, source.as_bytes())] {
            fs::write(path, content).map_err(SiteError::io(path))?;
        }
        Ok(())
    }
}
