//! Random schedules on random topologies: up to six members, cycles, several epochs open at once, aborts, restores with old frames in the network,
//! channels that open at any time, connections that break.

use proptest::prelude::*;

use crate::world::{Orderings, Plan, Reached, run};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_committed_cut_over_fifo_channels_is_exact(plan in Plan::any(Orderings::Fifo, 400)) {
        run(&plan, None).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_committed_cut_over_lossy_unordered_channels_is_exact(plan in Plan::any(Orderings::Unordered, 400)) {
        run(&plan, None).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_committed_cut_over_mixed_channels_is_exact(plan in Plan::any(Orderings::Mixed, 400)) {
        run(&plan, None).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_committed_sender_logged_cut_over_fifo_channels_is_exact(plan in Plan::any(Orderings::Fifo, 400)) {
        run(&plan.sender_logged(), None).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_committed_sender_logged_cut_over_mixed_channels_is_exact(plan in Plan::any(Orderings::Mixed, 400)) {
        run(&plan.sender_logged(), None).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_committed_aligned_cut_is_exact(plan in Plan::any(Orderings::Fifo, 400)) {
        run(&plan.aligned(), None).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn aligned_schedules_reach_what_is_interesting() {
    let (mut committed, mut held, mut unaligned, mut recorded, mut restores) = (0, 0, 0, 0, 0);
    for seed in 0..40 {
        let one = run(&Plan::of_seed(seed, 600).aligned(), None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert!(one.unaligned > 0 || one.recorded == 0, "seed {seed}: an aligned member records");
        (committed, held, unaligned) = (committed + one.committed, held + one.held, unaligned + one.unaligned);
        (recorded, restores) = (recorded + one.recorded, restores + one.restores);
    }
    let all = format!("{committed} committed, {held} held, {unaligned} unaligned, {recorded} recorded, {restores} restored");
    assert!(committed >= 80 && held >= 100 && unaligned >= 20 && recorded >= 10 && restores >= 5, "{all}");
}

#[test]
fn sender_logged_schedules_reach_what_is_interesting() {
    let (mut committed, mut logged, mut restores, mut sent_again) = (0, 0, 0, 0);
    for seed in 0..40 {
        let one = run(&Plan::of_seed(seed, 600).sender_logged(), None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!((one.recorded, one.most_open_epochs), (0, 0), "nothing is recorded, and nothing waits");
        (committed, logged, restores) = (committed + one.committed, logged + one.logged, restores + one.restores);
        sent_again += one.sent_again;
    }
    let all = format!("{committed} committed, {logged} logged, {restores} restored, {sent_again} sent again");
    assert!(committed >= 80 && logged >= 200 && restores >= 5 && sent_again >= 20, "{all}");
}

#[test]
fn the_schedules_reach_what_is_interesting() {
    let mut all = Reached::default();
    for seed in 0..40 {
        let one = run(&Plan::of_seed(seed, 600), None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        all.committed += one.committed;
        all.aborted += one.aborted;
        all.recorded += one.recorded;
        all.restores += one.restores;
        all.fenced += one.fenced;
        all.newer_generation += one.newer_generation;
        all.reconnects += one.reconnects;
        all.joins += one.joins;
        all.epochs_cut_together += one.epochs_cut_together;
        all.most_open_epochs = all.most_open_epochs.max(one.most_open_epochs);
    }
    println!("{all:?}");
    assert!(all.committed >= 80 && all.aborted >= 20 && all.recorded >= 200, "{all:?}");
    assert!(all.restores >= 5 && all.fenced >= 20 && all.newer_generation >= 3, "{all:?}");
    assert!(all.reconnects >= 50 && all.joins >= 5 && all.epochs_cut_together >= 10 && all.most_open_epochs >= 3, "{all:?}");
}
