//! Writes the corpora that are checked in: small real inputs for each target, from which the fuzzer goes on.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`, in the repository's root. The same code writes the same
//! files: what it writes over is unchanged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod dhcp;
mod dns;
mod http;
mod net;
mod pool;
mod tcp;
mod xen;

fn main() -> io::Result<()> {
    let corpora = Corpora(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"));
    dhcp::write(&corpora)?;
    dns::write(&corpora)?;
    http::write(&corpora)?;
    net::write(&corpora)?;
    pool::write(&corpora)?;
    tcp::write(&corpora)?;
    xen::write(&corpora)
}

/// The folder with a folder for each target.
pub struct Corpora(PathBuf);

impl Corpora {
    /// One input of a target.
    pub fn write(&self, target: &str, name: &str, content: &[u8]) -> io::Result<()> {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), content)
    }
}

/// As `arbitrary` reads a list of octets: before each one an odd one, and one that is even at the end.
pub fn as_list(octets: &[u8]) -> Vec<u8> {
    let mut list: Vec<u8> = octets.iter().flat_map(|octet| [1, *octet]).collect();
    list.push(0);
    list
}
