//! Compiling files of a file system.

use alloc::vec::Vec;
use std::path::{Path, PathBuf};

use crate::master_file::FileSystemLoader;

use super::diagnostics::Diagnostics;
use super::{Compiled, ZoneCompiler};

/// What came of some files.
#[derive(Debug, Clone)]
pub struct CompiledFiles {
    /// The zone set, or everything that was found if an error is among it.
    pub result: Result<Compiled, Diagnostics>,
    /// All files that were read, included ones too: what to watch for changes.
    pub files: Vec<PathBuf>,
}

/// Compiles the zones in the files at `paths`, one zone a file, into one zone set.
///
/// Each file states its origin (`$ORIGIN`) or has absolute names; an `$INCLUDE` is relative to the file that it stands
/// in. All files together may have `bytes` octets; all limits are otherwise [`ZoneCompiler::new`]'s.
pub fn compile_files<P: AsRef<Path>>(paths: &[P], bytes: u64) -> CompiledFiles {
    let loader = FileSystemLoader::new(bytes);
    let mut compiler = ZoneCompiler::new();
    for path in paths {
        let path = path.as_ref();
        match loader.open(path) {
            Ok(source) => compiler.add_zone(source, &loader),
            Err(error) => compiler.add_unreadable(&path.to_string_lossy(), error),
        }
    }
    CompiledFiles {
        result: compiler.finish(),
        files: loader.paths().map(Path::to_path_buf).collect(),
    }
}
