//! `snapshot verify` reads the archive alone, and lists everything that is wrong.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use stillframe_archive::{Archive, ArchiveUrl, EncodedObject, Manifest, ObjectKey, Part, Role};
use stillframe_protocol::{ClusterName, Epoch, Generation, Incarnation, MemberName, SnapshotId};
use tempfile::TempDir;

use crate::support::run;

/// An archive with two snapshots of one cluster, each of two members without any channel.
struct Fixture {
    dir: TempDir,
    snapshots: Vec<SnapshotId>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let snapshots = runtime.block_on(fill(dir.path()));
        Self { dir, snapshots }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().expect("UTF-8")
    }

    fn state(&self, snapshot: usize, member: &str) -> PathBuf {
        let snapshot = self.snapshots[snapshot];
        self.dir.path().join(format!("clusters/bank/snapshots/{snapshot}/parts/{member}.1/state"))
    }

    fn verify(&self, words: &[&str]) -> crate::support::Ran {
        run(&[&["snapshot", "verify", "--archive", self.path(), "bank"], words].concat())
    }
}

async fn fill(dir: &Path) -> Vec<SnapshotId> {
    let archive = Archive::open_or_create(&ArchiveUrl::from_dir(dir).expect("a directory")).await.expect("an archive");
    let cluster = ClusterName::new("bank").expect("a name");
    let mut snapshots = Vec::new();
    for epoch in [1, 2] {
        let snapshot = SnapshotId(uuid::Uuid::now_v7());
        let mut parts = Vec::new();
        for member in ["p1", "p2"] {
            let (member, incarnation) = (MemberName::new(member).expect("a name"), Incarnation(1));
            let state = EncodedObject::from_bytes(format!("the state of {member} in {epoch}").into_bytes().into());
            let key = ObjectKey::state_key(&cluster, snapshot, &member, incarnation);
            let (entry, to_put) = state.into_entry(Role::State, 0, key);
            let (key, object) = to_put.expect("nothing goes inline");
            archive.put(&key, &object).await.expect("it is stored");
            let (sent, received, recorded, logged, peers) = Default::default();
            parts.push(Part { member, incarnation, objects: vec![entry], sent, received, recorded, logged, peers });
        }
        let manifest = Manifest {
            format: stillframe_archive::FORMAT,
            archive: archive.id(),
            cluster: cluster.clone(),
            snapshot,
            epoch: Epoch(epoch),
            generation: Generation(1),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            parts,
            departed: Vec::new(),
        };
        archive.write_manifest(&manifest).await.expect("it is stored");
        snapshots.push(snapshot);
    }
    snapshots
}

#[test]
fn what_is_whole_is_verified_without_a_coordinator() {
    let fixture = Fixture::new();
    let ran = fixture.verify(&["--all"]).exits(0);
    assert_eq!(ran.stdout.matches("  verified  ").count(), 2, "{ran:?}");
    let one = fixture.snapshots[1].to_string();
    let verdict = fixture.verify(&[&one, "--json"]).exits(0).json();
    assert_eq!((&verdict["snapshot"], &verdict["verified"], &verdict["epoch"]), (&json!(one), &json!(true), &json!(2)));
    assert_eq!((&verdict["members"], &verdict["objects"], &verdict["problems"]), (&json!(2), &json!(2), &json!([])));
}

#[test]
fn everything_that_is_wrong_is_listed_with_its_key_and_exits_1() {
    let fixture = Fixture::new();
    fs::write(fixture.state(0, "p1"), "short").expect("it can be overwritten");
    fs::remove_file(fixture.state(0, "p2")).expect("it can be removed");
    let ran = fixture.verify(&["--all"]).exits(1).says(&["1 of 2 snapshots could not be verified"]);
    for says in ["NOT VERIFIED", "p1.1/state is truncated", "p2.1/state is missing"] {
        assert!(ran.stdout.contains(says), "{says}: {ran:?}");
    }
    let page = fixture.verify(&["--all", "--json"]).exits(1).json();
    assert_eq!(page["next_cursor"], json!(null));
    assert_eq!(page["items"][0]["problems"].as_array().map(Vec::len), Some(2), "{page}");
    assert_eq!(page["items"][1]["verified"], json!(true));
}

#[test]
fn a_snapshot_without_a_manifest_is_named() {
    let fixture = Fixture::new();
    let ran = fixture.verify(&["01890a5d-ac96-774b-bcce-b302099a8057"]).exits(1);
    assert!(ran.stdout.contains("manifest.json is missing"), "{ran:?}");
}

#[test]
fn all_of_a_cluster_without_snapshots_is_no_proof() {
    let fixture = Fixture::new();
    run(&["snapshot", "verify", "--archive", fixture.path(), "bnak", "--all"])
        .exits(1)
        .says(&["no snapshot of cluster bnak", "found snapshots of bank"]);
}

#[test]
fn a_place_that_is_no_archive_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_str().expect("UTF-8");
    run(&["snapshot", "verify", "--archive", path, "bank", "--all"]).exits(1).says(&["is not an archive", "format.json"]);
    run(&["snapshot", "verify", "--archive", "gs://x", "bank", "--all"]).exits(2).says(&["s3://bucket/prefix"]);
    run(&["snapshot", "verify", "--archive", "s3://AKIA:hunter2@b", "bank", "--all"]).exits(2).says(&["AWS_ACCESS_KEY_ID"]);
}

#[test]
fn a_bucket_that_cannot_be_reached_exits_5() {
    let url = "s3://bucket/x?endpoint=http://127.0.0.1:1&allow_http=true&region=us-east-1";
    let mut command = crate::support::stillframe(&["snapshot", "verify", "--archive", url, "bank", "--all", "--json"]);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "hunter2");
    let ran = crate::support::finish(command.spawn().expect("the command can be started")).exits(5);
    assert_eq!(ran.error()["code"], "unreachable");
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
}
