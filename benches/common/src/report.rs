//! Results: reading, writing, and what others published.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Whatever ends a benchmark: its text says what went wrong and whose fault it was.
pub type Error = Box<dyn std::error::Error>;

/// A figure that somebody published, shown for orientation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What was measured.
    pub system: Cow<'static, str>,
    /// The figure with its unit.
    pub figure: Cow<'static, str>,
    /// Where it was published.
    pub source: Cow<'static, str>,
    /// How it differs from what is measured here.
    pub remark: Cow<'static, str>,
}

/// The paper whose figures are shown beside ours.
pub const ASPLOS_2013: &str = "Unikernels: Library Operating Systems for the Cloud, ASPLOS 2013";

impl Published {
    /// A figure of MirageOS's paper, which was measured on other hardware.
    pub const fn of_paper(system: &'static str, figure: &'static str) -> Self {
        Self {
            system: Cow::Borrowed(system),
            figure: Cow::Borrowed(figure),
            source: Cow::Borrowed(ASPLOS_2013),
            remark: Cow::Borrowed("published, other hardware"),
        }
    }
}

/// Reads a file that [`write`] wrote.
///
/// # Errors
///
/// Names the file, and what the system or the parser said.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let json = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&json).map_err(|error| {
        format!("{}: not results of this benchmark: {error}", path.display()).into()
    })
}

/// Writes results as JSON, one line a value; the folder is made if it is missing.
///
/// # Errors
///
/// Names the file, and what the system said.
pub fn write<T: Serialize>(path: &Path, results: &T) -> Result<(), Error> {
    let json = serde_json::to_string_pretty(results)? + "\n";
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, json)
    };
    write().map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_other_content_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/results.json");
        let published = Published::of_paper("MirageOS", "82 ns a thread");
        write(&path, &published).unwrap();
        assert_eq!(read::<Published>(&path).unwrap(), published);
        assert!(fs::read_to_string(&path).unwrap().ends_with("}\n"));

        fs::write(&path, "{\"system\": \"x\"}").unwrap();
        let error = read::<Published>(&path).unwrap_err().to_string();
        assert!(error.contains("results.json"), "{error}");
        let error = read::<Published>(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
