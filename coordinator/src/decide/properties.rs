//! What must hold whatever happens, in any order. `World` checks after each step.

use proptest::prelude::*;
use stillframe_api::{
    cluster::{ClusterPhase, OnLoss},
    restore::RestoreState,
    snapshot::SnapshotState,
};
use stillframe_protocol::Generation;

use super::{Refusal, assignment, settings::Changes, world::World};

#[derive(Debug, Clone)]
enum Step {
    Register(usize),
    RegisterAgain(usize),
    Lose(usize),
    Regain(usize, u64),
    Request,
    Report(usize),
    ReportAll,
    Commit { only_certify: bool },
    Abort(usize),
    Restore(usize),
    Delete(usize),
    Hold(usize),
    Expire,
    Sweep(usize),
    Say { member: usize, fails: bool, stale: bool },
    Pass(i64),
    Settings { max_concurrent: u32, min_pause_ms: u64 },
    Timeout { nth: usize, ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0usize..4;
    prop_oneof![
        3 => member.clone().prop_map(Step::Register),
        1 => member.clone().prop_map(Step::RegisterAgain),
        2 => member.clone().prop_map(Step::Lose),
        2 => (member.clone(), 1u64..4).prop_map(|(m, i)| Step::Regain(m, i)),
        3 => Just(Step::Request),
        3 => member.clone().prop_map(Step::Report),
        4 => Just(Step::ReportAll),
        4 => any::<bool>().prop_map(|only_certify| Step::Commit { only_certify }),
        1 => (0usize..20).prop_map(Step::Abort),
        2 => (0usize..20).prop_map(Step::Restore),
        2 => (0usize..20).prop_map(Step::Delete),
        1 => (0usize..20).prop_map(Step::Hold),
        1 => Just(Step::Expire),
        2 => (0usize..20).prop_map(Step::Sweep),
        8 => (member, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(|(member, fails, stale)| Step::Say { member, fails, stale }),
        1 => (1u32..4, prop_oneof![Just(0u64), Just(500), Just(5_000)])
            .prop_map(|(max_concurrent, min_pause_ms)| Step::Settings { max_concurrent, min_pause_ms }),
        1 => (0usize..20, 1u64..3_000).prop_map(|(nth, ms)| Step::Timeout { nth, ms }),
        1 => prop_oneof![Just(10i64), Just(2_000), Just(10_000)].prop_map(Step::Pass),
    ]
}

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Register(n) => world.register(n),
        Step::RegisterAgain(n) => world.register_again(n),
        Step::Lose(n) => world.lose(n),
        Step::Regain(n, incarnation) => world.regain(n, incarnation),
        Step::Request => drop(world.request()),
        Step::Report(n) => world.report(n),
        Step::ReportAll => world.report_all(),
        Step::Commit { only_certify } => world.commit(only_certify),
        Step::Abort(nth) => world.abort(nth),
        Step::Restore(nth) => drop(world.restore(nth)),
        Step::Delete(nth) => world.delete(nth),
        Step::Hold(nth) => world.hold(nth),
        Step::Expire => world.expire(),
        Step::Sweep(nth) => world.sweep(nth),
        Step::Say { member, fails, stale } => world.say(member, fails, stale),
        Step::Settings { max_concurrent, min_pause_ms } => {
            world.update(Changes { max_concurrent: Some(max_concurrent), min_pause_ms: Some(min_pause_ms), ..Changes::default() })
        }
        Step::Timeout { nth, ms } => {
            if let Some(id) = world.all.keys().nth(nth).copied() {
                drop(world.set_timeout(id, ms));
            }
        }
        Step::Pass(ms) => {
            world.advance(ms);
            world.deadlines();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Committed and aborted exclude each other; views are frozen; no number is used twice; what is stale changes nothing; nobody's orders
    /// change unheard.
    #[test]
    fn no_history_breaks_what_must_always_hold(halt in any::<bool>(), steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(2, if halt { OnLoss::Halt } else { OnLoss::RestoreLatest });
        for step in &steps {
            take(&mut world, step);
        }
    }

    /// However it got there: once all members are there and do what they are told, a cluster that isn't halted runs and takes snapshots.
    #[test]
    fn a_cluster_whose_members_are_all_there_and_do_their_part_runs_again(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        for step in &steps {
            take(&mut world, step);
        }
        world.update(Changes { min_pause_ms: Some(0), ..Changes::default() });
        // Everybody starts again, and from now on nothing fails.
        // As many rounds as snapshots can wait, and some for the restore.
        for round in 0..super::queue::MAX_PENDING + 6 {
            for n in 0..4 {
                if round == 0 {
                    world.register(n);
                }
                world.say(n, false, false);
            }
            world.report_all();
            world.commit(false);
            if world.facts.is_calm() && world.facts.snapshots.is_empty() {
                break;
            }
        }
        prop_assert!(matches!(world.facts.cluster.phase, ClusterPhase::Running | ClusterPhase::Halted), "{:?}", world.facts.cluster);
        if world.facts.cluster.phase == ClusterPhase::Running {
            prop_assert!(world.facts.missing_members().next().is_none(), "{:?}", world.facts);
            prop_assert!(world.facts.snapshots.is_empty(), "{:?}", world.facts.snapshots);
        }
    }
}

fn running(members: usize) -> World {
    let mut world = World::new(members as u32, OnLoss::RestoreLatest);
    (0..members).for_each(|n| world.register(n));
    world.report_all();
    world.commit(false);
    assert!(world.facts.cluster.latest_committed.is_some());
    world
}

#[test]
fn a_complete_snapshot_is_let_through_before_a_rollback_begins() {
    let mut world = running(2);
    world.request().expect("a snapshot");
    world.report_all();
    world.commit(true);
    world.lose(0);
    world.register(0);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    world.commit(false);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring);
    let newest = world.all.values().filter(|s| s.state == SnapshotState::Committed).map(|s| s.id).max();
    assert_eq!(world.facts.restore.as_ref().map(|r| r.snapshot), newest);
}

#[test]
fn a_snapshot_of_an_abandoned_generation_is_committed_but_not_gone_back_to() {
    let mut world = running(2);
    let first = world.facts.cluster.latest_committed;
    world.request().expect("a snapshot");
    world.report_all();
    world.commit(true);
    world.restore(0).expect("a restore");
    for _ in 0..2 {
        (0..2).for_each(|n| world.say(n, false, false));
    }
    assert_eq!(world.facts.cluster.generation, Generation(2));
    world.commit(false);
    let committed: Vec<_> = world.all.values().filter(|s| s.state == SnapshotState::Committed).collect();
    assert_eq!(committed.len(), 2);
    assert_eq!(world.facts.cluster.latest_committed, first);
}

#[test]
fn a_request_is_refused_with_the_name_of_who_is_lost() {
    let mut world = running(2);
    world.lose(1);
    match world.request() {
        Err(Refusal::MemberLost { members, .. }) => assert_eq!(members.len(), 1),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn a_cluster_that_halted_because_of_a_loss_goes_on_when_the_member_is_there_after_all() {
    let mut world = World::new(2, OnLoss::Halt);
    (0..2).for_each(|n| world.register(n));
    world.report_all();
    world.commit(false);
    world.lose(1);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted);
    world.regain(1, 1);
    assert_eq!((world.facts.cluster.phase, world.facts.cluster.generation), (ClusterPhase::Running, Generation(1)));

    world.lose(1);
    world.register(1);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted, "another incarnation has nothing of what was lost");
}

#[test]
fn members_go_on_while_a_restore_still_waits_for_one_that_is_away() {
    let mut world = running(2);
    world.lose(1);
    world.restore(0).expect("a restore");
    assert_eq!(world.facts.restore.as_ref().map(|r| r.state), Some(RestoreState::Planned));
    let (name, incarnation) = world.facts.members.values().map(|m| (m.name.clone(), m.incarnation)).next().expect("a member");
    let wanted = assignment::wanted(&world.facts, &name, incarnation).expect("an assignment");
    assert!(matches!(wanted, assignment::Wanted::Run { generation: Generation(1), .. }), "{wanted:?}");
}
