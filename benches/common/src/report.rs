//! Results: reading, writing, and what others published.

use core::fmt;
use std::borrow::Cow;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::figure::{Figure, number};

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

/// What was to be reached, and whether it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// What was to be reached, with the unit.
    pub goal: String,
    /// What is not to be exceeded.
    pub limit: f64,
    /// What was measured; nothing where it could not be.
    pub measured: Option<f64>,
    /// Whether that is within the limit.
    pub reached: bool,
}

impl Goal {
    /// A value that is not to exceed a limit.
    pub fn at_most(goal: impl Into<String>, limit: f64, measured: Option<f64>) -> Self {
        Self {
            goal: goal.into(),
            limit,
            measured,
            reached: measured.is_some_and(|measured| measured <= limit),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.reached { "reached" } else { "missed" };
        let measured = self
            .measured
            .map_or_else(|| "not measured".to_owned(), number);
        let limit = number(self.limit);
        write!(f, "{verdict}: {}: {measured}, at most {limit}", self.goal)
    }
}

/// All that one benchmark measured: `NAME.json` in the folder of its results, and `NAME.svg`, the figure, beside it.
pub trait Results: Serialize + DeserializeOwned {
    /// What the two files are called, without their ending.
    const NAME: &'static str;

    /// Derives from what was measured what it comes to.
    fn conclude(&mut self);

    /// What it comes to, to be looked at.
    fn figure(&self) -> Figure;

    /// What [`write`](Self::write) wrote into a folder.
    ///
    /// # Errors
    ///
    /// As of [`read()`].
    fn read(folder: &Path) -> Result<Self, Error> {
        read(&folder.join(Self::NAME).with_extension("json"))
    }

    /// Writes both files.
    ///
    /// # Errors
    ///
    /// As of [`write()`] and [`Figure::draw`].
    fn write(&self, folder: &Path) -> Result<(), Error> {
        write(&folder.join(Self::NAME).with_extension("json"), self)?;
        self.draw(folder)
    }

    /// Writes the figure alone.
    ///
    /// # Errors
    ///
    /// As of [`Figure::draw`].
    fn draw(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(Self::NAME).with_extension("svg");
        self.figure().draw(&path)
    }
}

/// For a test of a benchmark: what is published in the folder `results` of its crate, which is in that folder. It comes to what is
/// written there, or this panics. `None`, and a word of it: nothing is published.
pub fn published<T: Results + Clone + PartialEq + fmt::Debug>(folder: &str) -> Option<T> {
    let folder = Path::new(folder).join("results");
    if !folder.join(T::NAME).with_extension("json").is_file() {
        println!(
            "SKIPPED: published results of {}: none are published yet",
            T::NAME
        );
        return None;
    }
    let results = T::read(&folder).unwrap_or_else(|error| panic!("{error}"));
    let mut again = results.clone();
    again.conclude();
    assert_eq!(again, results, "it comes to something else now");
    Some(results)
}

/// Reads a file that [`write()`] wrote.
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
    fn a_goal_that_could_not_be_measured_is_missed() {
        let reached = Goal::at_most("bytes", 120_000.0, Some(119_000.0));
        assert_eq!(
            reached.to_string(),
            "reached: bytes: 119,000, at most 120,000"
        );
        assert!(!Goal::at_most("bytes", 120_000.0, Some(120_001.0)).reached);
        let unknown = Goal::at_most("bytes", 120_000.0, None);
        assert!(!unknown.reached);
        assert!(unknown.to_string().contains("not measured"));
    }

    #[test]
    fn a_figure_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        // A parser that is not exact gives another one.
        let figure = 31.566_666_666_666_663_f64;
        write(&path, &figure).unwrap();
        assert_eq!(read::<f64>(&path).unwrap().to_bits(), figure.to_bits());
    }

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
