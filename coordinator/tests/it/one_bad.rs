//! One cluster whose rows can't be read, which no other is to suffer from: every loop has it in its rounds.

use std::time::{Duration, Instant};

use stillframe_api::{
    agent::AssignmentQuery,
    retention::Retention,
    snapshot::{Snapshot, SnapshotState},
};
use stillframe_protocol::ClusterName;

use crate::{
    agent::{Agent, OnSnapshot, part},
    harness::World,
};

#[tokio::test]
async fn one_cluster_that_can_not_be_read_keeps_no_other_from_its_turn() {
    let mut world = World::start_with(|config| config.collection.interval = Duration::from_millis(100)).await;
    // It comes first wherever they are gone through by name or by age.
    let good = std::mem::replace(&mut world.cluster, ClusterName::new("a-bad-one").expect("a name"));
    world.create_cluster(1).await;
    let bad = Agent::start(&world, "p1").await;
    world.first_committed().await;
    bad.behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let aborted = world.take().await;
    world.client.abort_snapshot(aborted.id, &Default::default()).await.expect("aborted");
    let open = world.take().await;
    world.cluster = good;
    let agents = world.running(2).await;
    let older = world.committed().await;
    for agent in &agents {
        agent.behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    }
    // It has something in every loop: parts that are all there, a deadline, retention, something to sweep, and a revision that nobody has heard of.
    world
        .execute(&format!(
            "INSERT INTO parts (snapshot, member, incarnation, content, bytes) VALUES ('{0}', 'p1', 1, '{{}}', 0);
             UPDATE snapshots SET labels = '[]', deadline_at = clock_timestamp() WHERE id = '{0}';
             UPDATE snapshots SET sweep_at = clock_timestamp() - interval '1 hour' WHERE id = '{1}';
             UPDATE clusters SET retention = '{{\"keep_last\": 1}}', revision = revision + 1, version = version + 1 WHERE name = 'a-bad-one'",
            open.id, aborted.id
        ))
        .await;
    let began = Instant::now();

    // Complete, and left so by a replica that died.
    let left = world.take().await;
    let parts = format!(
        "INSERT INTO parts SELECT '{}', member, incarnation, content, bytes FROM parts WHERE snapshot = '{}'",
        left.id, older.id
    );
    world.execute(&parts).await;
    assert_eq!(world.ended(&left).await.state, SnapshotState::Committed, "the commit loop");

    let late = world.take_with_timeout("100ms").await;
    assert_eq!(world.ended(&late).await.state, SnapshotState::Aborted, "the loop of deadlines");
    world
        .until("it swept", async || {
            let swept = "SELECT count(*) FROM snapshots WHERE cluster = 'bank' AND state = 'aborted' AND sweeps = 1";
            (world.count(swept).await == 1).then_some(())
        })
        .await;

    let retention = Retention { keep_last: Some(1), ..Retention::empty() };
    world.client.put_retention(&world.cluster, &retention).await.expect("set");
    world
        .until("the older one gone by retention", async || {
            let now = world.client.snapshot(older.id).await.expect("it");
            (now.state == SnapshotState::Deleted).then_some(())
        })
        .await;

    world.until("time for word to become old", async || (began.elapsed() > Duration::from_secs(3)).then_some(())).await;
    let query = AssignmentQuery { incarnation: agents[0].incarnation, ..AssignmentQuery::default() };
    let told = world.client.assignment(&world.cluster, &agents[0].member, &query).await.expect("an assignment");
    assert!(told.view_age_ms < 2_000, "the word on the others is fresh, and {} ms old", told.view_age_ms);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE cluster = 'a-bad-one' AND action = 'snapshot.aborted'").await, 1);
    drop(bad);
}

#[tokio::test]
async fn a_part_that_the_database_refuses_keeps_none_of_those_reported_with_it_back() {
    let mut world = World::start().await;
    let good = std::mem::replace(&mut world.cluster, ClusterName::new("a-bad-one").expect("a name"));
    world.create_cluster_with(2, |settings| settings.max_concurrent = 16).await;
    let bad = [Agent::start(&world, "refused").await, Agent::start(&world, "p2").await];
    world.first_committed().await;
    let bad_cluster = std::mem::replace(&mut world.cluster, good);
    world.create_cluster_with(2, |settings| settings.max_concurrent = 16).await;
    let agents = [Agent::start(&world, "p1").await, Agent::start(&world, "p2").await];
    world.first_committed().await;
    for agent in bad.iter().chain(&agents) {
        agent.behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    }
    world
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON parts FOR EACH ROW WHEN (NEW.member = 'refused') EXECUTE FUNCTION refuse()",
        )
        .await;
    for last in [false, true] {
        for _ in 0..8 {
            let (one, other) =
                (world.client.take_snapshot(&bad_cluster, &Default::default()).await.expect("a snapshot"), world.take().await);
            let report = async |cluster: &ClusterName, agent: &Agent, of: &Snapshot| {
                let event = part(of.id, of.epoch.expect("an epoch"), of.generation);
                world.client.report(cluster, &agent.member, agent.incarnation, event).await
            };
            if last {
                assert!(report(&bad_cluster, &bad[1], &one).await.expect("taken").relevant);
                assert!(report(&world.cluster, &agents[1], &other).await.expect("taken").relevant);
            }
            // They come within the moment for which parts are gathered, or nearly so.
            let (refused, taken) = tokio::join!(report(&bad_cluster, &bad[0], &one), report(&world.cluster, &agents[0], &other));
            assert!(refused.is_err(), "{refused:?}");
            assert!(taken.expect("taken").relevant);
            let ended = if last { world.ended(&other).await.state } else { SnapshotState::Recording };
            assert_eq!(ended == SnapshotState::Committed, last);
        }
    }
}
