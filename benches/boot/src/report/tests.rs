use bench_common::report::published as published_results;

use super::*;
use crate::search::Try;

fn boot(system: System, memory_mib: u32, run: usize, factor: u64) -> BootRow {
    let ms = |value: u64| Some(value * 1_000_000);
    BootRow {
        system,
        memory_mib,
        run,
        network_up_us: Some(40_000 * factor),
        xenstore_round_trips: (system == System::Mirage).then_some(9 + run as u64),
        boot: Boot {
            domain: Some(1),
            created_ns: ms(3_100),
            status: Some(0),
            unpaused_ns: ms(3_000),
            network_ns: ms(3_000 + 50 * factor),
            network_cpu_ns: ms(30 * factor),
            answer_ns: ms(3_000 + 60 * factor + run as u64),
            answer_cpu_ns: ms(35 * factor),
            pages: Some(1024),
            ended_ns: None,
            reason: None,
            answers: 20,
        },
    }
}

fn results() -> Report {
    let mut boots = Vec::new();
    for run in 0..5 {
        for memory in [4, 64, 256, 1024] {
            boots.push(boot(System::Mirage, memory, run, 1));
            if memory > 64 {
                boots.push(boot(System::LinuxNsd, memory, run, 150));
            }
        }
    }
    let search = |system, least_mib: u32, step_mib: u32, failure: &str| SearchRow {
        system,
        step_mib,
        least_mib,
        tried: vec![
            Try {
                memory_mib: least_mib,
                failure: None,
            },
            Try {
                memory_mib: least_mib - step_mib,
                failure: Some(failure.into()),
            },
        ],
    };
    let mut results = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        machine: Machine::before(),
        versions: Versions {
            mirage: "0.1.0".into(),
            rustc: String::new(),
            xen: "xen-hypervisor-4.17-amd64 4.17.5".into(),
            qemu: "7.2".into(),
            linux: "6.1".into(),
            nsd: "4.6".into(),
            dnsperf: String::new(),
        },
        settings: Settings {
            runs: 5,
            sizes_mib: vec![64, 256, 1024],
            queries_after_the_first: 20,
            seed: "00".into(),
        },
        searches: vec![
            search(System::Mirage, 4, 1, "crashed"),
            search(System::LinuxNsd, 112, 16, "crashed"),
        ],
        skipped: vec![Skipped {
            system: System::LinuxNsd,
            memory_mib: 64,
            reason: "with 96 MiB: crashed".into(),
        }],
        boots,
        figures: Vec::new(),
        goals: Vec::new(),
        published: published(),
    };
    results.conclude();
    results
}

#[test]
fn results_are_written_read_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let results = results();
    results.write(folder.path()).unwrap();
    assert_eq!(Report::read(folder.path()).unwrap(), results);
    let svg = std::fs::read_to_string(folder.path().join("boot.svg")).unwrap();
    for text in [
        "mirage dns (PVH), 4 MiB",
        "Linux with NSD (PV), 1024 MiB",
        "too little memory",
        "goal: a hundredth",
        "goal: 4 MiB",
        "37 (published)",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn a_figure_is_the_median_of_its_runs_with_their_spread() {
    let results = results();
    let row = results
        .figures
        .iter()
        .find(|row| row.system == System::Mirage && row.memory_mib == 64)
        .unwrap();
    let expected = Spread {
        median: 62.0,
        minimum: 60.0,
        maximum: 64.0,
        runs: 5,
    };
    assert_eq!(row.guest_to_answer_ms, expected);
    assert_eq!(row.create_to_answer_ms.median, 3_062.0);
    assert_eq!(row.toolstack_ms.median, 3_000.0);
    assert_eq!(row.entry_to_network_up_ms.unwrap().median, 40.0);
}

#[test]
fn goals_are_reached_and_missed() {
    let reached =
        |results: &Report| -> Vec<bool> { results.goals.iter().map(|goal| goal.reached).collect() };
    let mut results = results();
    assert_eq!(reached(&results), [true, true, true, true]);

    results.searches[0].least_mib = 5;
    for row in &mut results.boots {
        if row.system == System::Mirage {
            row.xenstore_round_trips = Some(if row.run == 3 { 16 } else { 9 });
            row.boot.network_cpu_ns = Some(46_000_000);
            if row.memory_mib == 1024 {
                row.network_up_us = Some(44_001);
            }
        }
    }
    results.conclude();
    assert_eq!(reached(&results), [false; 4]);
}

#[test]
fn what_was_not_measured_is_no_goal_reached() {
    let mut results = results();
    results.searches.clear();
    results
        .boots
        .retain(|row| row.system == System::Mirage && row.memory_mib == 64);
    for row in &mut results.boots {
        row.xenstore_round_trips = None;
    }
    results.conclude();
    assert!(
        results
            .goals
            .iter()
            .all(|goal| !goal.reached && goal.measured.is_none())
    );
    let folder = tempfile::tempdir().unwrap();
    results.write(folder.path()).unwrap();
}

#[test]
fn a_size_that_was_skipped_is_told_why() {
    let results = results();
    assert_eq!(results.searches[1].reason(64), "with 96 MiB: crashed");
    let mut none = results.searches[1].clone();
    none.tried.truncate(1);
    assert!(none.reason(64).contains("112 MiB"));
}

/// What is published in the repository is what this program writes.
#[test]
fn published_results_are_whole() {
    let Some(results) = published_results::<Report>(env!("CARGO_MANIFEST_DIR")) else {
        return;
    };
    let runs = |figure: &FigureRow| figure.create_to_answer_ms.runs;
    assert!(
        results
            .figures
            .iter()
            .all(|figure| runs(figure) == results.settings.runs)
    );
}
