use bench_common::report::published as published_results;

use super::*;

const SIZES: [usize; 2] = [100, 10_000];
const RATES: [u32; 2] = [20_000, 40_000];

/// Runs in which the machine is busy for the null responder's 20 us a query, and so many more for each peer.
fn results(ours: f64, nsd: f64) -> Report {
    let mut loads = Vec::new();
    let load = |generator, queries_per_second| Load {
        generator,
        queries_per_second,
        seconds: 12,
        outstanding: 100,
    };
    for run in 0..3 {
        for peer in Peer::ALL {
            let more = match peer {
                Peer::Null => 0.0,
                Peer::Xdp | Peer::XdpMemo => ours,
                _ => nsd,
            };
            let mut row = |names, load: Load, rate: f64| {
                // Each round takes a microsecond more, of all alike.
                let busy = 20.0 + more + f64::from(run);
                loads.push(LoadRow {
                    peer,
                    names,
                    run: run as usize,
                    load,
                    outcome: Outcome {
                        sent: 12 * rate as u64 + 120,
                        answered: 12 * rate as u64,
                        queries_per_second: rate,
                        latency_average_us: (load.generator == Generator::Dnsperf).then_some(90.0),
                        latency_maximum_us: (load.generator == Generator::Dnsperf).then_some(900.0),
                    },
                    window_seconds: 10.0,
                    busy_seconds: busy * rate * 10.0 / 1e6,
                    stolen_seconds: 0.0,
                    server_seconds: (1.0 + more) * rate * 10.0 / 1e6,
                    client_seconds: 9.0 * rate * 10.0 / 1e6,
                    repeated: 0,
                });
            };
            for rate in RATES {
                row(10_000, load(Generator::Dnsperf, Some(rate)), rate.into());
            }
            let most = 100_000.0 / (1.0 + more);
            for names in SIZES {
                row(names, load(Generator::Dnsperf, None), most);
                // What is offered too much is answered less.
                row(names, load(Generator::Kxdpgun, Some(100_000)), most);
                row(names, load(Generator::Kxdpgun, Some(400_000)), most / 2.0);
            }
        }
    }
    let mut results = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        machine: Machine::before(),
        steady_machine: None,
        versions: Versions {
            mirage: "0.1.0".into(),
            rustc: String::new(),
            nsd: "NSD version 4.6.1".into(),
            knot: "knotd (Knot DNS), version 3.2.6".into(),
            dnsperf: "Version 2.10.0".into(),
            kxdpgun: "kxdpgun (Knot DNS), version 3.2.6".into(),
        },
        settings: Settings {
            runs: 3,
            sizes: SIZES.to_vec(),
            steady_size: 10_000,
            rates: RATES.to_vec(),
            offers: vec![100_000, 400_000],
            steady_seconds: 12,
            saturation_seconds: 6,
            outstanding: 100,
            queries: 200_000,
            seed: 1,
            peers: Peer::ALL.to_vec(),
        },
        published: published(),
        loads,
        figures: Vec::new(),
        goals: Vec::new(),
    };
    results.conclude();
    results
}

#[test]
fn results_are_written_read_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let results = results(1.0, 4.0);
    results.write(folder.path()).unwrap();
    assert_eq!(Report::read(folder.path()).unwrap(), results);
    let svg = std::fs::read_to_string(folder.path().join("dns-wire.svg")).unwrap();
    for text in [
        "at 20,000 queries/s",
        "goal: half",
        "goal: more than NSD",
        "NSD version 4.6.1",
        "saturation by kxdpgun, zone of 100 names",
        "MirageOS, no memo",
        "published, other hardware",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn the_null_responder_s_work_is_subtracted_round_by_round() {
    let results = results(1.5, 4.0);
    for (peer, more) in [(Peer::Null, 0.0), (Peer::Xdp, 1.5), (Peer::Nsd, 4.0)] {
        let row = results
            .find(10_000, Kind::Steady { rate: 20_000 }, peer)
            .unwrap();
        let less = row.busy_us_less_null.unwrap();
        assert!(
            (less.median - more).abs() < 1e-9 && less.runs == 3,
            "{row:?}"
        );
        // What drifts from round to round is gone.
        assert!(less.maximum - less.minimum < 1e-9);
        assert!((row.busy_us_per_query.median - 21.0 - more).abs() < 1e-9);
        assert!((row.server_us_per_query.median - 1.0 - more).abs() < 1e-9);
    }
}

#[test]
fn of_what_kxdpgun_offers_the_most_that_was_answered_counts() {
    let results = results(1.0, 4.0);
    let kind = Kind::Saturation {
        generator: Generator::Kxdpgun,
    };
    let row = results.find(100, kind, Peer::Xdp).unwrap();
    assert!((row.queries_per_second.median - 50_000.0).abs() < 1e-9);
    assert_eq!(row.queries_per_second.runs, 3);
    assert_eq!(row.latency_average_us, None);
}

#[test]
fn the_goals_are_half_of_nsd_s_time_and_a_higher_rate() {
    let reached = |ours, nsd| -> Vec<bool> {
        let results = results(ours, nsd);
        results.goals.iter().map(|goal| goal.reached).collect()
    };
    // Two loads, and two generators at two sizes.
    assert_eq!(reached(1.9, 4.0), [true; 6]);
    assert_eq!(reached(2.1, 4.0), [false, false, true, true, true, true]);
    assert_eq!(reached(4.1, 4.0), [false; 6]);
}

#[test]
fn without_a_peer_no_goal_is_reached() {
    let mut results = results(1.0, 4.0);
    results.loads.retain(|row| row.peer != Peer::Nsd);
    results.conclude();
    assert!(results.goals.iter().all(|goal| !goal.reached) && results.goals.len() == 6);
    let mut results = self::results(1.0, 4.0);
    results.loads.retain(|row| row.peer != Peer::Null);
    results.conclude();
    assert_eq!(results.goals.iter().filter(|goal| goal.reached).count(), 4);
    let folder = tempfile::tempdir().unwrap();
    results.write(folder.path()).unwrap();
}

/// What is published in the repository is what this program writes.
#[test]
fn published_results_are_whole() {
    let Some(results) = published_results::<Report>(env!("CARGO_MANIFEST_DIR")) else {
        return;
    };
    // What was measured is all there; of the figures, rounds that the host disturbed are left out.
    for figure in &results.figures {
        let key = (figure.peer, figure.names, figure.kind);
        let rows = results.loads.iter();
        let rows = rows.filter(|row| (row.peer, row.names, row.kind()) == key);
        let mut runs: Vec<usize> = rows.map(|row| row.run).collect();
        runs.dedup();
        assert_eq!(runs.len(), results.settings.runs, "{key:?}");
        assert!((1..=runs.len()).contains(&figure.queries_per_second.runs));
    }
}

#[test]
fn load_during_which_the_host_took_much_away_is_disturbed() {
    let mut row = results(1.0, 3.0).loads[0].clone();
    assert!(!row.is_disturbed(2));
    row.stolen_seconds = 0.19;
    assert!(!row.is_disturbed(2), "of 20 seconds of two processors");
    row.stolen_seconds = 0.21;
    assert!(row.is_disturbed(2));
}

#[test]
fn rounds_that_the_host_disturbed_are_left_out_unless_it_disturbed_all() {
    let mut report = results(1.0, 3.0);
    let kind = Kind::Saturation {
        generator: Generator::Kxdpgun,
    };
    let runs = |report: &Report, peer| {
        let rows = report.rows(10_000, kind, peer);
        rows.iter().map(|row| row.run).collect::<Vec<_>>()
    };
    assert_eq!(runs(&report, Peer::Xdp), [0, 1, 2]);
    // The smaller one of the offers of a round: the larger one alone would say less than there was.
    let disturbed = report
        .loads
        .iter_mut()
        .find(|row| (row.peer, row.names, row.run, row.kind()) == (Peer::Xdp, 10_000, 1, kind));
    disturbed.unwrap().stolen_seconds = 5.0;
    assert_eq!(runs(&report, Peer::Xdp), [0, 2]);
    assert_eq!(runs(&report, Peer::Nsd), [0, 1, 2]);
    for row in &mut report.loads {
        row.stolen_seconds = 5.0;
    }
    assert_eq!(runs(&report, Peer::Xdp), [0, 1, 2]);
}

#[test]
fn steady_loads_that_were_measured_again_take_the_place_of_those_before() {
    let (earlier, later) = (results(9.0, 3.0), results(1.0, 3.0));
    let count = earlier.loads.len();
    let mut both = earlier.clone().with_steady_of(later.clone()).unwrap();
    both.conclude();
    assert_eq!(both.loads.len(), count);
    assert!(both.steady_machine.is_some());
    let steady = Kind::Steady { rate: 20_000 };
    let saturation = Kind::Saturation {
        generator: Generator::Dnsperf,
    };
    let rows = |report: &Report, kind| report.rows(10_000, kind, Peer::Xdp).len();
    assert_eq!(rows(&both, steady), 3);
    let busy = |report: &Report, kind| report.find(10_000, kind, Peer::Xdp).cloned();
    assert_eq!(busy(&both, steady), busy(&later, steady));
    assert_eq!(busy(&both, saturation), busy(&earlier, saturation));
    let mut other = later;
    other.versions.nsd = "another".into();
    assert!(earlier.with_steady_of(other).is_err());
}
