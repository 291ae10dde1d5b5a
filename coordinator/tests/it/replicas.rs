//! Several replicas on one database, without a leader.

use std::time::{Duration, Instant};

use stillframe_api::{
    Client,
    agent::AssignmentQuery,
    cluster::{MemberState, PageQuery},
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_coordinator::Coordinator;
use stillframe_protocol::Generation;
use uuid::Uuid;

use crate::{agent::Agent, harness::World};

fn url(coordinator: &Coordinator) -> String {
    format!("http://{}", coordinator.local_addr())
}

fn first(world: &World) -> String {
    url(world.coordinator.as_ref().expect("it runs"))
}

fn client(url: &str) -> Client {
    Client::new(url).expect("a client")
}

/// A cluster of so many members, which poll at the first replica, and the second one.
async fn two_replicas(world: &World, members: u32) -> (Vec<Agent>, Coordinator) {
    let agents = world.running(members).await;
    (agents, world.replica().await)
}

async fn everybody_is_live_after(world: &World, wait: Duration) {
    // Long enough for what would be noticed within milliseconds, had it happened.
    tokio::time::sleep(wait).await;
    let members = world.client.list_members(&world.cluster, &PageQuery::default()).await.expect("members").items;
    assert!(members.iter().all(|member| member.state == MemberState::Live), "{members:?}");
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'member.lost'").await, 0);
}

#[tokio::test]
async fn a_snapshot_that_is_asked_for_at_one_replica_begins_at_once_at_members_that_poll_at_another() {
    // Nobody looks by himself for as long as the test may take.
    let world = World::start_with(|c| (c.look_every, c.lease) = (Duration::from_secs(300), Duration::from_secs(3000))).await;
    let (_agents, second) = two_replicas(&world, 3).await;
    let there = client(&url(&second));
    // The first replica may not be listening yet when the first is asked for.
    let (mut fastest, mut tries) = (Duration::MAX, 0);
    while tries < 12 && (tries < 4 || fastest > Duration::from_secs(5)) {
        tries += 1;
        let begun = Instant::now();
        let taken = there.take_snapshot(&world.cluster, &TakeSnapshot::default()).await.expect("a snapshot");
        let ended = there.wait_snapshot(taken.id, Duration::from_secs(5)).await.expect("it");
        if ended.state == SnapshotState::Committed {
            fastest = fastest.min(begun.elapsed());
        }
    }
    println!("asked at the other replica, committed after {fastest:?} at best");
    assert!(fastest < Duration::MAX, "no hint came");
    second.stop().await;
}

#[tokio::test]
async fn a_member_that_moves_to_another_replica_is_not_lost() {
    let world = World::start_with(|c| c.lease = Duration::from_secs(2)).await;
    let (agents, second) = two_replicas(&world, 2).await;
    let (member, incarnation) = (agents[0].member.clone(), agents[0].incarnation);
    // As an agent that moves: another connection, at the other replica, then the old connection closes.
    let there = client(&url(&second));
    let query = AssignmentQuery { incarnation, replica: Some(Uuid::now_v7()), ..AssignmentQuery::default() };
    there.assignment(&world.cluster, &member, &query).await.expect("an assignment");
    let instance = agents[0].instance;
    let mut agents = agents;
    agents.remove(0).kill().await;
    let moved = Agent::start_at(&world, &url(&second), member.as_str(), instance).await;
    assert_eq!(moved.incarnation, incarnation);
    // More than two leases: whoever should renew it does.
    everybody_is_live_after(&world, Duration::from_secs(5)).await;
    second.stop().await;
}

#[tokio::test]
async fn members_of_a_replica_that_goes_away_go_on_at_another_one() {
    let mut world = World::start().await;
    let second = world.replica().await;
    world.create_cluster(3).await;
    let urls = format!("{},{}", first(&world), url(&second));
    let mut agents = Vec::new();
    for n in 1..=3 {
        agents.push(Agent::start_at(&world, &urls, &format!("p{n}"), Uuid::now_v7()).await);
    }
    world.first_committed().await;
    world.stop_coordinator().await;
    world.client = client(&urls);
    world.committed().await;
    assert_eq!(world.cluster().await.generation, Generation(1));
    everybody_is_live_after(&world, Duration::from_secs(1)).await;
    second.stop().await;
}

#[tokio::test]
async fn a_client_of_several_replicas_asks_whoever_answers() {
    let mut world = World::start().await;
    let second = world.replica().await;
    let nobody = "http://127.0.0.1:9";
    let client = client(&format!("{nobody},{},{}", first(&world), url(&second)));
    world.create_cluster(1).await;
    assert_eq!(client.cluster(&world.cluster).await.expect("the cluster").name, world.cluster);
    // It remembers who answered, and moves on from there when that one goes away.
    assert_eq!(client.url().as_str().trim_end_matches('/'), first(&world));
    world.stop_coordinator().await;
    assert_eq!(client.cluster(&world.cluster).await.expect("the cluster").name, world.cluster);
    assert_eq!(client.url().as_str().trim_end_matches('/'), url(&second));
    second.stop().await;
    let error = client.with_patience(Duration::ZERO).cluster(&world.cluster).await.expect_err("nobody is there");
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:9"), "{error}");
}

#[tokio::test]
async fn a_stray_look_at_an_assignment_loses_nobody() {
    let world = World::start_with(|c| c.suspect_grace = Duration::from_millis(20)).await;
    let agents = world.running(2).await;
    for agent in &agents {
        let stray = client(&first(&world));
        let query = AssignmentQuery { incarnation: agent.incarnation, ..AssignmentQuery::default() };
        stray.assignment(&world.cluster, &agent.member, &query).await.expect("an assignment");
        drop(stray);
    }
    everybody_is_live_after(&world, Duration::from_millis(500)).await;
}
