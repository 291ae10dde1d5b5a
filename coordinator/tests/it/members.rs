//! Many members that come at once, and those that only say they will.

use std::{collections::BTreeSet, time::Duration};

use stillframe_api::{agent::Register, cluster::ClusterPhase};
use stillframe_protocol::{Generation, Incarnation, MemberName};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::World;

fn register(member: String) -> Register {
    let member = MemberName::new(member).expect("a name");
    Register { member, instance: Uuid::now_v7(), address: "127.0.0.1:4100".to_owned() }
}

#[tokio::test]
async fn three_hundred_registrations_at_once_are_all_granted_and_none_is_turned_away() {
    let world = World::start().await;
    world.create_cluster(300).await;
    let mut registering = JoinSet::new();
    for n in 0..300 {
        let (client, cluster) = (world.client.clone(), world.cluster.clone());
        // No second try: an answer of 503 fails it.
        registering.spawn(async move { client.register(&cluster, &register(format!("p{n}"))).await });
    }
    let mut numbers = BTreeSet::new();
    while let Some(registered) = registering.join_next().await {
        let registered = registered.expect("no panic").expect("registered");
        assert_eq!(registered.incarnation, Incarnation(1));
        assert!(numbers.insert(registered.member_id), "number {} was given twice", registered.member_id);
    }
    assert_eq!(numbers.len(), 300);
    let lines = "SELECT count(DISTINCT request_id) FROM audit WHERE action = 'member.registered'";
    assert_eq!(world.count(lines).await, 300, "each has a line of its own, of its own request");
    assert_eq!(world.cluster().await.phase, ClusterPhase::Forming, "nobody has asked what to do");
}

#[tokio::test]
async fn of_processes_that_register_under_one_name_at_once_each_has_an_incarnation_of_its_own() {
    let world = World::start().await;
    world.create_cluster(1).await;
    let mut registering = JoinSet::new();
    for _ in 0..20 {
        let (client, cluster) = (world.client.clone(), world.cluster.clone());
        registering.spawn(async move { client.register(&cluster, &register("p1".to_owned())).await });
    }
    let registered = registering.join_all().await;
    let incarnations: BTreeSet<Incarnation> = registered.into_iter().map(|r| r.expect("registered").incarnation).collect();
    assert_eq!(incarnations, (1..=20).map(Incarnation).collect());
}

#[tokio::test]
async fn a_registration_that_never_polls_joins_nothing_and_puts_nothing_back() {
    let world = World::start_with(|c| c.lease = Duration::from_millis(400)).await;
    let _agents = world.running(2).await;
    world.client.register(&world.cluster, &register("p3".to_owned())).await.expect("registered");
    let taken = world.committed().await;
    assert_eq!(taken.members.len(), 2, "{:?}", taken.members);
    let lost = "SELECT count(*) FROM members WHERE name = 'p3' AND state = 'lost'";
    world.until("its lease run out", async || (world.count(lost).await == 1).then_some(())).await;
    world.committed().await;
    let cluster = world.cluster().await;
    assert_eq!((cluster.phase, cluster.generation), (ClusterPhase::Running, Generation(1)));
    assert_eq!(world.count("SELECT count(*) FROM restores").await, 0);
}
