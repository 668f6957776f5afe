//! Zones that outlast a restart: those that were fetched, and those that were changed.
//!
//! For each zone the directory has a journal of its differences (`ZONE.journal`), and from time to time the whole of it as a
//! master file (`ZONE.zone`). The journal begins where that, or the author's own zone file, ends.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mirage_dns::authority::Built;
use mirage_dns::difference::Difference;
use mirage_dns::master_file::{NoFiles, Parser, Source};
use mirage_dns::name::{Name, NameBuf};
use mirage_dns::serial::is_newer;
use mirage_dns::zone_set::{OwnedZoneSet, Zone, ZoneSetBuilder};

use super::journal_file::{JournalFile, sync_directory};
use crate::error::Failure;

/// Octets of a journal after which the whole zone is written instead.
const LONGEST_JOURNAL: u64 = 4 << 20;

/// The directory.
#[derive(Debug)]
pub(crate) struct State {
    directory: PathBuf,
    /// The zones that are kept, in small letters.
    zones: HashSet<NameBuf>,
    /// Those whose whole lies here, perhaps, in a version that nobody saw, as keeping it failed: the next version is written whole,
    /// for no change leads from that one to it.
    unsure: Mutex<HashSet<NameBuf>>,
    /// Held as long as this process uses the directory.
    _lock: File,
}

/// A zone as it was kept.
pub(crate) struct Restored {
    /// A set with this zone alone.
    pub(crate) zones: OwnedZoneSet,
    /// What led to it.
    pub(crate) history: Vec<Arc<Difference>>,
    /// How long ago it was known to be current.
    pub(crate) age: Duration,
}

impl State {
    /// Opens the directory, makes it if it is not there, and takes it for this process.
    pub(crate) fn open(
        directory: &Path,
        zones: impl IntoIterator<Item = NameBuf>,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::State(directory.to_path_buf(), error.to_string());
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another process uses it: end that, or choose another directory";
                return Err(Failure::State(directory.to_path_buf(), reason.into()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let zones = zones.into_iter().map(|mut zone| {
            zone.make_lowercase();
            zone
        });
        let zones: HashSet<NameBuf> = zones.collect();
        for zone in &zones {
            let file = directory.join(file_name(zone.as_name()));
            make_directories(directory, &file).map_err(failed)?;
        }
        Ok(Self {
            directory: directory.to_path_buf(),
            zones,
            unsure: Mutex::default(),
            _lock: lock,
        })
    }

    /// What was kept of a zone, if it is newer than its author's zone file; `None` if the zone file is to be taken.
    pub(crate) fn restore(
        &self,
        apex: Name<'_>,
        file: Option<Zone<'_>>,
    ) -> Result<Option<Restored>, Failure> {
        let (snapshot_path, journal) = (self.path(apex, "zone"), self.journal(apex));
        let at = |path: &Path, reason: String| Failure::State(path.to_path_buf(), reason);
        // To cut off what was not written whole changes when the journal was.
        let age = self.age(apex);
        let recorded = journal
            .read()
            .map_err(|error| at(journal.path(), error.to_string()))?;
        if recorded.cut > 0 {
            log::warn!(
                "{}: {} octets at the end were not written whole, and are cut off",
                journal.path().display(),
                recorded.cut
            );
        }
        let snapshot =
            read_snapshot(apex, &snapshot_path).map_err(|why| at(&snapshot_path, why))?;
        let snapshot_serial = snapshot.as_ref().map(|set| serial(set, apex));
        let mut differences = recorded.differences;
        // Only what leads to the last one counts.
        let gap = differences
            .windows(2)
            .rposition(|pair| pair[0].new_serial() != pair[1].old_serial());
        differences.drain(..gap.map_or(0, |gap| gap + 1));
        // Of a crash between writing the whole zone and removing the journal that it replaces: nothing in it comes after.
        if let Some(serial) = snapshot_serial
            && !differences
                .iter()
                .any(|difference| difference.old_serial() == serial)
        {
            differences.clear();
        }
        let last = differences.last().map(|last| last.new_serial());
        let Some(end) = last.or(snapshot_serial) else {
            return Ok(None);
        };
        let begins_at = |serial: u32| {
            let found = differences
                .iter()
                .rposition(|difference| difference.old_serial() == serial);
            found.or((serial == end).then_some(differences.len()))
        };
        if let Some(file) = file {
            if is_newer(file.serial(), end) {
                log::warn!(
                    "{apex}: the zone file has serial {}, which is newer than {end} as it was kept: what was kept is set aside",
                    file.serial()
                );
                self.set_aside(apex)
                    .map_err(|error| at(&snapshot_path, error.to_string()))?;
                return Ok(None);
            }
            if let Some(begin) = begins_at(file.serial()) {
                let mut builder = ZoneSetBuilder::new();
                let copied = builder.copy_zone(file);
                copied.map_err(|error| at(&snapshot_path, error.to_string()))?;
                return apply(apex, builder, &differences[begin..], age)
                    .map(Some)
                    .map_err(|why| at(journal.path(), why));
            }
        }
        if let (Some(snapshot), Some(serial)) = (snapshot, snapshot_serial)
            && let Some(begin) = begins_at(serial)
        {
            let builder = ZoneSetBuilder::from_zone_set(&snapshot.as_zone_set());
            let builder = builder.map_err(|error| at(&snapshot_path, error.to_string()))?;
            return apply(apex, builder, &differences[begin..], age)
                .map(Some)
                .map_err(|why| at(journal.path(), why));
        }
        let first = differences.first().map_or(end, |first| first.old_serial());
        let begin = match file {
            Some(file) => format!("the zone file has serial {}", file.serial()),
            None => "there is no zone file that it could begin with".to_string(),
        };
        Err(at(
            journal.path(),
            format!(
                "the changes in it begin at serial {first}, but {begin}: restore that version of the zone, or move this file \
                 away, and the changes with it"
            ),
        ))
    }

    /// Writes what changed to the medium. What takes room is written first, and only then do whole zones take the place of the
    /// ones before. On an error nothing of it is kept, but for a whole zone that took its place already.
    pub(crate) fn keep(&self, built: &Built) -> io::Result<()> {
        let mut appended = Vec::new();
        let mut whole = Vec::new();
        let written = self.write(built, &mut appended, &mut whole);
        let placed = written.and_then(|()| self.put_in_place(&whole));
        let mut unsure = self.unsure.lock().unwrap_or_else(PoisonError::into_inner);
        let small = whole.iter().copied().map(|apex| {
            let mut apex = apex.to_owned();
            apex.make_lowercase();
            apex
        });
        let Err(error) = placed else {
            for apex in small {
                unsure.remove(&apex);
            }
            return Ok(());
        };
        unsure.extend(small);
        for (journal, length) in appended.into_iter().rev() {
            if let Err(error) = journal.truncate(length) {
                log::error!("{}: {error}", journal.path().display());
            }
        }
        for apex in whole {
            // The next one is written over it.
            let _ = fs::remove_file(self.path(apex, "zone.new"));
        }
        Err(error)
    }

    /// Appends differences to journals, and writes whole zones beside those that are there; says to which journals, how long
    /// they were before, and which zones.
    fn write<'z>(
        &self,
        built: &'z Built,
        appended: &mut Vec<(JournalFile, u64)>,
        whole: &mut Vec<Name<'z>>,
    ) -> io::Result<()> {
        let set = built.zones().as_zone_set();
        for change in built.changes() {
            let mut apex = change.apex().clone();
            apex.make_lowercase();
            let Ok(differences) = change.differences() else {
                continue;
            };
            // A zone that was written whole has all of its changes.
            if !self.zones.contains(&apex) || whole.contains(&apex.as_name()) {
                continue;
            }
            let zone = set.zone_at(apex.as_name());
            let Some(zone) = zone.filter(|zone| zone.is_present()) else {
                continue;
            };
            let journal = self.journal(apex.as_name());
            let length = journal.length()?;
            let leads_on = !differences.is_empty()
                && differences
                    .iter()
                    .all(|difference| is_newer(difference.new_serial(), difference.old_serial()));
            let unsure = self.unsure.lock().unwrap_or_else(PoisonError::into_inner);
            let is_unsure = unsure.contains(&apex);
            drop(unsure);
            if leads_on && length < LONGEST_JOURNAL && !is_unsure {
                appended.push((self.journal(apex.as_name()), length));
                journal.append(differences)?;
            } else {
                whole.push(zone.apex());
                write_snapshot(zone, &self.path(zone.apex(), "zone.new"))?;
            }
        }
        Ok(())
    }

    /// Has whole zones take the place of the ones before, and of the journals that led to them.
    fn put_in_place(&self, whole: &[Name<'_>]) -> io::Result<()> {
        for apex in whole {
            let path = self.path(*apex, "zone");
            fs::rename(self.path(*apex, "zone.new"), &path)?;
            sync_directory(&path)?;
        }
        for apex in whole {
            // What is left of one leads up to the whole zone, and is passed over.
            let journal = self.journal(*apex);
            if let Err(error) = journal.remove() {
                log::warn!("{}: {error}", journal.path().display());
            }
        }
        Ok(())
    }

    /// A primary said that the zone is current.
    pub(crate) fn is_current(&self, apex: Name<'_>) {
        for extension in ["zone", "journal"] {
            let path = self.path(apex, extension);
            if let Ok(file) = File::options().append(true).open(path) {
                // Only the expiry after a restart comes too early without it.
                let _ = file.set_modified(SystemTime::now());
            }
        }
    }

    fn age(&self, apex: Name<'_>) -> Duration {
        let modified = ["zone", "journal"].into_iter().filter_map(|extension| {
            let metadata = fs::metadata(self.path(apex, extension)).ok()?;
            metadata.modified().ok()
        });
        modified
            .max()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok())
            .unwrap_or_default()
    }

    fn set_aside(&self, apex: Name<'_>) -> io::Result<()> {
        for extension in ["zone", "journal"] {
            let path = self.path(apex, extension);
            let aside = self.path(apex, &format!("{extension}.old"));
            match fs::rename(&path, aside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn journal(&self, apex: Name<'_>) -> JournalFile {
        JournalFile::new(self.path(apex, "journal"))
    }

    fn path(&self, apex: Name<'_>, extension: &str) -> PathBuf {
        self.directory
            .join(format!("{}.{extension}", file_name(apex)))
    }
}

/// Octets of a zone's name that are in one file name, which has no more than 255 (`NAME_MAX`) with what is put behind, `.journal.old` at
/// the longest: the rest of a longer one is in a directory of the name's beginning, and a `%`.
const LONGEST_PART: usize = 243;

/// Makes the directories below `directory` that this path needs.
fn make_directories(directory: &Path, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| *parent != directory) else {
        return Ok(());
    };
    make_directories(directory, parent)?;
    match fs::create_dir(parent) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The name of a zone as that of a file: in small letters, without what a file name can't have, and in several parts if it is long.
fn file_name(apex: Name<'_>) -> String {
    if apex.is_root() {
        // Which no other name becomes.
        return "%2e".into();
    }
    let text = apex.to_string().to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let text = text.replace('%', "%25").replace('/', "%2f");
    let parts = text.as_bytes().chunks(LONGEST_PART);
    let parts: Vec<_> = parts.map(String::from_utf8_lossy).collect();
    // No file's name ends in the first character of an escape.
    parts.join("%/")
}

fn serial(set: &OwnedZoneSet, apex: Name<'_>) -> u32 {
    let zone = set.as_zone_set().zone_at(apex).map(|zone| zone.serial());
    zone.unwrap_or(0)
}

fn apply(
    apex: Name<'_>,
    mut builder: ZoneSetBuilder,
    differences: &[Arc<Difference>],
    age: Duration,
) -> Result<Restored, String> {
    let zone = builder.zone(apex).ok_or("the zone is another")?;
    for difference in differences {
        builder
            .apply(zone, difference)
            .map_err(|error| format!("a change does not fit the zone: {error}"))?;
    }
    let image = builder.build().map_err(|error| error.to_string())?;
    let zones = OwnedZoneSet::new(image).map_err(|error| error.to_string())?;
    Ok(Restored {
        zones,
        history: differences.to_vec(),
        age,
    })
}

/// The zone that a snapshot has; `None` if there is none.
fn read_snapshot(apex: Name<'_>, path: &Path) -> Result<Option<OwnedZoneSet>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let name = path.display().to_string();
    let source = Source {
        name: &name,
        text: &text,
    };
    let mut builder = ZoneSetBuilder::new();
    let zone = builder.add_zone(apex).map_err(|error| error.to_string())?;
    let mut parser = Parser::new(source, &NoFiles);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    while let Some(record) = parser
        .next_record(&mut buffer)
        .map_err(|error| error.to_string())?
    {
        builder
            .add_record(
                zone,
                record.owner,
                record.record_type,
                record.ttl,
                record.data,
            )
            .map_err(|error| error.to_string())?;
    }
    let image = builder.build().map_err(|error| error.to_string())?;
    let zones = OwnedZoneSet::new(image).map_err(|error| error.to_string())?;
    Ok(Some(zones))
}

/// Writes a zone as a master file.
fn write_snapshot(zone: Zone<'_>, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for record in zone.records() {
        writeln!(file, "{record}")?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_dns::authority::{Authority, Bounds, Now, Reload, Task};
    use mirage_dns::zone_compiler::ZoneCompiler;
    use mirage_host::SystemRng;

    const APEX: &str = "o.example";

    fn apex() -> NameBuf {
        NameBuf::from_text(APEX).expect("a name")
    }

    /// A version of the zone, which has an address for each version so far.
    fn version(serial: u8) -> OwnedZoneSet {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("zone");
        let mut text =
            format!("$ORIGIN {APEX}.\n$TTL 60\n@ SOA ns root {serial} 2 3 4 5\n@ NS ns\n");
        for number in 1..=serial {
            text += &format!("ns A 192.0.2.{number}\n");
        }
        fs::write(&path, text).expect("written");
        let set = read_snapshot(apex().as_name(), &path).expect("a zone");
        set.expect("it is there")
    }

    fn step(from: u8) -> Arc<Difference> {
        let (before, after) = (version(from), version(from + 1));
        let difference = Difference::between(zone_of(&before), zone_of(&after));
        Arc::new(difference.expect("both are there"))
    }

    fn zone_of(set: &OwnedZoneSet) -> Zone<'_> {
        let zone = set.as_zone_set().zone_at(apex().as_name());
        zone.expect("the zone")
    }

    #[test]
    fn zones_of_the_longest_names_are_kept_too() {
        let directory = tempfile::tempdir().expect("a directory");
        // Some octets are four in text.
        let names = [
            ("a", 9),
            ("a", 10),
            ("b", 60),
            ("b", 61),
            ("\\001", 60),
            ("%", 60),
        ]
        .map(|(octet, count)| {
            let labels = [60, 60, 60, count].map(|count| octet.repeat(count));
            NameBuf::from_text(&labels.join(".")).expect("a name")
        });
        let mut paths = HashSet::new();
        for _start in 0..2 {
            let state = State::open(directory.path(), names.clone());
            let state = state.expect("a state");
            for name in &names {
                for extension in ["zone", "zone.new", "zone.old", "journal", "journal.old"] {
                    let path = state.path(name.as_name(), extension);
                    fs::write(&path, name.to_string()).expect("the file system takes the name");
                    paths.insert(path);
                }
            }
        }
        assert_eq!(paths.len(), 5 * names.len());
        for name in &names {
            let read =
                fs::read_to_string(directory.path().join(file_name(name.as_name()) + ".zone"));
            assert_eq!(read.expect("a file"), name.to_string());
        }
    }

    fn state() -> (tempfile::TempDir, State) {
        let directory = tempfile::tempdir().expect("a directory");
        let state = State::open(directory.path(), [apex()]).expect("a state");
        (directory, state)
    }

    impl State {
        fn append(&self, from: u8) {
            let journal = self.journal(apex().as_name());
            journal.append(&[step(from)]).expect("appended");
        }

        fn write_whole(&self, serial: u8) {
            let path = self.path(apex().as_name(), "zone");
            write_snapshot(zone_of(&version(serial)), &path).expect("written");
        }

        /// The serial that is restored where the author's file has this one, and how many differences lead to it.
        fn restored(&self, file: Option<u8>) -> (u32, usize) {
            let file = file.map(version);
            let file = file.as_ref().map(zone_of);
            let restored = self.restore(apex().as_name(), file).expect("no error");
            let restored = restored.expect("something was kept");
            let zone = zone_of(&restored.zones);
            // The SOA and the NS record, and an address for each version.
            assert_eq!(zone.record_count() as u32, 2 + zone.serial());
            (zone.serial(), restored.history.len())
        }
    }

    #[test]
    fn zones_have_files_of_their_own_whatever_they_are_called() {
        let names = [".", "root-zone", "%2e", "a/b", "a%2fb", "a.b", "a\\.b"];
        let files = names.map(|name| file_name(NameBuf::from_text(name).expect(name).as_name()));
        let distinct: HashSet<&String> = files.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{files:?}");
        assert!(files.iter().all(|file| !file.contains('/')), "{files:?}");
        assert_eq!(
            file_name(NameBuf::from_text("EXAMPLE.org").expect("a name").as_name()),
            "example.org"
        );
    }

    #[test]
    fn zone_is_restored_from_the_file_or_the_whole_zone_and_what_follows() {
        let (_directory, state) = state();
        let restored = state.restore(apex().as_name(), None).expect("no error");
        assert!(restored.is_none());
        state.append(1);
        state.append(2);
        assert_eq!(state.restored(Some(1)), (3, 2));
        assert_eq!(state.restored(Some(2)), (3, 1));
        assert_eq!(state.restored(Some(3)), (3, 0));
        // Without the version that it begins with it is worth nothing, which is said.
        assert!(state.restore(apex().as_name(), None).is_err());
        // A file that is newer is its author's word.
        let newer = version(9);
        let file = Some(zone_of(&newer));
        assert!(matches!(state.restore(apex().as_name(), file), Ok(None)));
        state.write_whole(5);
        state.append(5);
        assert_eq!(state.restored(None), (6, 1));
        assert_eq!(state.restored(Some(1)), (6, 1));
    }

    #[test]
    fn crash_before_the_journal_of_an_older_version_is_removed_costs_nothing() {
        let (_directory, state) = state();
        state.append(1);
        state.append(2);
        // As large as it may be: the whole zone is written instead of the next difference, and the process is killed.
        state.write_whole(4);
        for file in [None, Some(1), Some(2)] {
            assert_eq!(state.restored(file), (4, 0), "{file:?}");
        }
        state.append(4);
        for file in [None, Some(1), Some(4)] {
            assert_eq!(state.restored(file), (5, 1), "{file:?}");
        }
    }

    /// A zone of this name, serial and address.
    fn zone_text(apex: &str, serial: u8, address: u8) -> String {
        format!(
            "$ORIGIN {apex}.\n$TTL 60\n@ SOA ns root {serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.{address}\n"
        )
    }

    /// What reading these zones again gives where those are there.
    fn reloaded(before: &[String], after: &[String]) -> Built {
        let compiled = |texts: &[String]| {
            let mut compiler = ZoneCompiler::new();
            for text in texts {
                let source = Source {
                    name: "zone",
                    text: text.as_bytes(),
                };
                compiler.add_zone(source, &NoFiles);
            }
            OwnedZoneSet::new(compiler.finish().expect("zones").image).expect("an image")
        };
        let mut rng = SystemRng::new().expect("a generator");
        let (now, bounds) = (
            Now {
                elapsed: Duration::ZERO,
                unix: 0,
            },
            Bounds::default(),
        );
        let authority = Authority::new(compiled(before), Vec::new(), &[], bounds, now, &mut rng);
        let mut authority = authority.expect("an authority");
        let reload = Reload::new(compiled(after), authority.zones());
        authority.reload(reload);
        match authority.poll_task(now, &mut rng) {
            Some(Task::Build(job)) => job.run(),
            other => panic!("a build was expected: {other:?}"),
        }
    }

    #[test]
    fn whole_zone_is_not_kept_where_another_zone_of_the_same_version_cannot_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let apexes = ["a.example", "b.example"];
        let names = apexes.map(|apex| NameBuf::from_text(apex).expect("a name"));
        let state = State::open(directory.path(), names.clone()).expect("a state");
        // The first zone's serial stays, so it is written whole; the second one's journal cannot be written.
        let before = apexes.map(|apex| zone_text(apex, 1, 1));
        let after = [zone_text(apexes[0], 1, 2), zone_text(apexes[1], 2, 2)];
        let built = reloaded(&before, &after);
        let obstacle = directory.path().join("b.example.journal");
        fs::create_dir(&obstacle).expect("a directory");
        assert!(state.keep(&built).is_err());
        let left: Vec<_> = fs::read_dir(directory.path())
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name != "lock" && name != "b.example.journal")
            .collect();
        assert!(left.is_empty(), "{left:?}");
        // Without the obstacle both are kept.
        fs::remove_dir(obstacle).expect("it is removed");
        state.keep(&built).expect("both are kept");
        let kept = state.restore(names[0].as_name(), None).expect("no error");
        let kept = kept.expect("something was kept");
        let zone = kept.zones.as_zone_set().zone_at(names[0].as_name());
        let zone = zone.expect("the zone");
        assert!(zone.records().any(|record| record.rdata == [192, 0, 2, 2]));
        assert!(directory.path().join("b.example.journal").is_file());
    }

    #[test]
    fn whole_zone_that_took_its_place_in_vain_is_followed_by_a_whole_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str| directory.path().join(name);
        let apexes = ["a.example", "b.example"];
        let names = apexes.map(|apex| NameBuf::from_text(apex).expect("a name"));
        let state = State::open(directory.path(), names.clone()).expect("a state");
        let before = apexes.map(|apex| zone_text(apex, 1, 1));
        // Both serials stay, so both zones are written whole; the second one can't take its place.
        let after = apexes.map(|apex| zone_text(apex, 1, 2));
        let obstacle = file("b.example.zone");
        fs::create_dir_all(obstacle.join("x")).expect("a directory");
        assert!(state.keep(&reloaded(&before, &after)).is_err());
        fs::remove_dir_all(obstacle).expect("it is removed");
        // Nobody saw that version of the first one: what changes next does not lead from it.
        let next = [zone_text(apexes[0], 2, 3), before[1].clone()];
        state.keep(&reloaded(&before, &next)).expect("it is kept");
        assert!(!file("a.example.journal").exists());
        let last = [zone_text(apexes[0], 3, 4), before[1].clone()];
        state.keep(&reloaded(&next, &last)).expect("it is kept");
        assert!(file("a.example.journal").is_file());
        let kept = state.restore(names[0].as_name(), None).expect("no error");
        let kept = kept.expect("something was kept");
        let zone = kept.zones.as_zone_set().zone_at(names[0].as_name());
        let zone = zone.expect("the zone");
        assert_eq!((zone.serial(), zone.record_count()), (3, 3));
        assert!(zone.records().any(|record| record.rdata == [192, 0, 2, 4]));
    }
}
