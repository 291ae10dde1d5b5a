//! The coordinator's archive: tried out at the start, shown, and the one that the database is the catalog of.

use stillframe_api::archive::CreateIfAbsent;
use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::{StartError, start};

use crate::harness::World;

#[tokio::test]
async fn the_store_is_tried_out_at_the_start_and_whenever_it_is_asked_for() {
    let world = World::start().await;
    let archive = world.archive().await;
    let shown = world.client.archive().await.expect("the archive");
    assert_eq!((shown.id, &shown.url, shown.format), (archive.id(), &archive.url().to_string(), 1));
    let at_start = shown.probe.expect("tried out at the start");
    assert!(at_start.multipart && at_start.delete && at_start.list_is_current);
    assert_eq!(at_start.create_if_absent, CreateIfAbsent::Exclusive);
    let anew = world.client.probe_archive().await.expect("tried out").probe.expect("a probe");
    assert!(anew.probed_at > at_start.probed_at);
    let left: Vec<_> = std::fs::read_dir(world.directory.path().join("archive/probe")).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_coordinator_that_is_given_another_archive_than_its_database_names_both_and_does_not_start() {
    let mut world = World::start().await;
    let expected = world.archive().await.id();
    world.stop_coordinator().await;
    let mut other = world.config.clone();
    other.archive = ArchiveUrl::from_dir(&world.directory.path().join("other")).expect("a URL");
    let error = start(other.clone()).await.expect_err("another archive");
    let found = stillframe_archive::Archive::open(&other.archive).await.expect("it was made").id();
    assert!(matches!(&error, StartError::OtherArchive { .. }), "{error}");
    for says in [expected.to_string(), found.to_string(), world.config.archive.to_string(), other.archive.to_string()] {
        assert!(error.to_string().contains(&says), "{says} is not in {error}");
    }
    // The same archive elsewhere is the same archive.
    let (from, to) = (world.directory.path().join("archive"), world.directory.path().join("moved"));
    std::fs::rename(from, &to).expect("moved");
    let mut moved = world.config.clone();
    moved.archive = ArchiveUrl::from_dir(&to).expect("a URL");
    start(moved).await.expect("it starts").stop().await;
}
