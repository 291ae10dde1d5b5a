//! Uploads in pieces are known before their first piece, and forgotten when nobody can be at them any more.

use std::time::Duration;

use stillframe_api::{
    ProblemCode,
    agent::{ReportEvent, Upload},
    snapshot::Snapshot,
};
use stillframe_archive::ObjectKey;

use crate::{
    agent::{Agent, OnSnapshot},
    harness::{World, refused},
};

const UPLOADS: &str = "SELECT count(*) FROM uploads";

fn upload(world: &World, agent: &Agent, snapshot: &Snapshot) -> Upload {
    let key = ObjectKey::state_key(&world.cluster, snapshot.id, &agent.member, agent.incarnation);
    Upload { snapshot: snapshot.id, key, upload: "upload-1".to_owned() }
}

async fn report(world: &World, agent: &Agent, event: ReportEvent) -> bool {
    world.client.report(&world.cluster, &agent.member, agent.incarnation, event).await.expect("taken").relevant
}

#[tokio::test]
async fn an_upload_is_kept_while_its_part_is_wanted_and_forgotten_when_it_has_ended() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let snapshot = world.take().await;
    let begun = upload(&world, &agents[0], &snapshot);
    for _ in 0..2 {
        assert!(report(&world, &agents[0], ReportEvent::UploadBegun(begun.clone())).await);
    }
    assert_eq!(world.count(UPLOADS).await, 1);
    assert!(report(&world, &agents[0], ReportEvent::UploadEnded(begun.clone())).await);
    assert_eq!(world.count(UPLOADS).await, 0);
    let elsewhere = ObjectKey::manifest_key(&world.cluster, snapshot.id);
    for wrong in [Upload { key: elsewhere, ..begun.clone() }, Upload { upload: String::new(), ..begun.clone() }] {
        let event = ReportEvent::UploadBegun(wrong);
        let answer = world.client.report(&world.cluster, &agents[0].member, agents[0].incarnation, event).await;
        assert_eq!(refused(answer).code, ProblemCode::InvalidRequest);
    }
    world.client.abort_snapshot(snapshot.id, &Default::default()).await.expect("aborted");
    assert!(!report(&world, &agents[0], ReportEvent::UploadBegun(begun)).await, "nobody wants it any more");
    assert_eq!(world.count(UPLOADS).await, 0);
}

#[tokio::test]
async fn an_upload_whose_member_never_says_that_it_ended_is_forgotten_after_the_longest_that_one_can_last() {
    let world = World::start_with(|config| config.collection.sweep_again = Duration::from_millis(300)).await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let snapshot = world.take().await;
    let begun = upload(&world, &agents[0], &snapshot);
    assert!(report(&world, &agents[0], ReportEvent::UploadBegun(begun)).await);
    world.client.abort_snapshot(snapshot.id, &Default::default()).await.expect("aborted");
    world.until("it forgotten", async || (world.count(UPLOADS).await == 0).then_some(())).await;
    let swept = "SELECT count(*) FROM snapshots WHERE state = 'aborted' AND sweeps = 2 AND sweep_at IS NULL";
    world.until("the second sweep", async || (world.count(swept).await == 1).then_some(())).await;
}
