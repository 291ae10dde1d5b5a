//! What must hold whatever happens, in any order. `World` checks after each step.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stillframe_api::{
    agent::PrepareProblem,
    channel_state::{Alignment, ChannelState},
    cluster::{ClusterPhase, OnLoss},
    restore::{RestoreFailure, RestoreState},
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::Generation;

use super::{Refusal, assignment, facts::HaltCause, settings::Changes, snapshot, world::World};

#[derive(Debug, Clone)]
enum Step {
    Register(usize),
    RegisterAgain(usize),
    Lose(usize),
    RegisterOnly(usize),
    Arrive(usize, u64),
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
    RestoreWith { nth: usize, fallback: u32, mapping: BTreeMap<usize, usize> },
    Cancel,
    Resume(u32),
    Fallback(u32),
    Say { member: usize, fails: Option<PrepareProblem>, stale: bool },
    Pass(i64),
    AskToLeave(usize, bool),
    AskToStay(usize),
    WantToLeave(usize),
    Drain(usize, usize),
    End(usize),
    LeaveWhole(usize),
    Settings { max_concurrent: u32, min_pause_ms: u64 },
    Channels { logs: bool, aligns: bool, timeout: bool },
    Timeout { nth: usize, ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0usize..5;
    prop_oneof![
        3 => member.clone().prop_map(Step::Register),
        1 => member.clone().prop_map(Step::RegisterOnly),
        1 => member.clone().prop_map(Step::RegisterAgain),
        2 => member.clone().prop_map(Step::Lose),
        2 => (member.clone(), 1u64..4).prop_map(|(m, i)| Step::Arrive(m, i)),
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
        1 => (1u32..4, prop_oneof![Just(0u64), Just(500), Just(5_000)])
            .prop_map(|(max_concurrent, min_pause_ms)| Step::Settings { max_concurrent, min_pause_ms }),
        1 => any::<(bool, bool, bool)>().prop_map(|(logs, aligns, timeout)| Step::Channels { logs, aligns, timeout }),
        1 => (0usize..20, 1u64..3_000).prop_map(|(nth, ms)| Step::Timeout { nth, ms }),
        1 => ((0usize..20), 0u32..3, prop::collection::btree_map(0usize..4, 0usize..6, 0..3))
            .prop_map(|(nth, fallback, mapping)| Step::RestoreWith { nth, fallback, mapping }),
        1 => (member.clone(), any::<bool>()).prop_map(|(m, force)| Step::AskToLeave(m, force)),
        1 => member.clone().prop_map(Step::AskToStay),
        2 => member.clone().prop_map(Step::WantToLeave),
        3 => (member.clone(), member.clone()).prop_map(|(by, of)| Step::Drain(by, of)),
        2 => member.clone().prop_map(Step::End),
        2 => member.clone().prop_map(Step::LeaveWhole),
        1 => Just(Step::Cancel),
        1 => (0u32..3).prop_map(Step::Resume),
        1 => (0u32..3).prop_map(Step::Fallback),
        8 => (0usize..6, prop::option::weighted(0.15, problem()), prop::bool::weighted(0.1))
            .prop_map(|(member, fails, stale)| Step::Say { member, fails, stale }),
        2 => prop_oneof![Just(10i64), Just(2_000), Just(10_000), Just(100_000)].prop_map(Step::Pass),
    ]
}

fn problem() -> impl Strategy<Value = PrepareProblem> {
    prop_oneof![Just(PrepareProblem::Unreadable), Just(PrepareProblem::Unavailable), Just(PrepareProblem::Member)]
}

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::RestoreWith { nth, fallback, ref mapping } => drop(world.restore_with(nth, fallback, mapping.clone())),
        Step::Cancel => drop(world.cancel()),
        Step::Resume(fallback) => drop(world.resume(fallback)),
        Step::Fallback(fallback) => world.facts.cluster.restore_fallback = fallback,
        Step::Register(n) => world.register(n),
        Step::RegisterOnly(n) => world.register_only(n),
        Step::RegisterAgain(n) => world.register_again(n),
        Step::Lose(n) => world.lose(n),
        Step::Arrive(n, incarnation) => world.arrive(n, incarnation),
        Step::AskToLeave(n, force) => drop(world.ask_to_leave(n, force)),
        Step::AskToStay(n) => drop(world.ask_to_stay(n)),
        Step::WantToLeave(n) => drop(world.want_to_leave(n)),
        Step::Drain(by, of) => drop(world.drain(by, of, 0)),
        Step::End(n) => drop(world.end(n, &[])),
        Step::LeaveWhole(n) => {
            drop(world.ask_to_leave(n, true));
            drop(world.want_to_leave(n));
            (0..10).for_each(|by| drop(world.drain(by, n, 0)));
            drop(world.end(n, &[]));
        }
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
        Step::Channels { logs, aligns, timeout } => {
            let changes = Changes {
                channel_state: Some(if logs { ChannelState::SenderLogged } else { ChannelState::Marker }),
                alignment: Some(if aligns { Alignment::Aligned } else { Alignment::Unaligned }),
                aligned_timeout_ms: Some(timeout.then_some(5)),
                ..Changes::default()
            };
            assert_eq!(world.try_update(changes, None).is_err(), logs && aligns, "they exclude each other, whatever was before");
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
            for n in 0..6 {
                if round == 0 {
                    world.register(n);
                }
                world.say(n, None, false);
            }
            // A rollback may be put off, or a member be asked again only after a while.
            world.advance(1_000);
            world.deadlines();
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
        (0..2).for_each(|n| world.say(n, None, false));
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
    world.arrive(1, 1);
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

/// A cluster whose members have taken so many snapshots more, all committed.
fn with_snapshots(members: usize, more: usize) -> World {
    let mut world = running(members);
    for _ in 0..more {
        world.request().expect("a snapshot");
        world.report_all();
        world.commit(false);
    }
    world
}

fn newest(world: &World) -> Vec<stillframe_protocol::SnapshotId> {
    let committed = world.all.values().filter(|s| s.state == SnapshotState::Committed);
    let mut ids: Vec<_> = committed.map(|s| (s.epoch, s.id)).collect();
    ids.sort_unstable();
    ids.into_iter().rev().map(|(_, id)| id).collect()
}

/// Everybody does what it is told, until there is nothing more to do.
fn go_on(world: &mut World, members: &[usize]) {
    for _ in 0..4 {
        members.iter().for_each(|n| world.say(*n, None, false));
    }
}

#[test]
fn a_snapshot_that_proves_unreadable_is_marked_and_an_older_one_is_tried_only_if_that_was_allowed() {
    let mut world = with_snapshots(2, 2);
    let ids = newest(&world);
    let nth = world.all.keys().position(|id| *id == ids[0]).expect("it");
    world.restore_with(nth, 0, BTreeMap::new()).expect("a restore");
    world.say(0, Some(PrepareProblem::Unreadable), false);
    let failed = world.restores.values().next_back().expect("it");
    assert_eq!(failed.failure_reason, Some(RestoreFailure::Unreadable));
    assert_eq!((world.facts.cluster.phase, world.facts.cluster.generation), (ClusterPhase::Running, Generation(1)));
    assert!(world.unreadable.contains_key(&ids[0]));
    assert!(world.facts.snapshots.iter().any(|s| s.trigger == Trigger::Automatic), "another one is taken");

    world.restore_with(nth, 2, BTreeMap::new()).expect("a restore");
    world.say(1, Some(PrepareProblem::Unreadable), false);
    let restore = world.facts.restore.clone().expect("it goes on");
    assert_eq!((restore.snapshot, restore.fallback, restore.generation), (ids[1], 1, Generation(4)));
    assert_eq!(restore.tried.iter().map(|t| t.snapshot).collect::<Vec<_>>(), [ids[0]]);
    go_on(&mut world, &[0, 1]);
    assert_eq!((world.facts.cluster.phase, world.facts.cluster.latest_committed), (ClusterPhase::Running, Some(ids[1])));
}

#[test]
fn a_rollback_to_what_is_known_to_be_unreadable_is_not_tried_again() {
    let mut world = with_snapshots(2, 1);
    let ids = newest(&world);
    let nth = world.all.keys().position(|id| *id == ids[0]).expect("it");
    world.restore(nth).expect("a restore");
    world.say(0, Some(PrepareProblem::Unreadable), false);
    // Before a newer one is committed.
    world.lose(1);
    world.register(1);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted);
    assert!(world.facts.cluster.phase_reason.as_ref().is_some_and(|r| r.contains(&ids[0].to_string()) && r.contains("missing")));
    assert!(matches!(world.resume(0), Err(Refusal::SnapshotUnreadable { .. })));
    world.resume(1).expect("an older one");
    assert_eq!(world.facts.restore.as_ref().map(|r| (r.snapshot, r.fallback)), Some((ids[1], 0)));
    go_on(&mut world, &[0, 1]);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
}

#[test]
fn a_rollback_falls_back_by_itself_only_if_the_cluster_is_set_so() {
    for (fallback, phase) in [(0, ClusterPhase::Halted), (1, ClusterPhase::Restoring)] {
        let mut world = with_snapshots(2, 1);
        world.facts.cluster.restore_fallback = fallback;
        world.lose(1);
        world.register(1);
        world.say(0, Some(PrepareProblem::Unreadable), false);
        assert_eq!(world.facts.cluster.phase, phase);
    }
}

#[test]
fn a_member_that_fails_for_a_reason_that_may_pass_is_asked_again_and_counted_once() {
    let mut world = running(2);
    world.restore(0).expect("a restore");
    world.say(0, Some(PrepareProblem::Unavailable), false);
    world.say(0, Some(PrepareProblem::Unavailable), false);
    let attempt = |world: &World| {
        let member = world.facts.members.keys().next().cloned().expect("a member");
        match assignment::wanted(&world.facts, &member, world.facts.members[&member].incarnation) {
            Ok(assignment::Wanted::Prepare { attempt, .. }) => Some(attempt),
            _ => None,
        }
    };
    assert_eq!(attempt(&world), Some(0));
    world.advance(1_500);
    world.deadlines();
    assert_eq!(attempt(&world), Some(1));
    // One retry was allowed.
    world.say(0, Some(PrepareProblem::Unavailable), false);
    let failed = world.restores.values().next_back().expect("it");
    assert_eq!(failed.failure_reason, Some(RestoreFailure::Unavailable));
    assert!(world.unreadable.is_empty(), "the snapshot may be sound");
    assert_eq!((world.facts.cluster.phase, world.facts.cluster.generation), (ClusterPhase::Running, Generation(1)));
}

#[test]
fn a_restore_can_be_cancelled_before_its_commit_point_and_not_after() {
    let mut world = running(2);
    world.restore(0).expect("a restore");
    world.cancel().expect("cancelled");
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    world.cancel().expect("again changes nothing");
    world.restore(0).expect("a restore");
    (0..2).for_each(|n| world.say(n, None, false));
    assert_eq!(world.facts.restore.as_ref().map(|r| r.state), Some(RestoreState::Resuming));
    assert!(matches!(world.cancel(), Err(Refusal::RestoreEnded { state: RestoreState::Resuming, .. })));
    go_on(&mut world, &[0, 1]);
    assert!(matches!(world.cancel(), Err(Refusal::RestoreEnded { state: RestoreState::Completed, .. })));
}

#[test]
fn a_rollback_that_was_cancelled_is_not_begun_again_until_the_cluster_is_told_to_go_on() {
    let mut world = running(2);
    world.lose(1);
    world.register(1);
    world.cancel().expect("cancelled");
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted);
    world.resume(0).expect("it goes on");
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring);
}

#[test]
fn a_rollback_that_failed_for_a_reason_that_may_pass_is_begun_anew_later() {
    let mut world = running(2);
    world.lose(1);
    world.register(1);
    world.advance(10_000);
    world.deadlines();
    let failed = world.restores.values().next().expect("it").clone();
    assert_eq!(failed.failure_reason, Some(RestoreFailure::DeadlineExceeded));
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring, "the pause is over already");
    assert!(world.facts.restore.as_ref().is_some_and(|r| r.id != failed.id && r.generation > failed.generation));
}

#[test]
fn a_cluster_that_is_put_back_again_and_again_waits_longer_each_time_and_then_halts() {
    let mut world = running(2);
    for round in 0..3 {
        world.lose(1);
        world.register(1);
        if round > 0 {
            assert_eq!(world.facts.cluster.phase, ClusterPhase::Running, "it is put off");
            assert!(world.facts.cluster.rollback_at.is_some());
            world.advance(100 << (round - 1));
            world.deadlines();
        }
        assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring);
        go_on(&mut world, &[0, 1]);
    }
    world.lose(1);
    world.register(1);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted);
    assert!(
        world.facts.cluster.phase_reason.as_ref().is_some_and(|reason| reason.contains("3 times") && reason.contains("resume"))
    );
    // However long ago that was, it doesn't go on by itself.
    let version = world.facts.cluster.version;
    world.advance(120_000);
    // It registers and arrives: two versions, and nothing else came of it.
    world.register(1);
    assert_eq!((world.facts.cluster.phase, world.facts.cluster.version), (ClusterPhase::Halted, version + 2));
    world.resume(0).expect("it goes on");
    go_on(&mut world, &[0, 1]);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    // And is counted anew.
    world.lose(1);
    world.register(1);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring);
}

#[test]
fn a_cluster_halted_at_its_limit_goes_on_when_the_limit_is_raised_above_what_it_had() {
    let mut world = running(2);
    world.update(Changes { rollback_limit: Some(1), rollback_backoff_ms: Some(5), ..Changes::default() });
    world.lose(1);
    world.register(1);
    go_on(&mut world, &[0, 1]);
    world.lose(1);
    world.register(1);
    assert_eq!(world.facts.cluster.halt, Some(HaltCause::RollbackLimit));
    world.update(Changes { restore_fallback: Some(1), rollback_backoff_ms: Some(2_000), ..Changes::default() });
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Halted, "it has had one, and may have one");
    world.update(Changes { rollback_limit: Some(2), ..Changes::default() });
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running, "it is put off, by the backoff of now");
    assert!(world.facts.cluster.rollback_at.is_some());
    world.advance(2_000);
    world.deadlines();
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring);
}

#[test]
fn under_other_names_the_old_ones_leave_and_a_rollback_before_the_next_snapshot_keeps_the_new_ones() {
    let mut world = running(2);
    let mapping = BTreeMap::from([(0, 4), (1, 5)]);
    // They aren't there yet, and are waited for.
    world.restore_with(0, 0, mapping).expect("a restore");
    assert_eq!(world.facts.restore.as_ref().map(|r| r.state), Some(RestoreState::Planned));
    (4..6).for_each(|n| world.register(n));
    go_on(&mut world, &[4, 5]);
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    let standings: Vec<_> = world.facts.members.values().map(|m| m.standing).collect();
    use super::facts::Standing::{Active, Excluded};
    assert_eq!(standings, [Excluded, Excluded, Active, Active]);
    // The automatic snapshot isn't committed yet: the part of p0 is p4's.
    world.lose(4);
    world.register(4);
    let restore = world.facts.restore.clone().expect("a rollback");
    let parts: Vec<_> =
        restore.members.iter().map(|(name, m)| (name.to_string(), m.part.as_ref().map(ToString::to_string))).collect();
    let pair = |now: &str, part: &str| (now.to_owned(), Some(part.to_owned()));
    assert_eq!(parts, [pair("p4", "p0"), pair("p5", "p1")]);
    go_on(&mut world, &[4, 5]);
    world.report_all();
    world.commit(false);
    assert!(world.facts.cluster.latest_mapping.is_empty());
}

#[test]
fn a_mapping_that_does_not_fit_is_refused() {
    let mut world = running(2);
    for mapping in [[(0, 1)], [(3, 4)]] {
        assert!(matches!(world.restore_with(0, 0, mapping.into()), Err(Refusal::MembersDiffer { .. })), "{mapping:?}");
    }
}

#[test]
fn a_rollback_waits_for_a_snapshot_that_has_all_its_parts_and_says_so_and_not_longer_than_its_deadline_for_an_archive_that_is_away()
 {
    let mut world = running(2);
    world.request().expect("taken");
    world.report_all();
    world.commit(true);
    let id = world.facts.snapshots.iter().find(|s| s.state == SnapshotState::Committing).expect("one is committing").id;
    world.lose(1);
    world.register(1);
    let said = |world: &World| world.facts.cluster.phase_reason.clone().unwrap_or_default();
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    assert!(said(&world).contains(&format!("once snapshot {id} is committed")), "{}", said(&world));
    world.decide(|facts, occasion| Ok(snapshot::held_up(facts, occasion, id, "it is away"))).expect("no refusal");
    assert!(said(&world).contains("waits for the archive (it is away); without it at"), "{}", said(&world));
    let at = world.facts.cluster.rollback_at.expect("it isn't waited for without end");
    let left = at.duration_since(world.facts.now).as_millis();
    world.advance(i64::try_from(left).expect("it is to come") - 1);
    world.deadlines();
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Running);
    world.advance(1);
    world.deadlines();
    assert_eq!(world.facts.cluster.phase, ClusterPhase::Restoring);
}
