//! The tests' own S3 server: it must be more exact than what is tested with it.

use std::time::Duration;

use bytes::Bytes;
use object_store::{
    Attributes, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart, path::Path,
};
use stillframe_e2e::s3::{Failure, Operation, Point, Requests, S3Server};

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, attributes: Attributes::default(), ..PutOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_create_one_object_exactly_one_succeeds() {
    let server = S3Server::start();
    let store = server.bucket("race").store();
    for round in 0..5 {
        let key = Path::from(format!("archive/{round}"));
        let writers = (0..16u8).map(|writer| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(
                async move { store.put_opts(&key, PutPayload::from(vec![writer; 5_000]), create()).await.map(|_| writer) },
            )
        });
        let mut winners = Vec::new();
        for outcome in futures::future::join_all(writers).await {
            match outcome.expect("no panic") {
                Ok(writer) => winners.push(writer),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let [winner] = winners[..] else { panic!("{winners:?} have all created {key}") };
        assert_eq!(store.get(&key).await.expect("it is there").bytes().await.expect("it is read"), vec![winner; 5_000]);
    }
}

#[tokio::test]
async fn a_request_with_a_wrong_signature_is_refused() {
    let server = S3Server::start();
    drop(server.bucket("locked"));
    let stranger = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(server.endpoint())
        .with_allow_http(true)
        .with_bucket_name("locked")
        .with_access_key_id("stillframe-e2e")
        .with_secret_access_key("guessed")
        .build()
        .expect("a client");
    let refused = stranger.put(&Path::from("x"), PutPayload::from_static(b"x")).await.expect_err("it is refused");
    assert!(matches!(refused, Error::PermissionDenied { .. }), "{refused}");
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_takes_nothing_and_gives_nothing() {
    let server = S3Server::start();
    let elsewhere = server.bucket("here").in_bucket("elsewhere").store();
    let key = Path::from("x");
    assert!(matches!(elsewhere.put(&key, PutPayload::from_static(b"x")).await, Err(Error::NotFound { .. })));
    assert!(matches!(elsewhere.get(&key).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_read_with_a_precondition_that_does_not_hold_is_refused() {
    let server = S3Server::start();
    let store = server.bucket("conditions").store();
    let key = Path::from("x");
    let first = store.put(&key, PutPayload::from_static(b"one")).await.expect("it is put").e_tag;
    store.put(&key, PutPayload::from_static(b"two")).await.expect("it is put");

    let wants_first = GetOptions { if_match: first.clone(), ..GetOptions::default() };
    let refused = store.get_opts(&key, wants_first).await.expect_err("it has changed");
    assert!(matches!(refused, Error::Precondition { .. }), "{refused}");
    let wants_another = GetOptions { if_none_match: first, ..GetOptions::default() };
    assert_eq!(store.get_opts(&key, wants_another).await.expect("it has changed").bytes().await.expect("it is read"), "two");
    let now = store.head(&key).await.expect("it is there").e_tag;
    let wants_another = GetOptions { if_none_match: now, ..GetOptions::default() };
    let refused = store.get_opts(&key, wants_another).await.expect_err("it is the same");
    assert!(matches!(refused, Error::NotModified { .. }), "{refused}");
}

#[tokio::test]
async fn a_large_object_goes_up_in_parts_and_comes_back_whole_or_in_ranges() {
    let server = S3Server::start();
    let store = server.bucket("large").store();
    let key = Path::from("x");
    let bytes: Vec<u8> = (0..6_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut upload = WriteMultipart::new(store.put_multipart(&key).await.expect("it begins"));
    upload.write(&bytes);
    upload.finish().await.expect("it is complete");
    assert_eq!(server.gate().count(&Requests::of(Operation::CompleteUpload)), 1);
    assert!(server.gate().count(&Requests::of(Operation::UploadPart)) > 1);
    assert!(store.get(&key).await.expect("it is there").bytes().await.expect("it is read") == bytes);
    assert_eq!(store.get_range(&key, 255..258).await.expect("it is there"), bytes[255..258]);
}

#[tokio::test]
async fn a_held_request_is_carried_out_when_it_is_let_through_even_if_its_client_is_gone() {
    let server = S3Server::start();
    let store = server.bucket("late").store();
    let key = Path::from("parts/a/state");
    let held = server.gate().hold(Requests::writes().key_with("parts/a"), Point::BeforeTheWork, 1);
    let client = tokio::spawn({
        let (store, key) = (store.clone(), key.clone());
        async move { store.put(&key, PutPayload::from_static(b"late")).await }
    });
    held.arrived(1).await;
    // Others go past.
    store.put(&Path::from("parts/b/state"), PutPayload::from_static(b"b")).await.expect("it isn't held");
    client.abort();
    assert!(client.await.expect_err("it was cancelled").is_cancelled());
    assert!(matches!(store.head(&key).await, Err(Error::NotFound { .. })));
    held.let_through();
    stillframe_e2e::wait::eventually("the object is there", async || store.head(&key).await.map_err(|error| error.to_string()))
        .await;
}

#[tokio::test]
async fn a_held_request_that_is_thrown_away_leaves_no_trace_and_one_held_before_its_answer_does() {
    let server = S3Server::start();
    let store = server.bucket("lost").store();
    for (point, done) in [(Point::BeforeTheWork, false), (Point::BeforeTheAnswer, true)] {
        let key = Path::from(format!("x-{done}"));
        let held = server.gate().hold(Requests::writes(), point, 1);
        let client = tokio::spawn({
            let (store, key) = (store.clone(), key.clone());
            async move { store.put(&key, PutPayload::from_static(b"x")).await }
        });
        held.arrived(1).await;
        client.abort();
        drop(client.await);
        held.throw_away();
        assert_eq!(store.head(&key).await.is_ok(), done, "{point:?}");
    }
}

#[tokio::test]
async fn a_failing_gate_answers_with_an_error_until_it_is_dropped() {
    let server = S3Server::start();
    let bucket = server.bucket("failing");
    bucket.overwrite("x", Bytes::from_static(b"x")).await;
    let failing = server.gate().fail(Requests::of(Operation::Get), Point::BeforeTheWork, Failure::AccessDenied);
    let key = Path::from("archive/x");
    let refused = bucket.store().get(&key).await.expect_err("it fails");
    assert!(matches!(refused, Error::PermissionDenied { .. }), "{refused}");
    failing.arrived(1).await;
    drop(failing);
    bucket.store().get(&key).await.expect("it doesn't fail any more");
    // A busy store is asked again by the client.
    let failing = server.gate().fail(Requests::of(Operation::Get), Point::BeforeTheWork, Failure::SlowDown);
    let reading = tokio::spawn({
        let (store, key) = (bucket.store(), key.clone());
        async move { store.get(&key).await.map(drop) }
    });
    failing.arrived(2).await;
    drop(failing);
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it ends").expect("no panic").expect("it succeeds");
}

#[tokio::test]
async fn objects_are_listed_read_harmed_and_deleted_by_hand() {
    let server = S3Server::start();
    let bucket = server.bucket("by-hand");
    for key in ["clusters/bank/b", "clusters/bank/a", "format.json"] {
        bucket.overwrite(key, Bytes::from_static(b"12345678")).await;
    }
    assert_eq!(bucket.keys("").await, ["clusters/bank/a", "clusters/bank/b", "format.json"]);
    assert_eq!(bucket.keys("bank/").await, ["clusters/bank/a", "clusters/bank/b"]);
    bucket.corrupt("clusters/bank/a").await;
    let corrupted = bucket.read("clusters/bank/a").await;
    assert_eq!(corrupted.len(), 8);
    assert_ne!(corrupted, "12345678");
    bucket.truncate("clusters/bank/b").await;
    assert_eq!(bucket.read("clusters/bank/b").await, "1234");
    bucket.delete("clusters/bank/b").await;
    assert_eq!(bucket.keys("bank/").await, ["clusters/bank/a"]);
}
