//! Ours in the middle: it fetches from one of the others, and the other one fetches from it.

use std::net::SocketAddr;
use std::path::Path;

use super::knot::Knot;
use super::nsd::Nsd;
use super::ours::Ours;
use super::peer::{SHA256, SHA512, TestKey, free_port, has_serial, write};
use super::zones::{APEX, assert_becomes, octets, of_library, records, version};
use crate::common::eventually;

/// The names of the large zone.
const HOSTS: u32 = 20_000;

/// What the primary signs with, and what the secondary does.
const KEYS: [TestKey; 2] = [SHA256, SHA512];

/// Where all three listen.
struct Chain {
    primary: SocketAddr,
    ours: SocketAddr,
    secondary: SocketAddr,
}

impl Chain {
    fn new() -> Self {
        Self {
            primary: free_port(),
            ours: free_port(),
            secondary: free_port(),
        }
    }

    /// Ours in the middle, for these zones.
    fn middle(&self, folder: &Path, apexes: &[&str]) -> Ours {
        let files = KEYS.map(|key| key.file(folder));
        let [above, below] = KEYS.map(|key| key.name);
        let secondaries: Vec<String> = apexes
            .iter()
            .map(|apex| format!("{apex}={}@{above}", self.primary))
            .collect();
        let transfer = format!("127.0.0.1@{below}");
        let notify = format!("{}@{below}", self.secondary);
        let mut arguments = vec!["--transfer", &transfer, "--notify", &notify];
        arguments.extend(files.iter().flat_map(|file| ["--keys", file]));
        arguments.extend(secondaries.iter().flat_map(|zone| ["--secondary", zone]));
        Ours::start(folder, self.ours, &arguments)
    }

    /// All three have this version, with the same records.
    fn assert_same(&self, apex: &str, serial: u32) {
        has_serial(self.secondary, apex, serial);
        let [above, below] = KEYS;
        let theirs = records(self.primary, apex, Some(above));
        assert_becomes((self.ours, apex, Some(below)), &theirs);
        assert_becomes((self.secondary, apex, None), &theirs);
    }
}

#[test]
fn large_zone_goes_from_knot_by_ours_to_nsd() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, chain) = (folder.path(), Chain::new());
    let file = write(folder, "moving.zone", &version(1, HOSTS));
    let [above, below] = KEYS.map(|key| key.name);
    let port = chain.ours.port();
    let sections = format!(
        "remote:\n  - id: ours\n    address: 127.0.0.1@{port}\n    key: {above}\n\
         acl:\n  - id: ours\n    address: 127.0.0.1\n    key: {above}\n    action: transfer\n\
         zone:\n  - domain: {APEX}\n    file: \"{file}\"\n    zonefile-load: difference\n    zonefile-sync: -1\n    acl: ours\n    \
         notify: ours\n"
    );
    let knot = Knot::start(folder, chain.primary, &KEYS, &sections);
    let ours = chain.middle(folder, &[APEX]);
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: fetched.zone\n  request-xfr: 127.0.0.1@{port} {below}\n  allow-notify: 127.0.0.1 {below}\n  \
         provide-xfr: 127.0.0.1 NOKEY\n"
    );
    let _nsd = Nsd::start(folder, chain.secondary, &KEYS, &zone);
    chain.assert_same(APEX, 1);
    for serial in 2..=3 {
        write(folder, "moving.zone", &version(serial, HOSTS));
        knot.reload();
        chain.assert_same(APEX, serial);
    }
    for what in ["what changed came from", "what changed goes to"] {
        assert_eq!(ours.times(what), 2, "{}", ours.log());
    }
}

/// NSD with these zones of the library, which it gives to ours, and the part of ours' configuration that is another's.
fn nsd_with(folder: &Path, chain: &Chain, apexes: &[&str]) -> Nsd {
    let port = chain.ours.port();
    let above = KEYS[0].name;
    let zone = |apex: &&str| {
        let file = of_library(&format!("{apex}.zone"));
        format!(
            "zone:\n  name: {apex}\n  zonefile: \"{file}\"\n  provide-xfr: 127.0.0.1 {above}\n  provide-xfr: 127.0.0.1 NOKEY\n  \
             notify: 127.0.0.1@{port} {above}\n"
        )
    };
    let zones: Vec<String> = apexes.iter().map(zone).collect();
    Nsd::start(folder, chain.primary, &KEYS, &zones.concat())
}

#[test]
fn zones_with_something_of_everything_go_from_nsd_by_ours_to_knot() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, chain) = (folder.path(), Chain::new());
    let zones = [("rich.example", 2_026_010_101), ("child.rich.example", 7)];
    let apexes = zones.map(|(apex, _)| apex);
    let _nsd = nsd_with(folder, &chain, &apexes);
    let _ours = chain.middle(folder, &apexes);
    let (below, port) = (KEYS[1].name, chain.ours.port());
    let mut sections = format!(
        "remote:\n  - id: ours\n    address: 127.0.0.1@{port}\n    key: {below}\n\
         acl:\n  - id: notices\n    address: 127.0.0.1\n    key: {below}\n    action: notify\n  \
         - id: all\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n"
    );
    for apex in apexes {
        sections += &format!(
            "  - domain: {apex}\n    storage: \"{}\"\n    zonefile-sync: -1\n    semantic-checks: off\n    master: ours\n    \
             acl: [notices, all]\n",
            folder.display()
        );
    }
    let _knot = Knot::start(folder, chain.secondary, &KEYS, &sections);
    for (apex, serial) in zones {
        chain.assert_same(apex, serial);
    }
}

#[test]
fn zone_of_all_types_goes_from_nsd_by_ours_to_nsd() {
    const TYPES: &str = "types.example";
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [above, below] = folders.each_ref().map(|folder| folder.path());
    let chain = Chain::new();
    let _primary = nsd_with(above, &chain, &[TYPES]);
    let _ours = chain.middle(above, &[TYPES]);
    let (key, port) = (KEYS[1].name, chain.ours.port());
    let zone = format!(
        "zone:\n  name: {TYPES}\n  zonefile: fetched.zone\n  request-xfr: 127.0.0.1@{port} {key}\n  allow-notify: 127.0.0.1 {key}\n  \
         provide-xfr: 127.0.0.1 NOKEY\n"
    );
    let _secondary = Nsd::start(below, chain.secondary, &KEYS, &zone);
    has_serial(chain.secondary, TYPES, 2_026_010_101);
    // Neither dig nor Knot reads all of these.
    let theirs = octets(chain.primary, TYPES).expect("a transfer");
    assert!(theirs.len() > 90, "{}", theirs.len());
    // NSD's processes without the zone answer for a while beside those with it.
    let ours = eventually("a transfer", || octets(chain.secondary, TYPES));
    assert_eq!(ours, theirs);
}
