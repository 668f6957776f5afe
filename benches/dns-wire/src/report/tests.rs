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
    let runs = |figure: &FigureRow| figure.queries_per_second.runs;
    assert!(
        results
            .figures
            .iter()
            .all(|figure| runs(figure) == results.settings.runs)
    );
}
