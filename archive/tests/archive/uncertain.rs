//! An unknown outcome is never treated as a failure, nor as a success.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use proptest::prelude::*;
use stillframe_archive::{Archive, ArchiveError, ArchiveUrl, EncodedObject, ObjectKey, UploadLog};
use stillframe_protocol::Incarnation;

use crate::{
    fixture::{self, cluster, member, noise, snapshot},
    places::Place,
    s3_server::Fault,
};

fn key() -> ObjectKey {
    ObjectKey::state_key(&cluster("bank"), snapshot(1), &member("p1"), Incarnation(1))
}

pub(crate) async fn writers_that_race_agree_on_one_content(place: Place) {
    let archive = place.archive().await;
    let objects: Vec<_> = (0..6).map(|seed| EncodedObject::from_bytes(noise(seed, 1_000))).collect();
    let key = key();
    let done = futures::future::join_all(objects.iter().map(|object| archive.put(&key, object))).await;
    let winners: Vec<_> = objects.iter().zip(&done).filter(|(_, done)| done.is_ok()).map(|(object, _)| object).collect();
    let [winner] = winners[..] else { panic!("{done:?}") };
    let stored = std::fs::read(place.file(key.as_str())).expect("the object");
    assert_eq!(stillframe_archive::Digest::of(&stored), winner.digest());
    let conflicts = done.iter().filter(|done| matches!(done, Err(ArchiveError::Conflict { .. }))).count();
    assert_eq!(conflicts, objects.len() - 1, "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_answer_was_lost_is_resolved_by_reading_back() {
    let place = Place::s3().await;
    let archive = place.archive().await;
    let server = place.server.as_ref().expect("the S3 server");
    for (length, fault) in [(1_000, Fault::LosePut), (9 << 20, Fault::LoseCompletion)] {
        let key = ObjectKey::state_key(&cluster("bank"), snapshot(length as u128), &member("p1"), Incarnation(1));
        server.break_next(fault);
        archive.put(&key, &EncodedObject::from_bytes(noise(1, length))).await.expect("it was done");
        assert!(server.has_broken());
    }
    let manifest = fixture::parts(&archive, "bank", 1).await;
    server.break_next(Fault::LosePut);
    archive.write_manifest(&manifest).await.expect("it was done");
    assert!(server.has_broken());
    archive.verify_snapshot(&manifest.cluster, manifest.snapshot).await.expect("all there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_or_is_given_up_leaves_no_pieces() {
    let place = Place::s3().await;
    let archive = place.archive().await;
    let server = place.server.as_ref().expect("the S3 server");
    let object = EncodedObject::from_bytes(noise(1, 20 << 20));

    server.break_next(Fault::RefusePiece);
    let error = archive.put(&key(), &object).await.expect_err("a piece was refused");
    assert!(matches!(error, ArchiveError::Denied { .. }), "{error}");
    assert_eq!(place.unfinished_uploads(), 0);

    server.break_next(Fault::HangAtPiece);
    let given_up = tokio::spawn({
        let (archive, object) = (archive.clone(), object.clone());
        async move { archive.put(&key(), &object).await }
    });
    // The second of three pieces hangs. The others have to be there: one that came after the abort would stay, in this store as in S3.
    until("the upload hangs", || server.has_broken() && place.unfinished_uploads() == 3).await;
    given_up.abort();
    until("its pieces are gone", || place.unfinished_uploads() == 0).await;

    archive.put(&key(), &object).await.expect("nothing is in the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_the_store_could_not_be_told_to_abort_is_aborted_when_it_can() {
    let place = Place::s3().await;
    let archive = place.archive().await;
    let server = place.server.as_ref().expect("the S3 server");
    server.break_next(Fault::RefusePiece);
    // More than are tried again by themselves.
    server.be_busy_at_aborts(9);
    let object = EncodedObject::from_bytes(noise(1, 20 << 20));
    archive.put(&key(), &object).await.expect_err("a piece was refused");
    assert!(server.busy_aborts() > 0 && place.unfinished_uploads() > 0, "it is busy still");
    until("its pieces are gone", || place.unfinished_uploads() == 0).await;
}

/// Keeps what it is told; says whether the object is wanted.
struct Log {
    wanted: bool,
    begun: std::sync::Mutex<Option<String>>,
    ended: AtomicU64,
}

impl Log {
    fn new(wanted: bool) -> Arc<Self> {
        Arc::new(Self { wanted, begun: std::sync::Mutex::default(), ended: AtomicU64::new(0) })
    }
}

impl UploadLog for Log {
    async fn begun(&self, told: &ObjectKey, upload: &str) -> bool {
        assert_eq!(*told, key());
        *self.begun.lock().expect("unpoisoned") = Some(upload.to_owned());
        self.wanted
    }

    async fn ended(&self, _: &ObjectKey, upload: &str) {
        assert_eq!(self.begun.lock().expect("unpoisoned").as_deref(), Some(upload));
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_told_of_an_upload_in_pieces_before_the_first_can_abort_it() {
    let place = Place::s3().await;
    let archive = place.archive().await;
    let server = place.server.as_ref().expect("the S3 server");
    let object = EncodedObject::from_bytes(noise(1, 20 << 20));

    let unwanted = Log::new(false);
    let error = archive.put_logged(&key(), &object, &*unwanted).await.expect_err("it isn't wanted");
    assert!(matches!(error, ArchiveError::Unwanted { .. }), "{error}");
    assert_eq!((place.unfinished_uploads(), place.file(key().as_str()).exists()), (0, false));

    server.break_next(Fault::HangAtPiece);
    let log = Log::new(true);
    let hanging = tokio::spawn({
        let (archive, object, log) = (archive.clone(), object.clone(), log.clone());
        async move { archive.put_logged(&key(), &object, &*log).await }
    });
    // The second of three pieces hangs. The others have to be there: one that came after the abort would stay, in this store as in S3.
    until("the upload hangs", || server.has_broken() && place.unfinished_uploads() == 3).await;
    let upload = log.begun.lock().expect("unpoisoned").clone().expect("told before the first piece");
    assert!(archive.abort_upload(&key(), &upload).await.expect("aborted"));
    until("its pieces are gone", || place.unfinished_uploads() == 0).await;
    hanging.abort();

    let log = Log::new(true);
    archive.put_logged(&key(), &object, &*log).await.expect("nothing is in the way");
    assert_eq!(log.ended.load(Ordering::Relaxed), 1);
    // Small objects go in one request.
    let small = ObjectKey::channels_key(&cluster("bank"), snapshot(1), &member("p1"), Incarnation(1));
    archive.put_logged(&small, &EncodedObject::from_bytes(noise(1, 1_000)), &*Log::new(false)).await.expect("no pieces");
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
    let held = async {
        while !holds() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), held).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_unreachable_and_a_bucket_that_is_not_there_is_named() {
    let mut place = Place::s3().await;
    let url = place.url.to_string().replace("s3://bucket", "s3://no-such-bucket").parse().expect("a URL");
    let error = Archive::open_or_create_with(&url, &place.options).await.expect_err("no bucket");
    assert!(matches!(error, ArchiveError::NoBucket { .. }), "{error}");

    place.archive().await;
    place.options.credentials.as_mut().expect("credentials").secret_access_key = "wrong".into();
    let error = Archive::open_with(&place.url, &place.options).await.expect_err("wrong credentials");
    assert!(matches!(error, ArchiveError::Denied { .. }) && error.to_string().contains("AWS_"), "{error}");
    assert!(!error.is_transient());

    place.server = None;
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let url = place.url.to_string();
    let start = url.find("127.0.0.1").expect("the endpoint");
    let end = start + url[start..].find('&').expect("more parameters");
    let nobody: ArchiveUrl = format!("{}{port}{}", &url[..start], &url[end..]).parse().expect("a URL");
    let error = Archive::open_with(&nobody, &place.options).await.expect_err("nobody listens");
    assert!(matches!(error, ArchiveError::Unreachable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains(&port.port().to_string()), "{error}");
}

/// What happens to one put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    DoneAndAnswered,
    DoneAndLost,
    NotDone,
    /// The store has no create-if-absent.
    Unsupported,
}

/// A store in memory whose puts have drawn fates, and are fine after those.
#[derive(Debug)]
struct Fateful {
    store: InMemory,
    fates: Vec<Fate>,
    puts: AtomicU64,
}

impl fmt::Display for Fateful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store with fates")
    }
}

fn lost() -> Error {
    Error::Generic { store: "fateful", source: "the answer was lost".into() }
}

#[async_trait]
impl ObjectStore for Fateful {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        // The archive's own file isn't what this is about.
        if location.as_ref() == "format.json" {
            return self.store.put_opts(location, payload, opts).await;
        }
        let put = self.puts.fetch_add(1, Ordering::Relaxed) as usize;
        match self.fates.get(put).copied().unwrap_or(Fate::DoneAndAnswered) {
            Fate::Unsupported if matches!(opts.mode, PutMode::Create) => {
                Err(Error::NotImplemented { operation: "create".to_owned(), implementer: self.to_string() })
            }
            Fate::DoneAndAnswered | Fate::Unsupported => self.store.put_opts(location, payload, opts).await,
            Fate::DoneAndLost => {
                self.store.put_opts(location, payload, opts).await?;
                Err(lost())
            }
            Fate::NotDone => Err(lost()),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_put_that_is_repeated_until_it_succeeds_does_so_whatever_was_lost(
        fates in proptest::collection::vec(
            prop_oneof![Just(Fate::DoneAndAnswered), Just(Fate::DoneAndLost), Just(Fate::NotDone), Just(Fate::Unsupported)],
            0..8,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let store = Arc::new(Fateful { store: InMemory::new(), fates, puts: AtomicU64::new(0) });
            let url = "s3://in-memory".parse().expect("a URL");
            let archive = Archive::with_store(store.clone(), &url).await.expect("opened");
            let (right, wrong) = (EncodedObject::from_bytes(noise(1, 50)), EncodedObject::from_bytes(noise(2, 50)));
            let mut rounds = 0;
            while let Err(error) = archive.put(&key(), &right).await {
                prop_assert!(error.is_transient(), "{}", error);
                rounds += 1;
                prop_assert!(rounds <= 8);
            }
            let done = archive.put(&key(), &wrong).await;
            prop_assert!(matches!(done, Err(ArchiveError::Conflict { .. })), "{:?}", done);
            let (entry, _) = right.into_entry(stillframe_archive::Role::State, 0, key());
            prop_assert_eq!(archive.get(&entry).await.expect("got").into_bytes().expect("bytes"), noise(1, 50));
            Ok(())
        })?;
    }
}
