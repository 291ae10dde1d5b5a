//! How the messages under way at a cut get into a snapshot: as a cluster is set, as its members are told, and as a restore gives them back.

use stillframe_api::{
    ProblemCode,
    agent::{Arrived, Desired, MissingChannel},
    channel_state::{Alignment, ChannelSettings, ChannelState},
    cluster::CreateCluster,
    restore::StartRestore,
    settings::UpdateCluster,
    snapshot::{AbortReason, SnapshotState},
};
use stillframe_protocol::{self as protocol, Generation, Logged, MemberName, Received, Sent, Seq, SeqRanges};

use crate::{
    agent::{Agent, Channels, OnPrepare, OnSnapshot},
    harness::{PATIENCE, World, refused},
};

fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

fn ranges(seqs: &[u64]) -> SeqRanges {
    seqs.iter().copied().map(Seq).collect()
}

fn channels(channel_state: ChannelState, alignment: Alignment, aligned_timeout: Option<&str>) -> ChannelSettings {
    let aligned_timeout = aligned_timeout.map(|timeout| timeout.parse().expect("a duration"));
    ChannelSettings { channel_state, alignment, aligned_timeout }
}

/// How its members run, once they do so in this generation.
async fn runs_by(world: &World, agent: &Agent, of: u64) -> (protocol::ChannelState, Option<String>) {
    let run = || match agent.desired() {
        Some(Desired::Run { generation, channel_state, aligned_timeout, .. }) if generation == Generation(of) => {
            Some((channel_state, aligned_timeout.map(|timeout| timeout.to_string())))
        }
        _ => None,
    };
    world.until("a member that runs", async || run()).await
}

#[tokio::test]
async fn what_is_wanted_of_channels_is_told_to_all_members_from_the_next_generation_on() {
    let world = World::start().await;
    let created = world.create_cluster_with(2, |c| c.channel_state = ChannelState::SenderLogged).await;
    assert_eq!(
        (created.channel_state, created.alignment, created.in_force),
        (ChannelState::SenderLogged, Alignment::Unaligned, None)
    );
    let agents = [Agent::start(&world, "p1").await, Agent::start(&world, "p2").await];
    let latest = world.first_committed().await.latest_committed.expect("a snapshot");
    for agent in &agents {
        assert_eq!(runs_by(&world, agent, 1).await, (protocol::ChannelState::SenderLogged, None));
    }
    let changes = UpdateCluster {
        channel_state: Some(ChannelState::Marker),
        alignment: Some(Alignment::Aligned),
        aligned_timeout: Some(Some("2s".parse().expect("a duration"))),
        ..UpdateCluster::default()
    };
    let changed = world.client.update_cluster(&world.cluster, &changes).await.expect("changed");
    let aligned = channels(ChannelState::Marker, Alignment::Aligned, Some("2s"));
    let wanted = |c: &stillframe_api::cluster::Cluster| {
        channels(c.channel_state, c.alignment, c.aligned_timeout.map(|t| t.to_string()).as_deref())
    };
    assert_eq!(wanted(&changed), aligned);
    assert_eq!(changed.in_force, Some(channels(ChannelState::SenderLogged, Alignment::Unaligned, None)), "not in this one");
    world.committed().await;
    for agent in &agents {
        assert_eq!(runs_by(&world, agent, 1).await, (protocol::ChannelState::SenderLogged, None));
    }
    let restore = world.client.start_restore(&world.cluster, &StartRestore::to(latest)).await.expect("a restore");
    world.client.wait_restore(restore.id, PATIENCE).await.expect("it ends");
    for agent in &agents {
        assert_eq!(runs_by(&world, agent, 2).await, (protocol::ChannelState::Aligned, Some("2s".to_owned())));
    }
    assert_eq!(world.cluster().await.in_force, Some(aligned));
    let never = UpdateCluster { aligned_timeout: Some(None), ..UpdateCluster::default() };
    let changed = world.client.update_cluster(&world.cluster, &never).await.expect("changed");
    assert_eq!((changed.aligned_timeout, changed.in_force), (None, Some(aligned)));
    let audited = "SELECT count(*) FROM audit WHERE action = 'cluster.updated' AND detail = \
                   '{\"before\": {\"aligned_timeout_ms\": 2000}, \"after\": {\"aligned_timeout_ms\": null}}'";
    assert_eq!(world.count(audited).await, 1);
}

#[tokio::test]
async fn what_can_not_be_had_of_channels_is_refused_with_the_reason() {
    let world = World::start().await;
    let both = CreateCluster {
        channel_state: ChannelState::SenderLogged,
        alignment: Alignment::Aligned,
        ..CreateCluster::new(world.cluster.clone(), 2)
    };
    let problem = refused(world.client.create_cluster(&both).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::InvalidRequest, 422), "{problem}");
    assert!(problem.detail.contains("records until the markers come"), "{problem}");

    world.create_cluster(3).await;
    let agents = [Agent::start(&world, "p1").await, Agent::start(&world, "p2").await, Agent::start(&world, "p3").await];
    world.first_committed().await;
    // p1 -> p2 -> p3, and then p3 -> p2 as well.
    let report = |nth: usize, sent: &[&str], received: &[&str]| {
        let channels = Channels {
            sent: sent.iter().map(|to| Sent { to: name(to), messages: 4 }).collect(),
            received: received.iter().map(|from| Received { from: name(from), ranges: SeqRanges::prefix(4) }).collect(),
            logged: Vec::new(),
        };
        agents[nth].behave(|b| b.on_snapshot = OnSnapshot::ReportChannels(channels.clone()));
    };
    report(0, &["p2"], &[]);
    report(1, &["p3"], &["p1", "p3"]);
    report(2, &["p2"], &["p2"]);
    world.committed().await;
    let align = UpdateCluster { alignment: Some(Alignment::Aligned), ..UpdateCluster::default() };
    let problem = refused(world.client.update_cluster(&world.cluster, &align).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::ChannelsFormCycle, 409), "{problem}");
    assert!(problem.detail.contains("p2 -> p3 -> p2 form a cycle"), "{problem}");
    assert_eq!(world.cluster().await.alignment, Alignment::Unaligned);
    let logs = UpdateCluster { channel_state: Some(ChannelState::SenderLogged), ..UpdateCluster::default() };
    world.client.update_cluster(&world.cluster, &logs).await.expect("changed");
    let problem = refused(world.client.update_cluster(&world.cluster, &align).await);
    assert_eq!((problem.code, problem.status), (ProblemCode::InvalidRequest, 422), "{problem}");

    report(1, &["p3"], &["p1"]);
    report(2, &[], &["p2"]);
    world.committed().await;
    let align = UpdateCluster { channel_state: Some(ChannelState::Marker), ..align };
    let changed = world.client.update_cluster(&world.cluster, &align).await.expect("changed");
    assert_eq!((changed.alignment, changed.channel_state), (Alignment::Aligned, ChannelState::Marker));
}

#[tokio::test]
async fn an_aligned_snapshot_whose_members_wait_for_each_other_is_aborted_long_before_its_deadline() {
    let world = World::start().await;
    world.create_cluster_with(2, |c| c.alignment = Alignment::Aligned).await;
    let waits = |from: &str| vec![MissingChannel { from: name(from), received: 3, expected: None, since_ms: 1_000 }];
    let agents = [Agent::start(&world, "p1").await, Agent::start(&world, "p2").await];
    world.first_committed().await;
    agents[0].behave(|b| b.on_snapshot = OnSnapshot::Progress(waits("p2")));
    agents[1].behave(|b| b.on_snapshot = OnSnapshot::Progress(waits("p1")));
    let snapshot = world.ended(&world.take().await).await;
    let abort = snapshot.abort.expect("it was aborted");
    assert_eq!(abort.reason, AbortReason::AlignmentCycle, "{abort:?}");
    assert!(abort.detail.contains("p1 -> p2 -> p1 form a cycle"), "{abort:?}");
    assert!(abort.detail.contains("stillframe cluster update"), "{abort:?}");
}

#[tokio::test]
async fn a_restore_gives_a_log_back_to_its_sender_but_for_what_had_arrived() {
    let world = World::start().await;
    world.create_cluster_with(2, |c| c.channel_state = ChannelState::SenderLogged).await;
    let agents = [Agent::start(&world, "p1").await, Agent::start(&world, "p2").await];
    world.first_committed().await;
    let report = |nth: usize, channels: Channels| agents[nth].behave(|b| b.on_snapshot = OnSnapshot::ReportChannels(channels));
    let log = || vec![(name("p2"), vec![3, 4, 5, 6])];
    report(0, Channels { sent: vec![Sent { to: name("p2"), messages: 6 }], received: Vec::new(), logged: log() });
    let received = vec![Received { from: name("p1"), ranges: ranges(&[1, 2, 5]) }];
    report(1, Channels { sent: Vec::new(), received: received.clone(), logged: Vec::new() });
    let snapshot = world.committed().await;
    assert_eq!((snapshot.state, snapshot.messages_in_flight), (SnapshotState::Committed, Some(3)));
    let verified = world.archive().await.verify_snapshot(&world.cluster, snapshot.id).await.expect("it verifies");
    assert_eq!(verified.manifest.parts[0].logged[0].ranges, ranges(&[3, 4, 5, 6]));
    assert_eq!(verified.manifest.parts[1].received, received, "the manifest has the numbers of the cut");

    agents.iter().for_each(|agent| agent.behave(|b| b.on_prepare = OnPrepare::Ignore));
    world.client.start_restore(&world.cluster, &StartRestore::to(snapshot.id)).await.expect("a restore");
    let prepared = async |nth: usize| {
        let asked = || match agents[nth].desired() {
            Some(Desired::Prepare(prepare)) => Some(prepare),
            _ => None,
        };
        world.until("a member that is to prepare", async || asked()).await
    };
    let (first, second) = (prepared(0).await, prepared(1).await);
    assert_eq!(first.sent, [Sent { to: name("p2"), messages: 3 }]);
    assert_eq!(second.received, [Received { from: name("p1"), ranges: SeqRanges::prefix(3) }]);
    assert_eq!(first.logged, [Logged { to: name("p2"), ranges: ranges(&[3, 4, 5, 6]), bytes: 4 }]);
    assert_eq!(first.arrived, [Arrived { to: name("p2"), ranges: ranges(&[5]) }]);
    assert!(second.logged.is_empty() && second.arrived.is_empty());
}
