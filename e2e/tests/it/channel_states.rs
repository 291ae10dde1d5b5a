//! Clusters whose senders log what is under way, and clusters whose channels are aligned.

use stillframe_api::snapshot::{AbortReason, SnapshotState};
use stillframe_e2e::{World, wait::eventually};

use crate::options;

#[tokio::test]
async fn what_senders_logged_survives_sigkills_and_adds_up_from_the_bucket_alone() {
    let mut world = World::start(options().with_sender_logged_channels()).await;
    let (mut in_flight, mut transfers) = (0, 0);
    for (round, victim) in ["b", "c", "a"].into_iter().enumerate() {
        for _ in 0..3 {
            let committed = world.take_committed().await;
            let audit = world.conserved(committed.id).await;
            assert_eq!(committed.messages_in_flight, Some(audit.messages_in_flight));
            in_flight += audit.messages_in_flight;
            transfers = audit.transfers;
        }
        world.member_mut(victim).kill();
        world.member_mut(victim).start_again();
        let cluster = world.running(round as u64 + 2).await;
        world.members_run_in(cluster.generation.get()).await;
        let after = world.take_committed().await;
        assert!(world.conserved(after.id).await.transfers >= transfers, "nothing from before the snapshot is lost");
    }
    assert!(in_flight > 0, "no snapshot caught a message in flight: the test shows too little");
    world.all_conserved().await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn an_aligned_snapshot_of_channels_in_a_cycle_is_aborted_naming_the_cycle_and_the_members_go_on() {
    // Every member of the bank sends to every other one.
    let mut world = World::start_running(options().with_aligned_channels()).await;
    let aborted = eventually("a snapshot is aborted for its cycle", async || {
        let snapshots = world.snapshots().await;
        let cycle = |snapshot: &&stillframe_api::snapshot::Snapshot| {
            snapshot.abort.as_ref().is_some_and(|abort| abort.reason == AbortReason::AlignmentCycle)
        };
        if let Some(aborted) = snapshots.iter().find(cycle) {
            return Ok(aborted.clone());
        }
        if snapshots.iter().all(|snapshot| snapshot.state.has_ended()) {
            // The first one may have been taken before the channels were opened.
            world.take_snapshot().await;
        }
        Err(format!("{snapshots:?}"))
    })
    .await;
    assert_eq!(aborted.state, SnapshotState::Aborted);
    let detail = aborted.abort.expect("it says why").detail;
    assert!(["a", "b", "c"].iter().filter(|member| detail.contains(&format!("{member} -> "))).count() >= 2, "{detail}");
    world.no_member_has_ended();
}
