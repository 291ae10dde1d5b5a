//! Members that leave, over HTTP: asked by an operator, drained by reports, certified without a part.

use stillframe_api::{
    ProblemCode,
    agent::{Leave, ReportEvent, SentBy},
    cluster::{ClusterPhase, LeaveRequest, MemberState, PageQuery},
    settings::UpdateCluster,
    snapshot::SnapshotState,
};
use stillframe_protocol::{Incarnation, Received, Sent, SeqRanges};

use crate::{
    agent::{Agent, OnSnapshot},
    harness::{World, refused},
};

/// What the assignment says of its leaving.
fn leave(agent: &Agent) -> Option<Leave> {
    agent.seen(|seen| seen.assignment.as_ref().and_then(|assignment| assignment.leave.clone()))
}

async fn state(world: &World, member: &str) -> MemberState {
    let members = world.client.list_members(&world.cluster, &PageQuery::default()).await.expect("members");
    members.items.into_iter().find(|m| m.name.as_str() == member).expect("it is listed").state
}

#[tokio::test]
async fn a_member_leaves_and_the_archive_proves_the_snapshots_without_it() {
    let world = World::start().await;
    let mut agents = world.running(3).await;
    let too_few = world.client.leave(&world.cluster, &agents[2].member, &LeaveRequest::default()).await;
    assert_eq!(refused(too_few).code, ProblemCode::TooFewMembers);
    let changes = UpdateCluster { min_members: Some(2), ..UpdateCluster::default() };
    world.client.update_cluster(&world.cluster, &changes).await.expect("lowered");
    let asked = world.client.leave(&world.cluster, &agents[2].member, &LeaveRequest::default()).await.expect("two stay");
    assert!(asked.asked_to_leave && asked.state == MemberState::Live, "{asked:?}");
    let stays = world.client.stay(&world.cluster, &agents[2].member).await.expect("taken back");
    assert!(!stays.asked_to_leave);
    world.client.leave(&world.cluster, &agents[2].member, &LeaveRequest::default()).await.expect("two stay");
    world.until("it to be told", async || (leave(&agents[2]) == Some(Leave::Asked {})).then_some(())).await;

    let generation = world.cluster().await.generation;
    assert!(agents[2].say(&world, ReportEvent::Leaving { generation }).await.expect("taken"));
    world.until("it to be leaving", async || (leave(&agents[2]) == Some(Leave::Draining {})).then_some(())).await;
    assert_eq!(state(&world, "p3").await, MemberState::Leaving);
    let late = world.client.stay(&world.cluster, &agents[2].member).await;
    assert_eq!(refused(late).code, ProblemCode::MemberLeaving);
    let peers = |agent: &Agent| agent.seen(|seen| seen.assignment.as_ref().and_then(|a| a.peers.clone()));
    world
        .until("its peers to see it", async || {
            let peers = peers(&agents[0])?;
            peers.members.iter().any(|peer| peer.leaving && peer.member.as_str() == "p3").then_some(())
        })
        .await;
    for (agent, sent) in [(&agents[0], 3), (&agents[1], 0)] {
        let (member, leaving) = (agents[2].member.clone(), agents[2].incarnation);
        assert!(agent.say(&world, ReportEvent::Drained { generation, member, leaving, sent }).await.expect("taken"));
    }
    let sent = |member: &Agent, messages| SentBy { member: member.member.clone(), messages };
    let drained = Leave::Drained { sent: vec![sent(&agents[0], 3), sent(&agents[1], 0)] };
    world.until("it to be drained", async || (leave(&agents[2]) == Some(drained.clone())).then_some(())).await;
    let end = |count| ReportEvent::Left {
        generation,
        sent: vec![Sent { to: agents[0].member.clone(), messages: 2 }],
        received: vec![Received { from: agents[0].member.clone(), ranges: SeqRanges::prefix(count) }],
    };
    assert_eq!(refused(agents[2].say(&world, end(2)).await).code, ProblemCode::InvalidRequest, "one message is lost");
    agents[0].behave(|b| {
        b.sent = vec![Sent { to: agents[2].member.clone(), messages: 3 }];
        b.received = vec![Received { from: agents[2].member.clone(), ranges: SeqRanges::prefix(2) }];
    });
    assert!(agents[2].say(&world, end(3)).await.expect("taken"));
    assert!(agents[2].say(&world, end(3)).await.expect("taken again"));
    world.until("it to be let go", async || agents[2].seen(|seen| seen.ended).then_some(())).await;
    assert_eq!(state(&world, "p3").await, MemberState::Left);
    agents.pop().expect("three").kill().await;
    let cluster = world.cluster().await;
    assert_eq!((cluster.phase, cluster.generation, cluster.live_members), (ClusterPhase::Running, generation, 2));

    let taken = world.committed().await;
    assert_eq!((taken.members.len(), taken.state), (2, SnapshotState::Committed));
    let archive = world.archive().await;
    let manifest = archive.read_manifest(&world.cluster, taken.id).await.expect("its manifest");
    assert_eq!(manifest.departed.len(), 1, "{manifest:?}");
    assert_eq!((manifest.departed[0].incarnation, manifest.certify().expect("it proves it").channels()), (Incarnation(1), 2));
    // Once nobody counts it any more, it isn't mentioned.
    agents[0].behave(|b| (b.sent, b.received) = (Vec::new(), Vec::new()));
    let later = world.committed().await;
    assert_eq!(archive.read_manifest(&world.cluster, later.id).await.expect("its manifest").departed, []);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'member.left'").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM audit WHERE action = 'member.lost'").await, 0);
}

#[tokio::test]
async fn a_snapshot_in_which_messages_went_to_one_that_joined_meanwhile_is_aborted_as_such() {
    let world = World::start().await;
    let agents = world.running(2).await;
    agents[1].behave(|b| b.on_snapshot = OnSnapshot::Ignore);
    let taken = world.take().await;
    let third = Agent::start(&world, "p3").await;
    world
        .until("it to join", async || {
            let runs = third.desired().is_some_and(|d| matches!(d, stillframe_api::agent::Desired::Run { .. }));
            runs.then_some(())
        })
        .await;
    agents[1].behave(|b| {
        b.on_snapshot = OnSnapshot::Report;
        b.sent = vec![Sent { to: third.member.clone(), messages: 1 }];
    });
    let ended = world.ended(&taken).await;
    let abort = ended.abort.expect("it was aborted");
    assert_eq!(abort.reason, stillframe_api::snapshot::AbortReason::MembershipChanged, "{abort:?}");
    assert_eq!(abort.member, Some(third.member.clone()));
    agents[1].behave(|b| b.sent = Vec::new());
    assert_eq!(world.committed().await.members.len(), 3, "the next one is with it");
}
