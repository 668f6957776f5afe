//! The web appliance's pages in a browser: Chromium without a window, asked by its own protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>) over a pipe.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Browser`] | a browser with one page; what the page asks for, hears and complains of is kept |
//! | [`LivePage`] | the page that shows the appliance alive, and what it must show |
//! | [`find`] | where Chromium, or another client, is |
#![forbid(unsafe_code)]

mod browser;
mod live_page;

use std::env;
use std::error::Error;
use std::path::PathBuf;

pub use browser::Browser;
pub use live_page::{LivePage, shown};

/// Why a page isn't as it must be, or couldn't be looked at.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A client program: the one that the environment's `MIRAGE_NAME` says, or the one on PATH; none where there is none.
pub fn find(name: &str) -> Option<PathBuf> {
    let variable = format!("MIRAGE_{}", name.to_uppercase());
    if let Some(path) = env::var_os(&variable) {
        return Some(path.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
