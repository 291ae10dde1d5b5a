//! A part's object that is corrupted, cut short or gone.

use stillframe_api::{
    restore::{RestorePhase, RestoreState},
    snapshot::Snapshot,
};
use stillframe_e2e::World;

use crate::options;

/// What happens to an object.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Corrupted,
    Truncated,
    Missing,
}

/// Takes a snapshot and harms the state of one of its members. Gives the snapshot and the key.
async fn harmed_snapshot(world: &World, harm: Harm, member: &str) -> (Snapshot, String) {
    let snapshot = world.take_committed().await;
    let keys = world.bucket.keys(&format!("{}/parts/{member}.", snapshot.id)).await;
    let key = keys.into_iter().find(|key| key.ends_with("/state")).expect("the state is an object of its own");
    match harm {
        Harm::Corrupted => world.bucket.corrupt(&key).await,
        Harm::Truncated => world.bucket.truncate(&key).await,
        Harm::Missing => world.bucket.delete(&key).await,
    }
    (snapshot, key)
}

async fn a_restore_fails_cleanly(harm: Harm) {
    let mut world = World::start(options().with_large_states()).await;
    let good = world.take_committed().await;
    let (bad, key) = harmed_snapshot(&world, harm, "b").await;
    let found = world.archive().await.verify_snapshot(world.name(), bad.id).await;
    assert!(found.expect_err("it doesn't verify").to_string().contains(&key), "{harm:?}");
    let before = world.running(1).await;

    let restore = world.restore_ended(world.start_restore(bad.id).await.id).await;

    assert_eq!(restore.state, RestoreState::Failed, "{harm:?}: {restore:?}");
    let failure = restore.failure.clone().expect("it says why");
    assert!(failure.contains(&key), "{harm:?}: {failure}");
    let b = restore.members.iter().find(|member| member.member.as_str() == "b").expect("b is in it");
    assert_eq!(b.phase, RestorePhase::Failed, "{restore:?}");
    assert!(b.error.as_ref().is_some_and(|error| error.contains(&key)), "{harm:?}: {b:?}");

    // The cluster goes on where it was, in its old generation, and nothing was given to any application.
    let after = world.running(before.generation.get()).await;
    assert_eq!(after.generation, before.generation);
    for member in world.members() {
        let sent = member.status().map_or(0, |status| status.sent);
        member.says("goes on", |status| status.sent > sent).await;
        let history = member.history();
        assert!(
            history.iter().all(|status| status.generation <= before.generation.get()),
            "{} has changed its generation",
            member.name()
        );
        assert!(history.windows(2).all(|pair| pair[0].sent <= pair[1].sent), "{} has gone back", member.name());
    }
    world.no_member_has_ended();
    let next = world.take_committed().await;
    world.conserved(next.id).await;

    // An older snapshot can still be restored, and the burned generation isn't used again.
    let restored = world.restored(good.id).await;
    assert!(restored.generation > restore.generation, "{restored:?}");
    world.members_run_in(restored.generation.get()).await;
    let last = world.take_committed().await;
    world.conserved(last.id).await;
    world.no_member_has_ended();
}

#[tokio::test]
async fn a_corrupted_object_fails_the_restore_before_anything_reaches_the_application() {
    a_restore_fails_cleanly(Harm::Corrupted).await;
}

#[tokio::test]
async fn a_truncated_object_fails_the_restore_before_anything_reaches_the_application() {
    a_restore_fails_cleanly(Harm::Truncated).await;
}

#[tokio::test]
async fn a_missing_object_fails_the_restore_before_anything_reaches_the_application() {
    a_restore_fails_cleanly(Harm::Missing).await;
}
