//! Taking snapshots.

use std::collections::BTreeMap;

use stillframe_api::{
    ProblemCode,
    agent::{MissingChannel, Report, ReportEvent},
    cluster::ClusterPhase,
    snapshot::{AbortReason, AbortSnapshot, MemberPhase, SnapshotState, TakeSnapshot, Trigger},
};
use stillframe_archive::Digest;
use stillframe_protocol::{Epoch, Incarnation, MemberName};

use crate::{
    agent::{Agent, OnSnapshot, part},
    harness::{World, refused},
};

#[tokio::test]
async fn a_running_cluster_takes_a_first_snapshot_by_itself_and_others_when_asked() {
    let world = World::start().await;
    let agents = world.running(3).await;
    let first = world.snapshots().await.pop().expect("a first snapshot");
    assert_eq!((first.state, first.trigger.clone(), first.epoch), (SnapshotState::Committed, Trigger::Automatic, Some(Epoch(1))));

    let labels = BTreeMap::from([("why".to_owned(), "because".to_owned())]);
    let request = TakeSnapshot { labels: labels.clone(), timeout: None };
    let taken = world.client.take_snapshot(&world.cluster, &request).await.expect("a snapshot");
    assert_eq!(taken.members.len(), 3);
    let snapshot = world.ended(&taken).await;
    assert_eq!((snapshot.state, snapshot.epoch, &snapshot.labels), (SnapshotState::Committed, Some(Epoch(2)), &labels));
    assert!(snapshot.members.iter().all(|m| m.phase == MemberPhase::Reported && m.bytes == 3 && m.missing.is_empty()));
    assert_eq!((snapshot.bytes, snapshot.messages_in_flight), (9, Some(0)));

    let verified = world.archive().await.verify_snapshot(&world.cluster, snapshot.id).await.expect("it verifies");
    assert_eq!(verified.manifest.labels, labels);
    assert_eq!(verified.manifest.started_at, snapshot.recording_at.expect("a start"));
    world
        .until("every agent knows", async || agents.iter().all(|a| a.seen(|s| s.committed.contains(&snapshot.id))).then_some(()))
        .await;
    let lines = world.count("SELECT count(*) FROM audit WHERE action LIKE 'snapshot.%'").await;
    assert_eq!(lines, 8, "requested, recording, committing, committed, of two snapshots");
}

#[tokio::test]
async fn a_snapshot_asked_for_while_one_is_under_way_waits_its_turn() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let (one, two) = (world.take().await, world.take().await);
    assert_eq!((one.state, two.state), (SnapshotState::Recording, SnapshotState::Pending));
    for _ in 0..15 {
        world.take().await;
    }
    let problem = refused(world.client.take_snapshot(&world.cluster, &TakeSnapshot::default()).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::SnapshotUnderWay, 409));
    world.client.abort_snapshot(one.id, &AbortSnapshot { why: Some("enough".to_owned()) }).await.expect("aborted");
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Report);
    assert_eq!(world.ended(&two).await.state, SnapshotState::Committed);
}

#[tokio::test]
async fn a_deadline_aborts_and_names_the_channel_that_was_waited_for() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let from = MemberName::new("p1").expect("a name");
    let missing = MissingChannel { from, received: 17, expected: Some(20), since_ms: 28_000 };
    agents[1].behave(|b| b.on_snapshot = OnSnapshot::Progress(vec![missing]));
    let snapshot = world.ended(&world.take_with_timeout("700ms").await).await;
    let abort = snapshot.abort.expect("an abort");
    assert_eq!((snapshot.state, abort.reason), (SnapshotState::Aborted, AbortReason::DeadlineExceeded));
    assert_eq!(abort.channel.map(|c| c.to_string()), Some("p1 -> p2".to_owned()));
    assert_eq!(abort.missing.len(), 1);
    assert!(abort.missing[0].starts_with("`p1 -> p2`: 17 of 20 messages after 2"), "{abort:?}", abort = abort.missing);
}

#[tokio::test]
async fn a_member_that_is_never_heard_of_is_blamed_at_the_deadline() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let snapshot = world.ended(&world.take_with_timeout("300ms").await).await;
    let abort = snapshot.abort.expect("an abort");
    assert_eq!(abort.member.as_ref().map(MemberName::as_str), Some("p1"));
    assert!(abort.missing[0].starts_with("p1: nothing was heard of it"), "{:?}", abort.missing);
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Report);
    world.committed().await;
}

#[tokio::test]
async fn a_member_that_says_it_can_not_aborts_the_snapshot_at_once() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Fail(AbortReason::SpoolOverflow));
    let abort = world.ended(&world.take().await).await.abort.expect("an abort");
    assert_eq!((abort.reason, abort.detail.as_str()), (AbortReason::SpoolOverflow, "it said so"));
    assert_eq!(abort.member.as_ref().map(MemberName::as_str), Some("p1"));
}

#[tokio::test]
async fn counters_that_do_not_prove_a_consistent_cut_are_never_committed() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::ReportOrphan(agents[1].member.clone()));
    let snapshot = world.ended(&world.take().await).await;
    let abort = snapshot.abort.expect("an abort");
    assert_eq!(abort.reason, AbortReason::CertificateRejected);
    assert!(abort.missing[0].contains("p2 -> p1"), "{:?}", abort.missing);
    assert!(world.archive().await.read_manifest(&world.cluster, snapshot.id).await.is_err());
}

#[tokio::test]
async fn an_aborted_snapshot_stays_aborted_and_a_committed_one_committed() {
    let world = World::start().await;
    let agents = world.running(2).await;
    let committed = world.committed().await;
    let problem = refused(world.client.abort_snapshot(committed.id, &AbortSnapshot::default()).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::SnapshotEnded, 409));

    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    let aborted = world.client.abort_snapshot(taken.id, &AbortSnapshot::default()).await.expect("aborted");
    assert_eq!(aborted.abort.map(|a| a.reason), Some(AbortReason::Requested));
    // A late part changes nothing, and the agent is told so.
    let late = part(taken.id, taken.epoch.expect("an epoch"), taken.generation);
    let answer = world.client.report(&world.cluster, &agents[0].member, agents[0].incarnation, late).await.expect("taken");
    assert!(!answer.relevant);
    assert_eq!(
        world.client.abort_snapshot(taken.id, &AbortSnapshot::default()).await.expect("again").state,
        SnapshotState::Aborted
    );
    assert_eq!(world.client.snapshot(taken.id).await.expect("it").state, SnapshotState::Aborted);
}

#[tokio::test]
async fn parts_of_strangers_and_zombies_are_refused() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    let (epoch, generation) = (taken.epoch.expect("an epoch"), taken.generation);
    let report = async |incarnation, event| world.client.report(&world.cluster, &agents[0].member, incarnation, event).await;
    let problem = refused(report(Incarnation(agents[0].incarnation.0 + 1), part(taken.id, epoch, generation)).await);
    assert_eq!(problem.code, ProblemCode::Fenced);
    for (epoch, generation) in [(epoch.next(), generation), (epoch, generation.next())] {
        assert!(!report(agents[0].incarnation, part(taken.id, epoch, generation)).await.expect("an answer").relevant);
    }
    // Twice is once.
    assert!(report(agents[0].incarnation, part(taken.id, epoch, generation)).await.expect("an answer").relevant);
    assert!(report(agents[0].incarnation, part(taken.id, epoch, generation)).await.expect("an answer").relevant);
    assert_eq!(world.ended(&taken).await.state, SnapshotState::Committed);
    let raw = serde_json::to_string(&Report { incarnation: agents[0].incarnation, event: part(taken.id, epoch, generation) });
    assert!(raw.expect("JSON").contains("\"kind\":\"part\""));
}

#[tokio::test]
async fn a_member_that_joins_later_is_in_the_next_snapshot() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let late = Agent::start(&world, "p3").await;
    let joined = world
        .until("a snapshot of three", async || {
            let all = world.snapshots().await;
            let newest = all.first().filter(|s| s.state == SnapshotState::Committed)?;
            let newest = world.client.snapshot(newest.id).await.expect("it");
            (newest.members.len() == 3).then_some(newest)
        })
        .await;
    assert_eq!(joined.trigger, Trigger::Automatic);
    assert_eq!(world.cluster().await.phase, ClusterPhase::Running);
    assert_eq!(late.incarnation, Incarnation(1));
}

#[tokio::test]
async fn lists_are_paged_newest_first() {
    let world = World::start().await;
    let _agents = world.running(1).await;
    for _ in 0..4 {
        world.committed().await;
    }
    let mut query = stillframe_api::snapshot::ListSnapshots { limit: Some(2), ..Default::default() };
    let mut epochs = Vec::new();
    loop {
        let page = world.client.list_snapshots(&world.cluster, &query).await.expect("a page");
        epochs.extend(page.items.iter().filter_map(|s| s.epoch).map(|e| e.0));
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(epochs, vec![5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_part_that_could_not_be_restored_is_refused() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    let (epoch, generation) = (taken.epoch.expect("an epoch"), taken.generation);
    let ReportEvent::Part(sound) = part(taken.id, epoch, generation) else { unreachable!() };
    let mut damaged = sound.clone();
    damaged.objects[0].digest = Digest::of(b"something else");
    let report = |event| world.client.report(&world.cluster, &agents[0].member, agents[0].incarnation, event);
    let problem = refused(report(ReportEvent::Part(damaged)).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::InvalidRequest, 400));
    assert!(report(ReportEvent::Part(sound)).await.expect("taken").relevant);
    assert_eq!(world.ended(&taken).await.state, SnapshotState::Committed);
}
