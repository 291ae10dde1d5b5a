//! A cluster that nobody disturbs.

use std::collections::BTreeMap;

use stillframe_api::{
    HumanDuration,
    schedule::PutSchedule,
    snapshot::{MemberPhase, SnapshotState, TakeSnapshot, Trigger},
};
use stillframe_e2e::{World, process, wait::eventually};
use stillframe_protocol::name::ScheduleName;

use crate::options;

#[tokio::test]
async fn a_cluster_forms_takes_its_first_snapshot_by_itself_and_every_snapshot_adds_up() {
    let mut world = World::start(options()).await;

    let first = world.snapshots().await.first().expect("there is a first snapshot").id;
    let first = world.client().snapshot(first).await.expect("it is shown");
    assert_eq!(first.trigger, Trigger::Automatic);
    assert_eq!(first.state, SnapshotState::Committed);

    let labels = BTreeMap::from([("release".to_owned(), "1.4".to_owned())]);
    let request = TakeSnapshot { labels: labels.clone(), timeout: None };
    let asked = world.client().take_snapshot(world.name(), &request).await.expect("a snapshot is taken");
    let manual = world.committed(asked.id).await;
    assert_eq!(manual.trigger, Trigger::Request);
    assert_eq!(manual.labels, labels);
    assert!(manual.epoch > first.epoch, "epochs are allocated in order: {first:?}, {manual:?}");
    assert_eq!(manual.members.len(), 3);
    for member in &manual.members {
        assert_eq!(member.phase, MemberPhase::Reported, "{member:?}");
        assert!(member.bytes > 0 && member.missing.is_empty(), "{member:?}");
    }
    let audit = world.conserved(manual.id).await;
    assert_eq!(manual.messages_in_flight, Some(audit.messages_in_flight));
    let manifest = world.archive().await.read_manifest(world.name(), manual.id).await.expect("it has a manifest");
    assert_eq!(manifest.labels, labels);

    scheduled(&world).await;
    let last = world.take_committed().await;
    assert!(world.conserved(last.id).await.transfers > audit.transfers, "the members have gone on all the time");

    assert!(world.all_conserved().await >= 5);
    world.no_member_has_ended();
    verified_without_a_coordinator(&mut world, &last.id.to_string()).await;
}

/// A schedule takes its snapshots until it is deleted.
async fn scheduled(world: &World) {
    let (client, name) = (world.client(), "often".parse::<ScheduleName>().expect("a name"));
    let schedule = PutSchedule::every(HumanDuration::from_millis(150));
    client.put_schedule(world.name(), &name, &schedule).await.expect("the schedule is set");
    let of_schedule = Trigger::Schedule { schedule: name.to_string() };
    eventually("the schedule has taken three snapshots", async || {
        let snapshots = world.snapshots().await;
        let taken = snapshots.iter().filter(|it| it.trigger == of_schedule && it.state == SnapshotState::Committed).count();
        if taken >= 3 { Ok(()) } else { Err(format!("{taken} of them")) }
    })
    .await;
    let shown = client.schedule(world.name(), &name).await.expect("the schedule is shown");
    assert!(shown.last_snapshot.is_some() && shown.next_at > shown.last_slot_at, "{shown:?}");
    client.delete_schedule(world.name(), &name).await.expect("the schedule is deleted");
    let gone = client.schedule(world.name(), &name).await.expect_err("it is gone");
    assert_eq!(gone.problem().map(|problem| problem.status), Some(404));
}

/// `stillframe snapshot verify` needs the bucket and nothing else.
async fn verified_without_a_coordinator(world: &mut World, snapshot: &str) {
    world.coordinator.kill();
    let verify = process::command(world.program())
        .args(["snapshot", "verify", "--json"])
        .args(["--archive", &world.bucket.archive_url().to_string()])
        .args([world.name().as_str(), snapshot])
        .envs(world.bucket.environment())
        .output()
        .expect("the command runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&verify.stdout), String::from_utf8_lossy(&verify.stderr));
    assert!(verify.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains(snapshot) && stdout.contains(r#""verified":true"#), "{stdout}{stderr}");
}
