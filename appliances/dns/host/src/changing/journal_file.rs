//! The differences of a zone in a file that is only ever appended to.
//!
//! After sixteen octets that say what it is, each difference has its length and its CRC-32 in 32 bits, big-endian, before it. A
//! record that is cut, or whose sum is wrong, was being written when the power went: it was promised to nobody, and is cut off,
//! unless a whole one follows. Then the file was damaged, and what follows was promised.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirage_dns::difference::Difference;

const MAGIC: &[u8; 16] = b"mirage journal 1";

/// Octets before each difference.
const HEADER: usize = 8;

/// A journal file.
#[derive(Debug)]
pub(crate) struct JournalFile {
    path: PathBuf,
}

/// What a journal file has.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) differences: Vec<Arc<Difference>>,
    /// Octets at its end that were no difference, and are cut off.
    pub(crate) cut: u64,
}

impl JournalFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Octets of it; 0 if it is not there.
    pub(crate) fn length(&self) -> io::Result<u64> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// All differences; what is no difference at the end is cut off.
    ///
    /// # Errors
    /// The system's; and `InvalidData`, with the file left as it is, for one that is no journal or is damaged.
    pub(crate) fn read(&self) -> io::Result<Recorded> {
        let mut file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recorded::default()),
            Err(error) => return Err(error),
        };
        let mut octets = Vec::new();
        file.read_to_end(&mut octets)?;
        let mut rest = octets.strip_prefix(MAGIC.as_slice()).unwrap_or(&[]);
        if rest.is_empty() && octets.len() >= MAGIC.len() && !octets.starts_with(MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no journal of this version",
            ));
        }
        let mut differences = Vec::new();
        while let Some((difference, after)) = split(rest) {
            differences.push(Arc::new(difference));
            rest = after;
        }
        if (1..rest.len()).any(|at| split(&rest[at..]).is_some()) {
            let at = octets.len() - rest.len();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "it is damaged behind octet {at}, and changes follow: restore it from a copy, or move it away, and all \
                     changes with it"
                ),
            ));
        }
        let cut = rest.len() as u64;
        let good = octets.len() as u64 - cut;
        if octets.len() < MAGIC.len() {
            // Not even its beginning was written.
            self.remove()?;
        } else if cut > 0 {
            file.set_len(good)?;
            file.sync_all()?;
        }
        Ok(Recorded { differences, cut })
    }

    /// Appends differences, and returns when they are on the medium.
    pub(crate) fn append(&self, differences: &[Arc<Difference>]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        let is_new = file.seek(SeekFrom::End(0))? == 0;
        let mut octets = Vec::new();
        if is_new {
            octets.extend_from_slice(MAGIC);
        }
        for difference in differences {
            let mut payload = Vec::new();
            difference.encode(&mut payload);
            let length = u32::try_from(payload.len())
                .map_err(|_| io::Error::other("a difference of more than 4 GiB"))?;
            octets.extend(length.to_be_bytes());
            octets.extend(crc32fast::hash(&payload).to_be_bytes());
            octets.extend_from_slice(&payload);
        }
        file.write_all(&octets)?;
        file.sync_all()?;
        if is_new {
            sync_directory(&self.path)?;
        }
        Ok(())
    }

    /// Takes back what was appended behind this length.
    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        if length == 0 {
            return self.remove();
        }
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The first difference of these octets, and what is behind it.
fn split(octets: &[u8]) -> Option<(Difference, &[u8])> {
    let (header, rest) = octets.split_first_chunk::<HEADER>()?;
    let [a, b, c, d, e, f, g, h] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    // First what is soon found out of octets that are none.
    let difference = Difference::decode(payload)?;
    if crc32fast::hash(payload) != u32::from_be_bytes([e, f, g, h]) {
        return None;
    }
    Some((difference, rest))
}

/// Has the names in the directory of a file written to the medium.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_dns::difference::RecordBuf;
    use mirage_dns::name::Name;
    use mirage_dns::record::RecordType;

    fn soa(serial: u32) -> RecordBuf {
        let mut rdata = vec![0, 0];
        for number in [serial, 2, 3, 4, 5] {
            rdata.extend(number.to_be_bytes());
        }
        RecordBuf::new(Name::ROOT, RecordType::SOA, 60, &rdata)
    }

    fn step(from: u32) -> Arc<Difference> {
        Arc::new(Difference {
            old_soa: soa(from),
            removed: Vec::new(),
            new_soa: soa(from + 1),
            added: vec![RecordBuf::new(Name::ROOT, RecordType::A, 60, &[1, 2, 3, 4])],
        })
    }

    fn journal() -> (tempfile::TempDir, JournalFile) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("o.journal");
        (directory, JournalFile::new(path))
    }

    #[test]
    fn differences_are_read_as_they_were_appended() {
        let (_directory, journal) = journal();
        assert!(journal.read().expect("nothing yet").differences.is_empty());
        journal.append(&[step(1), step(2)]).expect("appended");
        journal.append(&[step(3)]).expect("appended");
        let recorded = journal.read().expect("read");
        assert_eq!(recorded.differences, [step(1), step(2), step(3)]);
        assert_eq!(recorded.cut, 0);
    }

    #[test]
    fn torn_record_is_cut_off_wherever_the_power_went() {
        let (_directory, journal) = journal();
        journal.append(&[step(1)]).expect("appended");
        let whole = journal.length().expect("a length");
        journal.append(&[step(2)]).expect("appended");
        let both = std::fs::read(journal.path()).expect("read");
        for end in 0..both.len() as u64 {
            std::fs::write(journal.path(), &both[..end as usize]).expect("written");
            let recorded = journal.read().expect("read");
            let count = usize::from(end >= whole);
            assert_eq!(recorded.differences.len(), count, "{end}");
            // What comes next is read again, whatever was cut off.
            journal.append(&[step(7)]).expect("appended");
            let recorded = journal.read().expect("read");
            assert_eq!(recorded.differences.len(), count + 1, "{end}");
            assert_eq!(recorded.differences[count], step(7));
        }
    }

    #[test]
    fn record_whose_sum_is_wrong_is_not_believed() {
        let (_directory, journal) = journal();
        journal.append(&[step(1), step(2)]).expect("appended");
        let mut octets = std::fs::read(journal.path()).expect("read");
        let last = octets.len() - 1;
        octets[last] ^= 1;
        std::fs::write(journal.path(), &octets).expect("written");
        let recorded = journal.read().expect("read");
        assert_eq!(recorded.differences, [step(1)]);
        assert!(recorded.cut > 0);
    }

    #[test]
    fn damage_before_whole_records_is_told_and_the_file_left_as_it_is() {
        let (_directory, journal) = journal();
        journal.append(&[step(1)]).expect("appended");
        let first = journal.length().expect("a length") as usize;
        journal.append(&[step(2)]).expect("appended");
        let whole = std::fs::read(journal.path()).expect("read");
        // The first record's length, its sum and what it has.
        for at in MAGIC.len()..first {
            let mut octets = whole.clone();
            octets[at] ^= 1;
            std::fs::write(journal.path(), &octets).expect("written");
            let error = journal.read().expect_err("it is damaged");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{at}");
            assert_eq!(std::fs::read(journal.path()).expect("read"), octets);
        }
    }

    #[test]
    fn what_was_appended_last_can_be_taken_back() {
        let (_directory, journal) = journal();
        journal.append(&[step(1)]).expect("appended");
        let length = journal.length().expect("a length");
        journal.append(&[step(2)]).expect("appended");
        journal.truncate(length).expect("taken back");
        assert_eq!(journal.read().expect("read").differences, [step(1)]);
        journal.truncate(0).expect("taken back");
        assert_eq!(journal.length().expect("a length"), 0);
    }

    #[test]
    fn file_that_is_no_journal_is_not_touched() {
        let (_directory, journal) = journal();
        std::fs::write(journal.path(), b"something else altogether").expect("written");
        assert!(journal.read().is_err());
        let octets = std::fs::read(journal.path()).expect("read");
        assert_eq!(octets, b"something else altogether");
    }
}
