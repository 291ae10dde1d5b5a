//! Members that leave, by the rules alone.

use stillframe_api::{
    cluster::{ClusterPhase, OnLoss},
    snapshot::{AbortReason, SnapshotState},
};
use stillframe_protocol::{Generation, Incarnation};

use super::{
    Refusal,
    assignment::{Wanted, wanted},
    facts::{Presence, Standing},
    leave::{self, Stage},
    member::Effect,
    settings::Changes,
    snapshot,
    world::{World, name},
};

/// A cluster of so many members, at least so many of which have to stay, with a committed snapshot.
fn running(members: usize, min_members: u32) -> World {
    let mut world = World::new(min_members, OnLoss::RestoreLatest);
    (0..members).for_each(|n| world.register(n));
    settle(&mut world);
    world
}

/// Until nothing is recorded or waits.
fn settle(world: &mut World) {
    while !world.facts.snapshots.is_empty() {
        world.report_all();
        world.commit(false);
    }
}

fn stage(world: &World, n: usize) -> Option<Stage> {
    leave::stage(&world.facts, &world.facts.members[&name(n)])
}

fn orders(world: &World, n: usize) -> Wanted {
    wanted(&world.facts, &name(n), world.facts.members[&name(n)].incarnation).expect("a member")
}

fn committed(world: &World) -> usize {
    world.all.values().filter(|s| s.state == SnapshotState::Committed).count()
}

/// The place of the latest committed snapshot among all.
fn latest(world: &World) -> usize {
    let latest = world.facts.cluster.latest_committed.expect("committed");
    world.all.keys().position(|id| *id == latest).expect("known")
}

fn recording(world: &World) -> Vec<usize> {
    let recording = world.facts.snapshots.iter().find(|s| s.state == SnapshotState::Recording).expect("one is recorded");
    (0..10).filter(|n| recording.view.contains_key(&name(*n))).collect()
}

#[test]
fn a_member_leaves_step_by_step_and_snapshots_go_on_without_it() {
    let mut world = running(4, 3);
    world.ask_to_leave(3, false).expect("three stay");
    assert_eq!(stage(&world, 3), Some(Stage::Asked));
    assert_eq!(world.want_to_leave(3), Ok(Effect::Made));
    assert_eq!(stage(&world, 3), Some(Stage::Draining));
    assert_eq!(world.end(3, &[(0, 5)]), Ok(Effect::Nothing), "its peers may still send it something");
    world.request().expect("it is a member still");
    assert_eq!(recording(&world), [0, 1, 2, 3]);
    settle(&mut world);
    let peers = world.facts.cluster.peers_revision;
    for (peer, sent) in [(0, 5), (1, 0), (2, 7)] {
        assert_eq!(stage(&world, 3), Some(Stage::Draining));
        assert_eq!(world.drain(peer, 3, sent), Ok(Effect::Made));
    }
    assert_eq!(stage(&world, 3), Some(Stage::Drained));
    assert_eq!(world.facts.cluster.peers_revision, peers, "its peers have no news of that");
    let lost = world.end(3, &[(0, 5), (2, 6)]);
    assert!(matches!(lost, Err(Refusal::NotDrained { expected: 7, found: 6, .. })), "{lost:?}");
    assert_eq!(world.end(3, &[(0, 5), (2, 7)]), Ok(Effect::Made));
    assert_eq!(stage(&world, 3), Some(Stage::Left));
    assert!(world.facts.cluster.peers_revision > peers);
    assert_eq!(world.end(3, &[(0, 5), (2, 7)]), Ok(Effect::Made), "said again, it is true still");
    assert_eq!(recording(&world), [0, 1, 2], "one without it is taken at once");
    assert!(matches!(orders(&world, 3), Wanted::Run { .. }), "until then it stays");
    settle(&mut world);
    assert_eq!(orders(&world, 3), Wanted::End);
    world.lose(3);
    let phase = (world.facts.cluster.phase, world.facts.restore.is_some(), world.facts.cluster.generation);
    assert_eq!(phase, (ClusterPhase::Running, false, Generation(1)), "its end is no loss");
    world.request().expect("nobody is missing");
}

#[test]
fn no_more_leave_than_the_cluster_can_do_without() {
    let mut world = running(3, 2);
    world.ask_to_leave(0, false).expect("two stay");
    world.ask_to_leave(0, false).expect("asking again changes nothing");
    let refused = world.ask_to_leave(1, false);
    assert!(matches!(refused, Err(Refusal::TooFewStay { staying: 1, min_members: 2, .. })), "{refused:?}");
    assert!(matches!(world.want_to_leave(1), Err(Refusal::TooFewStay { .. })), "nor by itself");
    world.ask_to_leave(1, true).expect("forced");
    assert_eq!(world.want_to_leave(1), Ok(Effect::Made));
    world.ask_to_stay(0).expect("it hasn't acted on it");
    assert_eq!(stage(&world, 0), None);
    assert!(matches!(world.ask_to_stay(1), Err(Refusal::IsLeaving { .. })), "its peers know already");
    assert!(matches!(world.ask_to_leave(9, false), Err(Refusal::UnknownMember { .. })));
    world.update(Changes { min_members: Some(1), ..Changes::default() });
    world.ask_to_leave(0, false).expect("one stays");
}

#[test]
fn its_final_counters_are_taken_while_a_snapshot_waits_for_its_part_and_it_stays_for_that() {
    let mut world = running(3, 1);
    let before = committed(&world);
    world.request().expect("whole");
    world.leave(2);
    assert_eq!(recording(&world), [0, 1, 2]);
    assert!(matches!(orders(&world, 2), Wanted::Run { .. }));
    assert_eq!(leave::departed(&world.facts).count(), 0, "its peers still wait for its marker");
    world.report_all();
    world.commit(false);
    assert_eq!(committed(&world), before + 1);
    assert_eq!(leave::departed(&world.facts).count(), 1);
    assert_eq!(recording(&world), [0, 1]);
    settle(&mut world);
    assert_eq!(orders(&world, 2), Wanted::End);
}

#[test]
fn one_that_ends_before_its_part_is_there_takes_that_snapshot_with_it_and_no_other() {
    let mut world = running(3, 1);
    world.request().expect("whole");
    world.leave(2);
    world.lose(2);
    let aborted = world.all.values().find_map(|s| s.abort.clone()).expect("its part is missing");
    assert_eq!((aborted.reason, aborted.member), (AbortReason::MemberLost, Some(name(2))));
    assert_eq!((world.facts.cluster.phase, recording(&world)), (ClusterPhase::Running, vec![0, 1]));
    assert_eq!(leave::departed(&world.facts).count(), 1);
}

#[test]
fn a_loss_while_it_is_leaving_is_a_loss_and_the_restore_makes_it_a_member_again() {
    let mut world = running(3, 1);
    world.ask_to_leave(2, false).expect("two stay");
    assert_eq!(world.want_to_leave(2), Ok(Effect::Made));
    (0..2).for_each(|by| assert_eq!(world.drain(by, 2, 0), Ok(Effect::Made)));
    world.lose(2);
    assert_eq!(world.facts.missing_members().count(), 1);
    assert_eq!(world.end(2, &[]), Ok(Effect::Nothing), "too late");
    world.register(2);
    assert!(world.facts.restore.is_some());
    for _ in 0..2 {
        (0..3).for_each(|n| world.say(n, None, false));
    }
    assert_eq!((world.facts.cluster.phase, world.facts.cluster.generation), (ClusterPhase::Running, Generation(2)));
    assert_eq!(stage(&world, 2), Some(Stage::Asked), "the operator still wishes it; the application begins anew");
    settle(&mut world);
    world.leave(2);
    assert_eq!(stage(&world, 2), Some(Stage::Left));
}

#[test]
fn a_rollback_to_a_snapshot_that_it_is_in_finds_it_there_and_makes_it_a_member_again() {
    let mut world = running(3, 1);
    world.leave(2);
    world.lose(1);
    world.register(1);
    let restore = world.facts.restore.clone().expect("the one without it isn't committed");
    assert!(restore.members.contains_key(&name(2)));
    assert!(matches!(orders(&world, 2), Wanted::Prepare { .. }), "{:?}", orders(&world, 2));
    for _ in 0..2 {
        (0..3).for_each(|n| world.say(n, None, false));
    }
    let member = &world.facts.members[&name(2)];
    assert_eq!((member.standing, member.generation), (Standing::Active, Generation(2)));
    assert_eq!(leave::departed(&world.facts).count(), 0);
    settle(&mut world);
}

#[test]
fn a_restore_to_an_older_snapshot_waits_for_one_that_has_left_and_ended() {
    let mut world = running(3, 1);
    let with_it = latest(&world);
    world.leave(2);
    settle(&mut world);
    world.lose(2);
    assert_eq!(world.facts.members[&name(2)].state, Presence::Lost);
    world.restore(with_it).expect("it is committed");
    let planned = |world: &World| world.facts.restore.as_ref().map(|restore| restore.state.as_str());
    assert_eq!(planned(&world), Some("planned"));
    world.register(2);
    assert_eq!(planned(&world), Some("preparing"));
    for _ in 0..2 {
        (0..3).for_each(|n| world.say(n, None, false));
    }
    assert_eq!(world.facts.members[&name(2)].standing, Standing::Active);
}

#[test]
fn a_restore_to_a_snapshot_without_it_leaves_it_out_for_good() {
    let mut world = running(3, 1);
    world.leave(2);
    settle(&mut world);
    world.restore(latest(&world)).expect("it is committed");
    for _ in 0..2 {
        (0..3).for_each(|n| world.say(n, None, false));
    }
    assert_eq!(world.facts.cluster.generation, Generation(2));
    assert_eq!(world.facts.members[&name(2)].standing, Standing::Excluded);
    assert_eq!((orders(&world, 2), leave::departed(&world.facts).count()), (Wanted::End, 0));
    assert!(!leave::somebody_left(&world.facts, Generation(2)));
}

#[test]
fn one_that_left_comes_back_as_a_new_member_and_its_old_process_ends_well() {
    let mut world = running(3, 1);
    world.leave(2);
    world.register(2);
    let facts = &world.facts;
    assert_eq!(wanted(facts, &name(2), Incarnation(1)), Ok(Wanted::End), "it isn't fenced: it has done what it was to do");
    assert!(matches!(wanted(facts, &name(2), Incarnation(2)), Ok(Wanted::Run { generation: Generation(1), restore: None, .. })));
    assert_eq!(facts.cluster.phase, ClusterPhase::Running);
    let left: Vec<_> = leave::departed(facts).map(|(member, left)| (member.incarnation, left.incarnation)).collect();
    assert_eq!(left, [(Incarnation(2), Incarnation(1))], "its peers still hear of the end of the one before");
    settle(&mut world);
    world.request().expect("whole");
    assert_eq!(recording(&world), [0, 1, 2]);
    settle(&mut world);
    world.leave(2);
    assert_eq!(leave::departed(&world.facts).map(|(_, left)| left.incarnation).collect::<Vec<_>>(), [Incarnation(2)]);
}

#[test]
fn counters_of_before_one_left_and_came_back_are_a_changed_membership_and_no_fault() {
    use stillframe_protocol::Violation;
    let mut world = running(3, 1);
    world.leave(2);
    world.register(2);
    settle(&mut world);
    world.request().expect("whole");
    world.report_all();
    let id = world.facts.snapshots.iter().find(|s| s.state == SnapshotState::Recording).expect("one is recorded").id;
    let missing = Violation::Missing { from: name(0), to: name(2), first: stillframe_protocol::Seq(1), count: 5, sent: 5 };
    let other = Violation::NoPart { member: name(1) };
    for (violations, reason) in
        [(vec![missing.clone()], AbortReason::MembershipChanged), (vec![missing, other], AbortReason::CertificateRejected)]
    {
        let decision = snapshot::certified(&world.facts, &World::new(1, OnLoss::Halt).occasion(), id, &Err(violations));
        assert_eq!(decision.next.snapshot(id).and_then(|s| s.abort.clone()).map(|abort| abort.reason), Some(reason));
    }
}

#[test]
fn two_leave_at_once_and_wait_for_each_other_only_to_be_heard() {
    let mut world = running(4, 1);
    assert_eq!(world.want_to_leave(2), Ok(Effect::Made));
    assert_eq!(world.want_to_leave(3), Ok(Effect::Made));
    for by in 0..4 {
        (2..4).filter(|of| *of != by).for_each(|of| assert_eq!(world.drain(by, of, 0), Ok(Effect::Made)));
    }
    assert_eq!(world.end(2, &[]), Ok(Effect::Made));
    assert_eq!(stage(&world, 3), Some(Stage::Drained));
    assert_eq!(world.end(3, &[]), Ok(Effect::Made));
    settle(&mut world);
    assert_eq!((orders(&world, 2), orders(&world, 3)), (Wanted::End, Wanted::End));
}

#[test]
fn one_that_joins_meanwhile_is_waited_for_too() {
    let mut world = running(2, 1);
    assert_eq!(world.want_to_leave(1), Ok(Effect::Made));
    assert_eq!(world.drain(0, 1, 3), Ok(Effect::Made));
    assert_eq!(stage(&world, 1), Some(Stage::Drained));
    world.register(2);
    assert_eq!((stage(&world, 1), world.end(1, &[(0, 3)])), (Some(Stage::Draining), Ok(Effect::Nothing)));
    assert_eq!(world.drain(2, 1, 0), Ok(Effect::Made));
    assert_eq!(world.end(1, &[(0, 3)]), Ok(Effect::Made));
}

#[test]
fn who_has_registered_and_not_joined_is_no_peer_yet() {
    let mut world = World::new(2, OnLoss::RestoreLatest);
    world.register(0);
    assert_eq!((world.facts.belonging().count(), world.facts.peers().count()), (1, 0));
    world.register(1);
    assert_eq!(world.facts.peers().count(), 2);
    let peers = world.facts.cluster.peers_revision;
    world.register_only(2);
    assert_eq!((world.facts.peers().count(), world.facts.cluster.peers_revision), (2, peers), "nobody is told of it");
    world.arrive(2, 1);
    assert_eq!(world.facts.peers().count(), 3);
}
