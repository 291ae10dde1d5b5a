//! Seeds that have to hold on every change. `cargo sim --seeds 10000` runs more of them.

use stillframe_sim::{Options, Stats, run};

/// How many seeds each of the tests below runs; together the first 200.
const SEEDS: u64 = 100;

fn all_hold(from: u64) -> Stats {
    let mut stats = Stats::default();
    for seed in from..from + SEEDS {
        match run(seed, Options::default()) {
            Ok(run) => stats += &run.stats,
            Err(failure) => panic!("{}\n{failure}", failure.tail.join("\n")),
        }
    }
    stats
}

#[test]
fn whatever_goes_wrong_snapshots_are_consistent_and_the_cluster_recovers() {
    let stats = all_hold(0);
    // The seeds are worth something only if they get there.
    assert!(stats.committed > 500 && stats.committed_in_flight > 100 && stats.recorded > 500, "{stats:?}");
    assert!(stats.restores > 50 && stats.restores_to_older > 10 && stats.resumed_members > 100 && stats.joins > 20, "{stats:?}");
    assert!(stats.logged > 500 && stats.aligning > 100 && stats.held_frames > 20 && stats.unaligned > 2, "{stats:?}");
    assert!(stats.leaves > 20 && stats.with_departed > 0, "{stats:?}");
    assert!(stats.most_at_once > 2 && stats.overtaken_decisions > 100 && stats.fenced_frames > 10, "{stats:?}");
    for reason in ["deadline_exceeded", "member_lost", "requested", "superseded_by_restore"] {
        assert!(stats.aborted.get(reason).is_some_and(|times| *times > 10), "{reason}: {stats:?}");
    }
}

#[test]
fn so_they_are_and_so_it_does_with_other_seeds() {
    all_hold(SEEDS);
}

#[test]
fn the_same_seed_does_the_same_again() {
    for seed in [0, 7, 4_711] {
        let one = run(seed, Options::default()).expect("it holds");
        let other = run(seed, Options::default()).expect("it holds");
        assert_eq!(one, other);
        assert!(one.trace_lines > 100, "{one:?}");
    }
    let hashes: Vec<u64> = (0..4).map(|seed| run(seed, Options::default()).expect("it holds").trace_hash).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]), "different seeds do different things");
}
