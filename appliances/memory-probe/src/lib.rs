//! What the memory of an image must forbid, and what an image says that tried it.
//!
//! The main for Xen does one [`Probe`] a start, named by the word `probe=` of its command line, and must end in the
//! crash that [`Probe::report`] names. [`Probe::Allowed`] does all that is allowed, and must end well.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

/// Something to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// All that is allowed: the heap, I/O pages, Xen's pages, after sealing, too.
    Allowed,
    /// Write to a function.
    WriteText,
    /// Write to a constant.
    WriteConstants,
    /// Write to the command line, which is mapped as boot modules are.
    WriteCommandLine,
    /// Call bytes of the heap.
    RunHeap,
    /// Call bytes of an I/O page.
    RunIo,
    /// Call bytes of the stack.
    RunStack,
    /// Call bytes of a variable.
    RunData,
    /// Read the page at address zero.
    ReadPageZero,
    /// Write the page at address zero.
    WritePageZero,
    /// Call address zero.
    RunPageZero,
    /// Recurse without end.
    OverflowStack,
    /// Write to a page table after sealing.
    WritePageTable,
    /// Write to a page table after sealing, where all RAM is mapped.
    WritePageTableInMemory,
    /// Write to a page table after sealing, where the image is.
    WritePageTableInImage,
    /// Write to the descriptor tables after sealing.
    WriteDescriptors,
    /// Write behind the last I/O page.
    WriteBehindIo,
    /// Write to an I/O page's frame where all RAM is mapped.
    WriteIoInMemory,
    /// Read the page that the image was entered in.
    ReadTrampoline,
    /// Execute an instruction that there is not.
    InvalidOpcode,
    /// Read an address that the processor has not.
    NonCanonical,
    /// Raise a page fault without a stack to report it on: it has its own.
    LoseStack,
    /// Panic.
    Panic,
    /// Panic with a message that fails itself.
    FaultInReport,
}

impl Probe {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Allowed,
        Self::WriteText,
        Self::WriteConstants,
        Self::WriteCommandLine,
        Self::RunHeap,
        Self::RunIo,
        Self::RunStack,
        Self::RunData,
        Self::ReadPageZero,
        Self::WritePageZero,
        Self::RunPageZero,
        Self::OverflowStack,
        Self::WritePageTable,
        Self::WritePageTableInMemory,
        Self::WritePageTableInImage,
        Self::WriteDescriptors,
        Self::WriteBehindIo,
        Self::WriteIoInMemory,
        Self::ReadTrampoline,
        Self::InvalidOpcode,
        Self::NonCanonical,
        Self::LoseStack,
        Self::Panic,
        Self::FaultInReport,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// A line of what the image says in the end.
    pub fn report(self) -> &'static str {
        self.row().1
    }

    /// The probe with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|probe| probe.name() == name)
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Allowed => ("allowed", "memory-probe: all that is allowed was done"),
            Self::WriteText => ("write-text", "mirage: fault: write to text"),
            Self::WriteConstants => ("write-constants", "mirage: fault: write to constants"),
            Self::WriteCommandLine => (
                "write-command-line",
                "mirage: fault: write to a boot module or the command line",
            ),
            Self::RunHeap => ("run-heap", "mirage: fault: execution of heap"),
            Self::RunIo => ("run-io", "mirage: fault: execution of an I/O page"),
            Self::RunStack => ("run-stack", "mirage: fault: execution of the stack"),
            Self::RunData => ("run-data", "mirage: fault: execution of data"),
            Self::ReadPageZero => ("read-page-zero", "mirage: fault: read of page zero"),
            Self::WritePageZero => ("write-page-zero", "mirage: fault: write to page zero"),
            Self::RunPageZero => ("run-page-zero", "mirage: fault: execution of page zero"),
            Self::OverflowStack => (
                "overflow-stack",
                "mirage: fault: write to the guard page below the stack: stack overflow",
            ),
            Self::WritePageTable => ("write-page-table", "mirage: fault: write to a page table"),
            Self::WritePageTableInMemory => (
                "write-page-table-in-memory",
                "mirage: fault: write to memory that isn't mapped",
            ),
            Self::WritePageTableInImage => (
                "write-page-table-in-image",
                "mirage: fault: write to nothing",
            ),
            Self::WriteDescriptors => ("write-descriptors", "mirage: fault: write to sealed data"),
            Self::WriteBehindIo => (
                "write-behind-io",
                "mirage: fault: write to the range of I/O pages, where none is",
            ),
            Self::WriteIoInMemory => (
                "write-io-in-memory",
                "mirage: fault: write to memory that isn't mapped",
            ),
            Self::ReadTrampoline => ("read-trampoline", "mirage: fault: read of nothing"),
            Self::InvalidOpcode => ("invalid-opcode", "mirage: fault: #UD invalid opcode"),
            Self::NonCanonical => ("non-canonical", "mirage: fault: #GP general protection"),
            Self::LoseStack => ("lose-stack", "mirage: fault: write to page zero"),
            Self::Panic => ("panic", "mirage: panicked at "),
            Self::FaultInReport => (
                "fault-in-report",
                "mirage: another fault in the report of the first",
            ),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;

    #[test]
    fn the_readme_lists_each_probe_with_its_line() {
        let readme = include_str!("../README.md");
        let rows = readme.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(
            rows.clone().filter(|row| !row.contains("`probe=`")).count(),
            Probe::ALL.len()
        );
        for (probe, row) in Probe::ALL
            .iter()
            .zip(rows.filter(|row| !row.contains("`probe=`")))
        {
            let start = std::format!("| `{}` | `{}` | ", probe.name(), probe.report());
            assert!(row.starts_with(&start), "{row}");
        }
    }

    #[test]
    fn names_are_one_word_each_and_their_own() {
        for probe in Probe::ALL {
            assert_eq!(Probe::from_name(probe.name()), Some(probe));
            assert!(
                !probe
                    .name()
                    .contains(|c: char| c.is_whitespace() || c == '=')
            );
            assert!(!probe.report().is_empty());
        }
        assert_eq!(Probe::from_name(""), None);
    }
}
