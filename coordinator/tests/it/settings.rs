//! Settings that change while a cluster runs; several snapshots at once; the queue.

use stillframe_api::{
    HumanDuration, ProblemCode,
    rollback::RollbackSettings,
    settings::{UpdateCluster, UpdateRollback, UpdateSnapshot},
    snapshot::{AbortReason, Snapshot, SnapshotState, TakeSnapshot},
    waiting::{MAX_PENDING, WaitsFor},
};

use crate::{
    agent::{Agent, OnSnapshot},
    harness::{World, refused},
};

impl World {
    async fn update(&self, change: impl FnOnce(&mut UpdateCluster)) -> stillframe_api::cluster::Cluster {
        let mut changes = UpdateCluster::default();
        change(&mut changes);
        self.client.update_cluster(&self.cluster, &changes).await.expect("updated")
    }

    async fn now(&self, snapshot: &Snapshot) -> Snapshot {
        self.client.snapshot(snapshot.id).await.expect("it")
    }
}

fn everybody(agents: &[Agent], on_snapshot: OnSnapshot) {
    agents.iter().for_each(|agent| agent.behave(|b| b.on_snapshot = on_snapshot.clone()));
}

fn change(timeout: &str) -> UpdateSnapshot {
    UpdateSnapshot { timeout: Some(timeout.parse().expect("a duration")) }
}

#[tokio::test]
async fn settings_are_changed_live_and_audited_with_before_and_after() {
    let world = World::start().await;
    let created = world.create_cluster_with(3, |c| c.max_concurrent = 2).await;
    assert_eq!((created.max_concurrent, created.min_pause.is_zero()), (2, true));
    let agents = [Agent::start(&world, "p1").await, Agent::start(&world, "p2").await];
    let cluster = world
        .update(|c| {
            c.min_members = Some(2);
            c.min_pause = Some("20ms".parse().expect("a duration"));
        })
        .await;
    assert_eq!((cluster.min_members, cluster.max_concurrent, cluster.min_pause.to_string().as_str()), (2, 2, "20ms"));
    // Only one setting was in its way.
    world.first_committed().await;
    let audited = "SELECT count(*) FROM audit WHERE action = 'cluster.updated' AND detail = \
                   '{\"before\": {\"min_members\": 3, \"min_pause_ms\": 0}, \"after\": {\"min_members\": 2, \"min_pause_ms\": 20}}'";
    assert_eq!(world.count(audited).await, 1);
    world.update(|c| c.min_members = Some(2)).await;
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'cluster.updated'").await, 1, "nothing changed");
    let rollback =
        UpdateRollback { limit: Some(7), backoff: Some("3s".parse().expect("a duration")), ..UpdateRollback::default() };
    let cluster = world.update(|c| c.rollback = Some(rollback)).await;
    assert_eq!((cluster.rollback.limit, cluster.rollback.backoff.to_string().as_str()), (7, "3s"));
    assert_eq!((cluster.rollback.window, cluster.rollback.fallback), (RollbackSettings::default().window, 0));
    let audited = "SELECT count(*) FROM audit WHERE action = 'cluster.updated' AND detail = \
                   '{\"before\": {\"rollback_limit\": 5, \"rollback_backoff_ms\": 1000}, \"after\": {\"rollback_limit\": 7, \"rollback_backoff_ms\": 3000}}'";
    assert_eq!(world.count(audited).await, 1);
    let rollback = |change: UpdateRollback| UpdateCluster { rollback: Some(change), ..UpdateCluster::default() };
    for bad in [
        rollback(UpdateRollback { limit: Some(1_001), ..UpdateRollback::default() }),
        rollback(UpdateRollback { fallback: Some(17), ..UpdateRollback::default() }),
        UpdateCluster { max_concurrent: Some(0), ..UpdateCluster::default() },
        UpdateCluster { max_concurrent: Some(17), ..UpdateCluster::default() },
        UpdateCluster { min_members: Some(0), ..UpdateCluster::default() },
    ] {
        let problem = refused(world.client.update_cluster(&world.cluster, &bad).await);
        assert_eq!(problem.code, ProblemCode::InvalidRequest, "{problem}");
    }
    let unknown = stillframe_protocol::ClusterName::new("nobody").expect("a name");
    let problem = refused(world.client.update_cluster(&unknown, &UpdateCluster::default()).await);
    assert_eq!(problem.code, ProblemCode::UnknownCluster);
    drop(agents);
}

#[tokio::test]
async fn several_snapshots_are_taken_at_once_and_end_in_any_order() {
    let world = World::start().await;
    let agents = world.running(3).await;
    world.update(|c| c.max_concurrent = Some(3)).await;
    everybody(&agents, OnSnapshot::Ignore);
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(world.take().await);
    }
    let states: Vec<SnapshotState> = taken.iter().map(|s| s.state).collect();
    use SnapshotState::{Pending, Recording};
    assert_eq!(states, [Recording, Recording, Recording, Pending]);
    assert_eq!(world.cluster().await.under_way.len(), 3);
    // Each member reports the open ones with its next poll: which this makes.
    everybody(&agents, OnSnapshot::Report);
    world.update(|c| c.max_concurrent = Some(4)).await;
    for snapshot in &taken {
        assert_eq!(world.ended(snapshot).await.state, SnapshotState::Committed);
    }
    let latest = world.cluster().await.latest_committed;
    assert_eq!(latest, Some(taken[3].id), "the newest epoch, whichever was committed last");
    for snapshot in &taken {
        world.archive().await.verify_snapshot(&world.cluster, snapshot.id).await.expect("it verifies");
    }
}

#[tokio::test]
async fn the_pause_between_two_beginnings_is_kept_and_then_ends_by_itself() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    world.update(|c| c.min_pause = Some("700ms".parse().expect("a duration"))).await;
    let taken = [world.take().await, world.take().await, world.take().await];
    let waiting = world.now(&taken[2]).await;
    if waiting.state == SnapshotState::Pending {
        assert!(matches!(waiting.waits_for, Some(WaitsFor::MinPause { .. } | WaitsFor::Slot { .. } | WaitsFor::Archive { .. })));
    }
    let mut began = Vec::new();
    for snapshot in &taken {
        let ended = world.ended(snapshot).await;
        assert_eq!(ended.state, SnapshotState::Committed, "{ended:?}");
        began.push(ended.recording_at.expect("it began"));
    }
    for pair in began.windows(2) {
        assert!(pair[1].duration_since(pair[0]).as_millis() >= 700, "{began:?}");
    }
}

#[tokio::test]
async fn who_waits_knows_its_place_and_what_for() {
    let world = World::start().await;
    let agents = world.running(2).await;
    everybody(&agents, OnSnapshot::Ignore);
    let (holder, first, second) = (world.take().await, world.take().await, world.take().await);
    assert!(holder.members.iter().all(|m| m.missing.is_empty()), "nobody could have been heard of yet: {holder:?}");
    assert_eq!((holder.position, &holder.waits_for), (None, &None));
    assert_eq!((first.position, second.position), (Some(1), Some(2)));
    let Some(WaitsFor::Slot { held_by }) = second.waits_for.clone() else { panic!("expected a slot: {second:?}") };
    assert_eq!((held_by[0].snapshot, held_by[0].state), (holder.id, SnapshotState::Recording));
    assert_eq!(Some(held_by[0].since), holder.recording_at);
    let listed = world.snapshots().await;
    let place = |id| listed.iter().find(|s| s.id == id).and_then(|s| s.position);
    assert_eq!((place(holder.id), place(first.id), place(second.id)), (None, Some(1), Some(2)));
    world.client.abort_snapshot(first.id, &Default::default()).await.expect("aborted");
    assert_eq!(world.now(&second).await.position, Some(1));
    for _ in 1..MAX_PENDING {
        world.take().await;
    }
    let problem = refused(world.client.take_snapshot(&world.cluster, &TakeSnapshot::default()).await);
    assert_eq!(problem.code, ProblemCode::SnapshotUnderWay);
    assert_eq!(world.cluster().await.pending, MAX_PENDING);
}

#[tokio::test]
async fn the_timeout_of_a_snapshot_can_be_changed_while_it_is_taken_and_agents_hear_of_it() {
    let world = World::start().await;
    let agents = world.running(1).await;
    everybody(&agents, OnSnapshot::Ignore);
    let taken = world.take_with_timeout("30s").await;
    let changed = world.client.update_snapshot(taken.id, &change("10m")).await.expect("changed");
    assert_eq!(changed.timeout.map(HumanDuration::as_millis), Some(600_000));
    assert_eq!(changed.deadline_at.duration_since(taken.recording_at.expect("it began")).as_secs(), 600);
    world
        .until("the agent knowing", async || {
            let open = agents[0].seen(|seen| seen.assignment.as_ref().and_then(|a| a.snapshots.first().cloned()));
            open.filter(|open| open.deadline_in_ms > 500_000)
        })
        .await;
    let problem = refused(world.client.update_snapshot(taken.id, &change("1ms")).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::InvalidRequest, 409));
    // Whatever has passed by now, one of them is soon but not over.
    for soon in ["500ms", "2s", "8s"] {
        if world.client.update_snapshot(taken.id, &change(soon)).await.is_ok() {
            break;
        }
    }
    let ended = world.ended(&taken).await;
    assert_eq!(ended.abort.map(|abort| abort.reason), Some(AbortReason::DeadlineExceeded));
    let problem = refused(world.client.update_snapshot(taken.id, &change("1h")).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::SnapshotEnded, 409));
    assert!(world.count("SELECT count(*) FROM audit WHERE action = 'snapshot.updated'").await >= 1);
}

#[tokio::test]
async fn a_snapshot_that_can_not_be_committed_says_why_and_who_waits_for_it_names_it() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    // No object can be put under a file.
    let folder = world.directory.path().join("archive/clusters/bank/snapshots");
    let aside = world.directory.path().join("aside");
    std::fs::rename(&folder, &aside).expect("moved");
    std::fs::write(&folder, "in the way").expect("written");
    let holder = world.take().await;
    let (error, since) = world
        .until("the archive's word", async || {
            let now = world.now(&holder).await;
            Some((now.archive_error?, now.committing_at?))
        })
        .await;
    let cluster = world.cluster().await;
    assert_eq!(cluster.under_way.iter().map(|u| (u.snapshot, u.since)).collect::<Vec<_>>(), vec![(holder.id, since)]);
    assert_eq!(cluster.under_way[0].archive_error.as_ref(), Some(&error));
    let waits = world.take_with_timeout("400ms").await;
    assert!(matches!(waits.waits_for, Some(WaitsFor::Archive { .. })), "{waits:?}");
    let abort = world.ended(&waits).await.abort.expect("an abort");
    for says in [&holder.id.to_string(), "committing", "archive", &error] {
        assert!(abort.detail.contains(says), "{says}: {}", abort.detail);
    }
    assert_eq!((abort.reason, abort.since), (AbortReason::DeadlineExceeded, Some(since)));
    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&aside, &folder).expect("moved back");
    let ended = world.ended(&holder).await;
    assert_eq!((ended.state, ended.archive_error), (SnapshotState::Committed, None));
}

#[tokio::test]
async fn a_member_that_is_gone_after_its_part_was_there_harms_nothing() {
    let world = World::start().await;
    let mut agents = world.running(3).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    world.until("two parts", async || agents[1..].iter().all(|a| a.seen(|s| s.reported.contains(&taken.id))).then_some(())).await;
    world
        .until("two parts known", async || {
            let now = world.now(&taken).await;
            (now.members.iter().filter(|m| m.reported_at.is_some()).count() == 2).then_some(())
        })
        .await;
    agents.pop().expect("three").kill().await;
    world.until("it lost", async || (world.cluster().await.lost_members == 1).then_some(())).await;
    assert_eq!(world.now(&taken).await.state, SnapshotState::Recording);
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Report);
    // Another poll.
    world.update(|c| c.min_members = Some(2)).await;
    let report = crate::agent::part(taken.id, taken.epoch.expect("an epoch"), taken.generation);
    world.client.report(&world.cluster, &agents[0].member, agents[0].incarnation, report).await.expect("taken");
    assert_eq!(world.ended(&taken).await.state, SnapshotState::Committed);
}
