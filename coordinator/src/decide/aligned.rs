//! What is promised of what is wanted of a cluster's channels, and of snapshots whose members hold channels back.

use proptest::prelude::*;
use stillframe_api::{
    agent::MissingChannel,
    channel_state::{Alignment, ChannelState},
    cluster::OnLoss,
    snapshot::{Abort, AbortReason, SnapshotState},
};
use stillframe_archive::Part;
use stillframe_protocol::{Incarnation, MemberName, Received, Sent, SeqRanges, SnapshotId};

use super::{
    Refusal, alignment,
    facts::{ChannelFacts, ProgressFacts},
    settings::Changes,
    world::{World, name},
};

const ALIGNED: ChannelFacts =
    ChannelFacts { channel_state: ChannelState::Marker, alignment: Alignment::Aligned, aligned_timeout_ms: None };

/// Three members that go by this, with a first snapshot that is recorded.
fn running(channels: ChannelFacts) -> (World, SnapshotId) {
    let mut world = World::new(3, OnLoss::RestoreLatest);
    world.facts.cluster.channels = channels;
    (0..3).for_each(|n| world.register(n));
    assert_eq!(world.facts.cluster.channels_in_force, channels);
    let first = world.facts.snapshots[0].id;
    (world, first)
}

/// A member says which channels haven't brought their markers.
fn waits(world: &mut World, snapshot: SnapshotId, n: usize, from: &[usize]) {
    let missing = |from: &usize| MissingChannel { from: name(*from), received: 4, expected: None, since_ms: 1_000 };
    let progress = ProgressFacts { missing: from.iter().map(missing).collect(), at: world.facts.now };
    let snapshot = world.facts.snapshots.iter_mut().find(|s| s.id == snapshot).expect("it");
    snapshot.progress.insert(name(n), progress);
}

fn heard(world: &mut World) {
    world.decide(|facts, occasion| Ok(alignment::heard(facts, occasion))).expect("no refusal");
}

fn abort_of(world: &World, id: SnapshotId) -> Option<Abort> {
    world.all[&id].abort.clone()
}

#[test]
fn what_is_wanted_of_channels_is_in_force_from_the_next_generation_on() {
    let (mut world, _) = running(ChannelFacts::default());
    world.report_all();
    world.commit(false);
    let revision = world.facts.cluster.revision;
    world.update(Changes { channel_state: Some(ChannelState::SenderLogged), ..Changes::default() });
    let logged = ChannelFacts { channel_state: ChannelState::SenderLogged, ..ChannelFacts::default() };
    let now = |world: &World| (world.facts.cluster.channels, world.facts.cluster.channels_in_force);
    assert_eq!(now(&world), (logged, ChannelFacts::default()));
    assert_eq!(world.facts.cluster.revision, revision, "no member has anything to do");
    world.restore(0).expect("a restore");
    assert_eq!(now(&world), (logged, ChannelFacts::default()), "the generation isn't active before all are prepared");
    (0..3).for_each(|n| world.say(n, None, false));
    assert_eq!(now(&world), (logged, logged));
    (0..3).for_each(|n| world.say(n, None, false));
    world.update(Changes { channel_state: Some(ChannelState::Marker), ..Changes::default() });
    assert_eq!(now(&world), (ChannelFacts::default(), logged));
}

#[test]
fn aligned_channels_and_logging_senders_exclude_each_other() {
    let (mut world, _) = running(ChannelFacts::default());
    let aligned = Changes { alignment: Some(Alignment::Aligned), ..Changes::default() };
    let logged = Changes { channel_state: Some(ChannelState::SenderLogged), ..Changes::default() };
    let both = Changes { channel_state: Some(ChannelState::SenderLogged), ..aligned };
    assert_eq!(world.try_update(both, None), Err(Refusal::AlignedAndLogged));
    world.update(aligned);
    assert_eq!(world.try_update(logged, None), Err(Refusal::AlignedAndLogged));
    world.update(Changes { alignment: Some(Alignment::Unaligned), ..logged });
    assert_eq!(world.try_update(aligned, None), Err(Refusal::AlignedAndLogged));
}

#[test]
fn channels_that_form_a_cycle_are_not_to_be_aligned() {
    let (mut world, _) = running(ChannelFacts::default());
    let cycle = [name(1), name(2)];
    let aligned = Changes { alignment: Some(Alignment::Aligned), aligned_timeout_ms: Some(Some(50)), ..Changes::default() };
    let refused = world.try_update(aligned, Some(&cycle)).expect_err("a refusal");
    assert!(refused.to_string().contains("p1 -> p2 -> p1 form a cycle"), "{refused}");
    assert_eq!(world.facts.cluster.channels, ChannelFacts::default());
    // A cluster that is aligned already, and whatever else is changed, isn't held up by it.
    world.update(aligned);
    world.try_update(Changes { aligned_timeout_ms: Some(None), ..aligned }, Some(&cycle)).expect("no refusal");
    world.try_update(Changes { alignment: Some(Alignment::Unaligned), ..Changes::default() }, Some(&cycle)).expect("no refusal");
}

#[test]
fn members_that_wait_for_each_other_have_their_snapshot_aborted_at_once() {
    let (mut world, first) = running(ALIGNED);
    waits(&mut world, first, 0, &[2]);
    waits(&mut world, first, 1, &[0]);
    heard(&mut world);
    assert_eq!(abort_of(&world, first), None, "p2 may be the one to cut first");
    world.advance(500);
    waits(&mut world, first, 2, &[1]);
    heard(&mut world);
    let abort = abort_of(&world, first).expect("aborted");
    assert_eq!(abort.reason, AbortReason::AlignmentCycle);
    assert!(abort.detail.contains("p0 -> p1 -> p2 -> p0 form a cycle"), "{}", abort.detail);
    assert!(abort.detail.contains("unaligned") && abort.detail.contains("aligned_timeout"), "{}", abort.detail);
    assert!(abort.detail.contains("start all its members again"), "there is no snapshot: {}", abort.detail);
    assert_eq!(abort.channel.map(|channel| channel.to_string()).as_deref(), Some("p0 -> p1"));
    assert_eq!((abort.member, abort.missing.len()), (Some(name(1)), 3));
}

#[test]
fn whoever_waits_in_no_cycle_is_left_alone() {
    let (mut world, first) = running(ALIGNED);
    waits(&mut world, first, 1, &[0]);
    waits(&mut world, first, 2, &[0, 1]);
    let version = world.facts.cluster.version;
    heard(&mut world);
    assert_eq!((abort_of(&world, first), world.facts.cluster.version), (None, version), "nothing is written");
    // One whose part is there waits for nothing, whatever it said last.
    waits(&mut world, first, 0, &[2]);
    world.report(0);
    heard(&mut world);
    assert_eq!(abort_of(&world, first), None);
}

#[test]
fn a_cycle_is_no_harm_where_members_record_in_the_end() {
    for channels in [ChannelFacts { aligned_timeout_ms: Some(50), ..ALIGNED }, ChannelFacts::default()] {
        let (mut world, first) = running(channels);
        waits(&mut world, first, 0, &[1]);
        waits(&mut world, first, 1, &[0]);
        heard(&mut world);
        assert_eq!(world.all[&first].state, SnapshotState::Recording, "{channels:?}");
        assert!(!alignment::may_hold(&world.facts));
    }
}

#[test]
fn a_cycle_is_found_by_the_next_decision_whatever_that_is_about() {
    let (mut world, first) = running(ALIGNED);
    world.report_all();
    world.commit(false);
    world.request().expect("a snapshot");
    let second = world.facts.snapshots[0].id;
    waits(&mut world, second, 0, &[1]);
    waits(&mut world, second, 1, &[0]);
    world.update(Changes { min_pause_ms: Some(5), ..Changes::default() });
    let abort = abort_of(&world, second).expect("aborted");
    assert!(abort.detail.contains("restore start --latest"), "{}", abort.detail);
    assert_eq!(world.all[&first].state, SnapshotState::Committed);
}

proptest! {
    /// A channel counts once something was sent on it, whichever end says so; and a cycle is told by the names of now.
    #[test]
    fn a_cycle_of_channels_is_found_by_what_was_sent(
        channels in prop::collection::btree_map((0usize..4, 0usize..4), (0u64..3, any::<bool>()), 0..8),
        shift in 0usize..4,
    ) {
        let part = |me: usize| Part {
            member: name(me),
            incarnation: Incarnation(1),
            objects: Vec::new(),
            sent: channels.iter().filter(|((from, _), _)| *from == me).map(|((_, to), (n, _))| Sent { to: name(*to), messages: *n }).collect(),
            received: channels.iter().filter(|((_, to), (_, seen))| *to == me && *seen)
                .map(|((from, _), (n, _))| Received { from: name(*from), ranges: SeqRanges::prefix(*n) }).collect(),
            recorded: Vec::new(),
            logged: Vec::new(),
            peers: Vec::new(),
        };
        let parts: Vec<Part> = (0..4).map(part).collect();
        let mapping = (0..4).map(|n| (name(n), name((n + shift) % 4))).collect();
        let used = channels.iter().filter(|(_, (n, _))| *n > 0).map(|(channel, _)| *channel);
        let expected = stillframe_protocol::topology::find_cycle(used.clone());
        let found = alignment::cycle_of(&parts, &mapping);
        prop_assert_eq!(found.is_some(), expected.is_some());
        if let Some(cycle) = found {
            let used: Vec<(MemberName, MemberName)> = used.map(|(from, to)| (name((from + shift) % 4), name((to + shift) % 4))).collect();
            for (from, to) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
                prop_assert!(used.contains(&(from.clone(), to.clone())), "{} -> {}", from, to);
            }
        }
    }
}
