//! Each reason for an abort says whom or what to blame, since when, and what was missing.

use jiff::{SignedDuration, Timestamp};
use stillframe_api::{
    agent::MissingChannel,
    cluster::OnLoss,
    snapshot::{Abort, AbortReason, Channel, SnapshotState},
};
use stillframe_protocol::{SnapshotId, Violation};

use super::{
    blame,
    facts::ProgressFacts,
    settings::Changes,
    snapshot::{self, Failure},
    world::{World, name},
};

fn at(ms: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_millis(ms)).expect("a time")
}

/// A cluster of three in which a snapshot, the last of those that there are, began at 100 ms and may take 30 s.
fn recording() -> (World, SnapshotId) {
    let mut world = World::new(3, OnLoss::RestoreLatest);
    world.update(Changes { snapshot_timeout_ms: Some(30_000), ..Changes::default() });
    (0..3).for_each(|n| world.register(n));
    world.report_all();
    world.commit(false);
    world.advance(100);
    let id = ask(&mut world);
    (world, id)
}

fn ask(world: &mut World) -> SnapshotId {
    world.request().expect("a snapshot");
    world.all.keys().next_back().copied().expect("it")
}

fn abort_of(world: &World, id: SnapshotId) -> Abort {
    assert_eq!(world.all[&id].state, SnapshotState::Aborted);
    world.all[&id].abort.clone().expect("why")
}

fn blamed(abort: &Abort) -> (Option<String>, Option<String>, Option<Timestamp>, Option<u64>) {
    let text = |it: &dyn ToString| it.to_string();
    (abort.member.as_ref().map(|m| text(m)), abort.channel.as_ref().map(|c| text(c)), abort.since, abort.messages_missing)
}

/// Takes note of what a member says it waits for.
fn says(world: &mut World, id: SnapshotId, n: usize, missing: Vec<MissingChannel>) {
    let now = world.facts.now;
    let snapshot = world.facts.snapshots.iter_mut().find(|s| s.id == id).expect("it");
    snapshot.progress.insert(name(n), ProgressFacts { missing, at: now });
}

fn waits(from: usize, received: u64, expected: Option<u64>, since_ms: u64) -> MissingChannel {
    MissingChannel { from: name(from), received, expected, since_ms }
}

fn time_out(world: &mut World, id: SnapshotId) -> Abort {
    world.advance(30_000);
    world.deadlines();
    abort_of(world, id)
}

#[test]
fn at_the_deadline_a_member_that_was_never_heard_of_is_to_blame() {
    let (mut world, id) = recording();
    world.report(0);
    world.advance(2_000);
    says(&mut world, id, 1, vec![waits(0, 3, Some(5), 1_900)]);
    let abort = time_out(&mut world, id);
    assert_eq!(abort.reason, AbortReason::DeadlineExceeded);
    assert_eq!(blamed(&abort), (Some("p2".to_owned()), None, Some(at(100)), None));
    assert_eq!(abort.detail, "the parts of p1, p2 were not there within 30s; 1 of 3 were");
    assert_eq!(abort.missing, ["`p0 -> p1`: 3 of 5 messages after 31 s", "p2: nothing was heard of it for 32 s"]);
}

#[test]
fn at_the_deadline_the_channel_that_was_waited_for_longest_is_to_blame() {
    let (mut world, id) = recording();
    world.report(0);
    world.advance(2_000);
    says(&mut world, id, 1, vec![waits(0, 3, Some(5), 500), waits(2, 7, None, 1_900)]);
    says(&mut world, id, 2, vec![waits(1, 17, Some(20), 1_000)]);
    let abort = time_out(&mut world, id);
    assert_eq!(blamed(&abort), (Some("p1".to_owned()), Some("p2 -> p1".to_owned()), Some(at(200)), None));
}

#[test]
fn at_the_deadline_it_is_known_how_many_messages_were_missing() {
    let (mut world, id) = recording();
    (0..2).for_each(|n| world.report(n));
    world.advance(2_000);
    says(&mut world, id, 2, vec![waits(1, 17, Some(20), 1_000)]);
    let abort = time_out(&mut world, id);
    assert_eq!(blamed(&abort), (Some("p2".to_owned()), Some("p1 -> p2".to_owned()), Some(at(1_100)), Some(3)));
    assert_eq!(abort.detail, "the part of p2 was not there within 30s; 2 of 3 were");
}

#[test]
fn at_the_deadline_a_member_that_was_still_storing_its_part_is_to_blame() {
    let (mut world, id) = recording();
    (0..2).for_each(|n| world.report(n));
    says(&mut world, id, 2, Vec::new());
    let abort = time_out(&mut world, id);
    assert_eq!(blamed(&abort), (Some("p2".to_owned()), None, Some(at(100)), None));
    assert_eq!(abort.missing, ["p2: its channels are closed, its part is being stored"]);
}

#[test]
fn a_lost_member_is_to_blame_with_what_was_missing() {
    let (mut world, id) = recording();
    world.report(0);
    world.advance(3_000);
    says(&mut world, id, 2, vec![waits(1, 17, Some(20), 1_000)]);
    world.lose(1);
    let abort = abort_of(&world, id);
    assert_eq!(abort.reason, AbortReason::MemberLost);
    assert_eq!(blamed(&abort), (Some("p1".to_owned()), None, Some(at(3_100)), None));
    assert_eq!(abort.detail, "incarnation 1 of p1 was lost before its part was there");
    assert_eq!(abort.missing, ["p1: nothing was heard of it for 3.0 s", "`p1 -> p2`: 17 of 20 messages after 1.0 s"]);
}

#[test]
fn a_member_that_is_lost_or_replaced_after_its_part_was_there_harms_nothing() {
    let (mut world, id) = recording();
    world.report(1);
    world.lose(1);
    assert_eq!(world.all[&id].state, SnapshotState::Recording);
    world.report(0);
    world.report(2);
    world.commit(false);
    assert_eq!(world.all[&id].state, SnapshotState::Committed);
}

#[test]
fn a_member_that_was_replaced_is_a_change_of_membership() {
    let (mut world, id) = recording();
    world.advance(2_000);
    world.register(1);
    let abort = abort_of(&world, id);
    assert_eq!(abort.reason, AbortReason::MembershipChanged);
    assert_eq!(blamed(&abort), (Some("p1".to_owned()), None, Some(at(2_100)), None));
    assert_eq!(abort.detail, "incarnation 1 of p1 was replaced by incarnation 2 before its part was there");
}

fn fails(world: &mut World, id: SnapshotId, reason: AbortReason, channel: Option<Channel>) -> Abort {
    let failure = Failure {
        snapshot: id,
        member: name(2),
        incarnation: stillframe_protocol::Incarnation(1),
        reason,
        detail: "it said so".to_owned(),
        channel,
    };
    world.decide(|facts, occasion| Ok(snapshot::failed(facts, occasion, failure.clone()))).expect("no refusal");
    abort_of(world, id)
}

#[test]
fn a_member_that_says_it_can_not_is_to_blame_with_the_channel_it_names() {
    for reason in
        [AbortReason::SpoolOverflow, AbortReason::FifoViolation, AbortReason::StoreUnavailable, AbortReason::MemberFailed]
    {
        let (mut world, id) = recording();
        world.advance(2_000);
        says(&mut world, id, 2, vec![waits(0, 5, Some(9), 100), waits(1, 17, Some(20), 1_000)]);
        let channel = Channel { from: name(1), to: name(2) };
        let abort = fails(&mut world, id, reason, Some(channel));
        assert_eq!((abort.reason, abort.detail.as_str()), (reason, "it said so"));
        assert_eq!(blamed(&abort), (Some("p2".to_owned()), Some("p1 -> p2".to_owned()), Some(at(1_100)), Some(3)));
        assert_eq!(abort.missing.len(), 4);
    }
    let (mut world, id) = recording();
    let abort = fails(&mut world, id, AbortReason::Requested, None);
    assert_eq!((abort.reason, abort.since), (AbortReason::MemberFailed, Some(at(100))), "a member can't speak for others");
}

#[test]
fn a_certificate_that_does_not_hold_blames_the_first_channel() {
    let (mut world, id) = recording();
    world.report_all();
    let (from, to) = (name(0), name(1));
    let verdict = Err(vec![Violation::Missing { from, to, first: stillframe_protocol::Seq(18), count: 3, sent: 20 }]);
    world.decide(|facts, occasion| Ok(snapshot::certified(facts, occasion, id, &verdict))).expect("no refusal");
    let abort = abort_of(&world, id);
    assert_eq!(abort.reason, AbortReason::CertificateRejected);
    assert_eq!(blamed(&abort), (Some("p1".to_owned()), Some("p0 -> p1".to_owned()), Some(at(100)), Some(3)));
    assert!(abort.detail.ends_with("(1 violation)") && abort.missing[0].contains("3 of 20 messages"), "{abort:?}");
}

#[test]
fn messages_to_a_member_outside_the_view_are_a_change_of_membership() {
    let (mut world, id) = recording();
    world.report_all();
    let verdict = Err(vec![Violation::OutsideView { from: name(0), to: name(7), outside: name(7) }]);
    world.decide(|facts, occasion| Ok(snapshot::certified(facts, occasion, id, &verdict))).expect("no refusal");
    let abort = abort_of(&world, id);
    assert_eq!(abort.reason, AbortReason::MembershipChanged);
    assert_eq!(blamed(&abort).0, Some("p7".to_owned()));
}

#[test]
fn a_restore_is_named_with_where_it_goes_back_to() {
    let (mut world, id) = recording();
    let waits = ask(&mut world);
    let back_to = world.facts.cluster.latest_committed.expect("one");
    world.restore(0).expect("a restore");
    for id in [id, waits] {
        let abort = abort_of(&world, id);
        assert_eq!((abort.reason, abort.since), (AbortReason::SupersededByRestore, Some(at(100))));
        assert!(abort.detail.contains(&back_to.to_string()), "{}", abort.detail);
    }
}

#[test]
fn an_abort_that_was_asked_for_says_what_was_missing_then() {
    let (mut world, id) = recording();
    (0..2).for_each(|n| world.report(n));
    world.advance(4_000);
    world.abort(world.all.keys().position(|other| *other == id).expect("it"));
    let abort = abort_of(&world, id);
    assert_eq!((abort.reason, abort.since), (AbortReason::Requested, Some(at(4_100))));
    assert_eq!(abort.missing, ["p2: nothing was heard of it for 4.0 s"]);
}

#[test]
fn one_that_waited_in_vain_names_the_snapshot_before_and_the_archive() {
    let (mut world, holder) = recording();
    world.report_all();
    world.commit(true);
    let (first, second) = (ask(&mut world), ask(&mut world));
    world.decide(|facts, occasion| Ok(snapshot::held_up(facts, occasion, holder, "it is away"))).expect("noted");
    let abort = time_out(&mut world, second);
    assert_eq!((abort.reason, abort.since), (AbortReason::DeadlineExceeded, Some(at(100))));
    let says = format!(
        "it waited 30s for a slot, behind 1 more: snapshot {holder} has been committing for 30 s, for the archive doesn't take its manifest: \
         it is away"
    );
    assert_eq!(abort.detail, says);
    assert!(abort_of(&world, first).detail.starts_with("it waited 30s for a slot: "));
    assert!(abort.missing.is_empty(), "nobody had begun");
}

#[test]
fn one_that_waited_in_vain_names_the_member_that_is_lost() {
    let (mut world, id) = recording();
    let waits = ask(&mut world);
    world.report_all();
    world.lose(2);
    world.commit(false);
    assert_eq!(world.all[&id].state, SnapshotState::Committed);
    let abort = time_out(&mut world, waits);
    assert_eq!(abort.member, Some(name(2)));
    assert_eq!(abort.detail, "it waited 30s for every member to be there: p2 is lost");
}

#[test]
fn nobodys_silence_is_news_before_it_should_have_been_heard_of() {
    let (mut world, id) = recording();
    let lines = |world: &World| blame::member_lines_so_far(world.facts.snapshot(id).expect("it"), &name(1), world.facts.now);
    assert!(lines(&world).is_empty());
    world.advance(5_000);
    assert_eq!(lines(&world), ["p1: nothing was heard of it for 5.0 s"]);
}
