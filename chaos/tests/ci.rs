//! A short run with a fixed seed, for every change.

use std::time::Duration;

use stillframe_chaos::{
    Options,
    plan::{self, Shape},
    run,
};

/// Chosen so that its first rounds have faults of every sort; see the test below.
const SEED: u64 = 66;

const ROUNDS: u32 = 4;

/// With this, healing and checking included, well under two minutes.
const SHAPE: Shape = Shape { members: 5, replicas: 2, window: Duration::from_secs(8) };

#[tokio::test]
async fn nothing_is_lost_whatever_breaks() {
    let directory = run::new_directory(SEED).expect("a directory");
    let options = Options {
        program: env!("CARGO_BIN_EXE_stillframe-chaos").into(),
        seed: SEED,
        time: Duration::from_secs(75),
        rounds: ROUNDS,
        shape: SHAPE,
        directory: directory.clone(),
        quiet: false,
    };
    let summary = stillframe_chaos::run(&options).await.expect("the run's directory can be written");
    println!("{summary}");
    assert!(summary.violations.is_empty(), "evidence: {}; replay: cargo chaos --seed {SEED} --window 8", directory.display());
    assert!(summary.verified > 0 && summary.injected() > 0, "{summary}");
    std::fs::remove_dir_all(&directory).expect("what isn't needed can be removed");
}

#[test]
fn the_seed_of_this_test_breaks_something_of_every_sort() {
    let drawn: Vec<String> = (0..ROUNDS)
        .flat_map(|number| plan::round(SEED, number, SHAPE).injections)
        .map(|injection| injection.fault.kind().to_string())
        .collect();
    assert!((0..ROUNDS).any(|number| plan::round(SEED, number, SHAPE).loses_database), "the database is never lost");
    for sort in [
        "SIGKILL of a member",
        "SIGKILL of a replica",
        "SIGSTOP",
        "postgres crashes",
        "store",
        "member -> member",
        "member -> replica",
        "replica -> postgres",
    ] {
        assert!(drawn.iter().any(|kind| kind.contains(sort)), "no {sort} in {drawn:?}");
    }
}
