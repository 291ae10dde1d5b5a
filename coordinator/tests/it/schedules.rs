//! Schedules.

use stillframe_api::{
    ProblemCode,
    schedule::PutSchedule,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::name::ScheduleName;

use crate::{
    agent::OnSnapshot,
    harness::{World, refused},
};

fn every(text: &str) -> PutSchedule {
    PutSchedule { every: text.parse().expect("a duration"), timeout: None }
}

#[tokio::test]
async fn each_slot_of_a_schedule_is_decided_once_also_with_two_replicas() {
    let world = World::start().await;
    let _agents = world.running(2).await;
    let mut second = world.config.clone();
    second.listen.set_port(0);
    let second = stillframe_coordinator::start(second).await.expect("a second replica");
    let name = ScheduleName::new("often").expect("a name");
    let set = world.client.put_schedule(&world.cluster, &name, &every("60ms")).await.expect("a schedule");
    assert!(set.last_slot_at.is_none());
    world
        .until("ten scheduled snapshots", async || {
            let all = world.snapshots().await;
            let of = |s: &&stillframe_api::snapshot::Snapshot| matches!(&s.trigger, Trigger::Schedule { schedule } if schedule == "often");
            (all.iter().filter(of).filter(|s| s.state == SnapshotState::Committed).count() >= 10).then_some(())
        })
        .await;
    let now = world.client.schedule(&world.cluster, &name).await.expect("it");
    assert!(now.next_at > now.last_slot_at.expect("a slot"));
    world.client.delete_schedule(&world.cluster, &name).await.expect("deleted");
    let (slots, taken) = (
        world.count("SELECT count(*) FROM schedule_slots WHERE snapshot IS NOT NULL").await,
        world.count("SELECT count(*) FROM snapshots WHERE trigger ->> 'kind' = 'schedule'").await,
    );
    assert_eq!(slots, taken);
    assert_eq!(refused(world.client.schedule(&world.cluster, &name).await).code, ProblemCode::UnknownSchedule);
    second.stop().await;
}

#[tokio::test]
async fn a_slot_that_comes_while_a_snapshot_is_under_way_is_skipped_and_says_so() {
    let world = World::start().await;
    let agents = world.running(1).await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    world.take().await;
    let name = ScheduleName::new("often").expect("a name");
    world.client.put_schedule(&world.cluster, &name, &every("50ms")).await.expect("a schedule");
    let skip = world.until("a skip", async || world.client.schedule(&world.cluster, &name).await.expect("it").last_skip).await;
    assert!(skip.contains("under way"), "{skip}");
    assert_eq!(world.count("SELECT count(*) FROM snapshots WHERE trigger ->> 'kind' = 'schedule'").await, 0);
}
