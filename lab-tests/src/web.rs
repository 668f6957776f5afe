//! What the web appliance does: it serves its site over our own TCP, and connections outlive a save and a restore, and a migration.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cargo_mirage::lab::{Lab, Reason};

use crate::download::Download;
use crate::{Failure, READY, Tests, dom0, guest, site, wait_for};

/// The guest's name.
const WEB: &str = "web";

/// MiB.
const MEMORY: u32 = 16;

/// How many clients download at once.
const DOWNLOADS: usize = 3;

/// Octets of a download that are some, and more than a connection has under way.
const SOME: usize = 131_072;

/// All of them, in order. Without a tap nothing of them is there: QEMU's user network would be between the two TCPs, and hold what
/// it has not passed on.
pub(crate) fn run(lab: &Lab, tests: &Tests, image: &Path) {
    let mut address = None;
    tests.test_on_tap(lab, "the_web_appliance_starts_with_16_mib", || {
        address = Some(lab.create(&guest(WEB, image, MEMORY)?)?.address);
        lab.wait_until_ready(WEB, READY)?;
        Ok(())
    });
    let Some(address) = address else {
        return;
    };
    tests.test(
        "curl_gets_the_site_and_the_metrics_over_our_own_tcp",
        || serves(address),
    );
    tests.test(
        "a_stream_and_downloads_outlive_a_save_and_a_restore",
        || {
            moved(
                lab,
                address,
                &format!(
                    "xl save {WEB} /lab/{WEB}.save 2>&1 && xl restore /lab/{WEB}.save 2>&1 && rm /lab/{WEB}.save"
                ),
            )
        },
    );
    tests.test("a_stream_and_downloads_outlive_a_migration", || {
        moved(lab, address, &format!("xl migrate {WEB} localhost 2>&1"))
    });
    tests.test(
        "the_web_appliance_is_shut_down_and_tells_its_counters",
        || shut_down(lab),
    );
}

/// What an appliance there answers when it is asked for that.
pub(crate) fn curl(server: SocketAddr, path: &str) -> Result<String, Failure> {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--compressed",
            "--max-time",
            "60",
        ])
        .arg(format!("http://{server}{path}"));
    let output = command.output().map_err(|error| format!("curl: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{path}: {error}").into()),
    }
}

fn serves(address: Ipv4Addr) -> Result<(), Failure> {
    for (path, part) in [
        ("/", "</html>"),
        ("/css/site.css", "--ink"),
        ("/_mirage/", "live.js"),
        ("/_mirage/metrics", "\nmirage_tcp_passive_opens_total "),
        ("/_mirage/metrics", "\nmirage_heap_untouched_bytes "),
    ] {
        let content = curl((address, 80).into(), path)?;
        if !content.contains(part) {
            return Err(format!("{path}: {content}").into());
        }
    }
    Ok(())
}

/// A client of the stream of events, whose output goes to a file.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A stream of events goes on, on the same connection, after that script has moved the domain; and downloads in whose middle it was
/// moved end with every octet as it should be.
fn moved(lab: &Lab, address: Ipv4Addr, script: &str) -> Result<(), Failure> {
    let heard = lab.record().log().path().with_file_name("events");
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--no-buffer",
            "--max-time",
            "240",
        ])
        .arg(format!("http://{address}/_mirage/events"))
        .stdout(File::create(&heard)?)
        .stderr(Stdio::null());
    let mut listening = Listening(command.spawn().map_err(|error| format!("curl: {error}"))?);
    let events = || -> Result<usize, Failure> {
        let text = fs::read_to_string(&heard)?;
        Ok(text.matches("}\n\n").count())
    };
    let downloads = (0..DOWNLOADS).map(|_| Download::start(address));
    let downloads: Vec<_> = downloads.collect::<Result<_, _>>()?;
    wait_for("three events and some of each download", READY, || {
        let under_way = downloads.iter().all(|download| download.arrived() > SOME);
        Ok(under_way && events()? >= 3)
    })?;
    dom0(lab, script)?;
    let before = events()?;
    for download in downloads {
        let arrived = download.arrived_by_now();
        // What comes now was sent behind it.
        if arrived + SOME > site::LENGTH {
            return Err(format!("{arrived} octets had arrived already").into());
        }
        eprintln!("{arrived} of {} octets had arrived", site::LENGTH);
        download.finish(&site::octets())?;
    }
    wait_for("events behind it", READY, || Ok(events()? >= before + 3))?;
    if let Some(status) = listening.0.try_wait()? {
        return Err(format!("the stream ended: {status}").into());
    }
    // Whole, and in order: each is a JSON object, and the time goes on.
    let text = fs::read_to_string(&heard)?;
    let uptimes = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: {\"mirage_uptime_seconds\":"))
        .map(|line| line.split(',').next().and_then(|up| up.parse::<f64>().ok()));
    let uptimes: Vec<f64> = uptimes.collect::<Option<_>>().ok_or("no time")?;
    if !uptimes.is_sorted() || uptimes.len() < before + 3 {
        return Err(format!("{uptimes:?}").into());
    }
    curl((address, 80).into(), "/").map(drop)
}

fn shut_down(lab: &Lab) -> Result<(), Failure> {
    dom0(lab, &format!("xl shutdown -w {WEB} 2>&1"))?;
    wait_for("the end of the domain", READY, || {
        Ok(lab.ended(WEB).is_some())
    })?;
    let said = lab.record().tail(WEB, 20);
    let counted = said
        .iter()
        .any(|line| line.starts_with("requests ") && !line.ends_with(" 0"));
    match lab.ended(WEB) {
        Some(Reason::Poweroff) if counted => Ok(()),
        other => Err(format!("{other:?}; it said {said:?}").into()),
    }
}
