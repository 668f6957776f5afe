use bench_common::report::published as published_results;

use super::*;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;

fn outcome(completed: u64) -> Outcome {
    Outcome {
        sent: completed + 10,
        completed,
        lost: 10,
        codes: BTreeMap::from([("NOERROR".into(), completed)]),
        seconds: 60.0,
        queries_per_second: completed as f64 / 60.0,
        latency_average_us: 900.0,
        latency_maximum_us: 9_000.0,
    }
}

/// Runs in which the appliance takes `ours` and NSD `theirs` microseconds a query, and each 1 % while nobody asks.
fn results(ours: u64, theirs: u64) -> Report {
    let load = |queries_per_second| Load {
        queries_per_second,
        seconds: 60,
        clients: 4,
        outstanding: 50,
        timeout_seconds: 5,
    };
    let (mut idle, mut loads, mut client) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..5 {
        for (system, us) in [(System::Mirage, ours), (System::LinuxNsd, theirs)] {
            idle.push(IdleRow {
                system,
                run,
                interval: Interval {
                    window_ns: 10 * SECOND,
                    cpu_ns: SECOND / 10,
                },
            });
            for kind in LoadKind::ALL {
                let (window_ns, completed) = (100 * SECOND, 30_000);
                // Each run takes a microsecond a query more than the one before.
                let busy_ns = completed * (us + run as u64) * 1000;
                loads.push(LoadRow {
                    system,
                    run,
                    kind,
                    outcome: outcome(completed),
                    guest: Interval {
                        window_ns,
                        cpu_ns: window_ns / 100 + busy_ns,
                    },
                    dom0: Interval {
                        window_ns,
                        cpu_ns: completed * 400_000,
                    },
                });
            }
        }
        client.push(ClientRow {
            run,
            outcome: outcome(180_000),
        });
    }
    let mut results = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        machine: Machine::before(),
        versions: Versions {
            mirage: "0.1.0".into(),
            rustc: String::new(),
            xen: "xen-hypervisor-4.17-amd64 4.17.5".into(),
            qemu: "7.2".into(),
            linux: "6.1".into(),
            nsd: "4.6.1-1".into(),
            dnsperf: "2.10.0".into(),
        },
        settings: Settings {
            runs: 5,
            steady: load(Some(500)),
            saturation: load(None),
            idle_seconds: 10,
            memory_mib: 256,
            queries: vec!["example.org SOA".into()],
            seed: "00".into(),
        },
        has_tap: true,
        idle,
        loads,
        client,
        figures: Vec::new(),
        goals: Vec::new(),
    };
    results.conclude();
    results
}

#[test]
fn results_are_written_read_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let results = results(48, 598);
    results.write(folder.path()).unwrap();
    assert_eq!(Report::read(folder.path()).unwrap(), results);
    let svg = std::fs::read_to_string(folder.path().join("dns-xen.svg")).unwrap();
    for text in [
        "at 500 queries/s for 60 s",
        "goal: a tenth",
        "NSD 4.6.1-1",
        "PVH",
        "TCG",
        "the client alone",
        "50 (48 to 52)",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn what_a_guest_takes_while_nobody_asks_is_subtracted() {
    let results = results(48, 598);
    let row = results.find(System::Mirage, LoadKind::Steady).unwrap();
    assert!((row.cpu_us_per_query.median - 50.0).abs() < 1e-6, "{row:?}");
    assert!((row.cpu_us_per_query.minimum - 48.0).abs() < 1e-6);
    assert!((row.idle_percent.median - 1.0).abs() < 1e-9);
    assert!((row.dom0_cpu_us_per_query.median - 400.0).abs() < 1e-6);
    // 30,000 queries of 400 us in a minute.
    assert!((row.dom0_percent.median - 20.0).abs() < 1e-9);
    assert_eq!(row.cpu_us_per_query.runs, 5);
}

#[test]
fn a_load_that_was_not_kept_is_said() {
    let mut results = results(48, 598);
    for row in &mut results.loads {
        if row.system == System::LinuxNsd {
            row.outcome.queries_per_second = 353.0;
        }
    }
    results.conclude();
    let folder = tempfile::tempdir().unwrap();
    results.write(folder.path()).unwrap();
    let svg = std::fs::read_to_string(folder.path().join("dns-xen.svg")).unwrap();
    assert!(svg.contains("Linux with NSD (PV), 353/s answered"));
    assert!(!svg.contains("mirage dns (PVH), 500/s"));
}

#[test]
fn the_goal_is_a_tenth() {
    // Medians are two microseconds more.
    let reached = |ours, theirs| results(ours, theirs).goals.iter().all(|goal| goal.reached);
    assert!(reached(57, 598));
    assert!(!reached(60, 598));
}

#[test]
fn without_a_peer_no_goal_is_reached() {
    let mut results = results(1, 1_000);
    results.loads.retain(|row| row.system == System::Mirage);
    results.conclude();
    assert_eq!(results.goals.len(), 2);
    assert!(results.goals.iter().all(|goal| !goal.reached));
    let folder = tempfile::tempdir().unwrap();
    results.write(folder.path()).unwrap();
}

/// What is published in the repository is what this program writes.
#[test]
fn published_results_are_whole() {
    let Some(results) = published_results::<Report>(env!("CARGO_MANIFEST_DIR")) else {
        return;
    };
    let runs = |figure: &FigureRow| figure.cpu_us_per_query.runs;
    assert!(
        results
            .figures
            .iter()
            .all(|figure| runs(figure) == results.settings.runs)
    );
}
