//! The web appliance with a site of its own: the one that it has otherwise, and a file that takes a while.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_mirage::build_command::{Options, build};
use cargo_mirage::workspace::Workspace;

use crate::Failure;

/// What the image is called.
pub(crate) const IMAGE: &str = "web-with-a-download";

/// Where the file is in the site.
pub(crate) const PATH: &str = "/download.bin";

/// How long it is.
pub(crate) const LENGTH: usize = 4 << 20;

/// The file: octets that can't be told from random ones, so that nothing makes them fewer, and the same each time.
pub(crate) fn octets() -> Vec<u8> {
    // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    let mut state = 0_u64;
    let mut octets = Vec::with_capacity(LENGTH);
    while octets.len() < LENGTH {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        octets.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    octets
}

/// Builds the image.
pub(crate) fn build_image(workspace: &Workspace) -> Result<(), Failure> {
    let site = folder(workspace);
    copy(&workspace.root().join("appliances/web/site"), &site)?;
    write(&site.join(PATH.trim_start_matches('/')), &octets())?;
    let options = Options {
        variables: &[("MIRAGE_WEB_SITE", site.as_ref() as &OsStr)],
        file_name: Some(IMAGE),
        ..Options::default()
    };
    build(workspace, "web", options)?.into_product()?;
    Ok(())
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("lab-tests/site")
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &copied)?;
        } else {
            write(&copied, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Writes a file, unless it is what it should be: cargo goes by its time.
fn write(path: &Path, octets: &[u8]) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|found| found == octets) {
        return Ok(());
    }
    fs::write(path, octets).map_err(|error| format!("{}: {error}", path.display()).into())
}
