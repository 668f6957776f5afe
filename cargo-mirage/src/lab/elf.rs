//! What programs, shared libraries and kernel modules say they need.

use object::elf::FileHeader64;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection};

/// Why a file could not be read; for people.
pub type Problem = String;

/// What a program or shared library needs to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// The loader's path (`PT_INTERP`); libraries and static programs have none.
    pub interpreter: Option<String>,
    /// The names of shared libraries (`DT_NEEDED`), in order.
    pub libraries: Vec<String>,
    /// Folders to look in first (`DT_RPATH` and `DT_RUNPATH`), as they are written.
    pub folders: Vec<String>,
}

/// Whether that is the beginning of an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(&object::elf::ELFMAG)
}

/// What a program or library needs.
///
/// # Errors
///
/// What is wrong with the file, if it is not a whole 64-bit ELF file.
pub fn needs(bytes: &[u8]) -> Result<Needs, Problem> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let problem = |error: object::Error| error.to_string();
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(problem)?;
    let endian = header.endian().map_err(problem)?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, bytes).map_err(problem)? {
        if let Some(path) = segment.interpreter(endian, bytes).map_err(problem)? {
            needs.interpreter = Some(text(path));
        }
    }
    let sections = header.sections(endian, bytes).map_err(problem)?;
    let Some((entries, strings)) = sections.dynamic(endian, bytes).map_err(problem)? else {
        return Ok(needs);
    };
    let strings = sections.strings(endian, bytes, strings).map_err(problem)?;
    for entry in entries {
        let list = match entry.tag(endian) {
            object::elf::DT_NEEDED => &mut needs.libraries,
            object::elf::DT_RPATH | object::elf::DT_RUNPATH => &mut needs.folders,
            _ => continue,
        };
        let value = entry.string(endian, strings).map_err(problem)?;
        list.extend(text(value).split(':').map(str::to_owned));
    }
    Ok(needs)
}

/// The names of the modules that a kernel module depends on (`depends=` in its section `.modinfo`).
///
/// # Errors
///
/// What is wrong with the file.
pub fn module_depends(bytes: &[u8]) -> Result<Vec<String>, Problem> {
    let file = ElfFile64::<Endianness>::parse(bytes).map_err(|error| error.to_string())?;
    let section = file
        .section_by_name(".modinfo")
        .ok_or("not a kernel module: it has no section .modinfo")?;
    let data = section.data().map_err(|error| error.to_string())?;
    let depends = data
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(b"depends="))
        .map(|value| String::from_utf8_lossy(value).into_owned());
    Ok(depends
        .flat_map(|value| {
            value
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_needs_a_loader_and_the_c_library() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(is_elf(&bytes));
        let needs = needs(&bytes).unwrap();
        if needs.interpreter.is_none() {
            println!(
                "SKIPPED: this_test_program_needs_a_loader_and_the_c_library: it is linked statically"
            );
            return;
        }
        assert!(needs.interpreter.is_some_and(|path| path.contains("ld")));
        assert!(needs.libraries.iter().any(|name| name.starts_with("libc.")));
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [0, 3, 16, 63, 100] {
            assert!(needs(&bytes[..length]).is_err(), "{length}");
            assert!(module_depends(&bytes[..length]).is_err(), "{length}");
        }
        assert!(needs(b"#!/bin/sh\n").is_err());
        // A program is no module.
        assert!(module_depends(&bytes).unwrap_err().contains(".modinfo"));
    }
}
