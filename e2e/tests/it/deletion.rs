//! SIGKILL of the coordinator in the middle of a deletion.

use stillframe_api::snapshot::SnapshotState;
use stillframe_e2e::{
    World,
    s3::{Operation, Point, Requests},
    wait::eventually,
};

use crate::options;

#[tokio::test]
async fn a_deletion_goes_on_wherever_the_coordinator_was_killed_in_it() {
    let mut world = World::start(options().with_large_states()).await;
    let mut deleted = Vec::new();
    for (what, point) in [
        ("manifest.json", Point::BeforeTheWork),
        ("manifest.json", Point::BeforeTheAnswer),
        ("/parts/", Point::BeforeTheWork),
        ("/parts/", Point::BeforeTheAnswer),
    ] {
        let old = world.take_committed().await;
        world.take_committed().await;
        let held = world.gate().hold(Requests::of(Operation::Delete).key_with(old.id.to_string()).key_with(what), point, 1);
        world.client().delete_snapshot(old.id).await.expect("it may go");
        held.arrived(1).await;
        world.coordinator.kill();
        held.throw_away();
        world.coordinator.start_again().await;
        eventually("the snapshot is deleted", async || {
            match world.client().snapshot(old.id).await.map_err(|error| error.to_string())?.state {
                SnapshotState::Deleted => Ok(()),
                state => Err(format!("it is {state}")),
            }
        })
        .await;
        deleted.push(old.id);
    }
    for id in deleted {
        assert_eq!(world.bucket.keys(&id.to_string()).await, Vec::<String>::new());
    }
    world.all_conserved().await;
    world.no_member_has_ended();
}
