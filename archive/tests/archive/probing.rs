//! Trying out what a store does: good ones, poor ones, and those that lie.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use stillframe_archive::{Archive, CreateIfAbsent, Probe, ProbeError};

use crate::places::Place;

/// How a store isn't what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Puts are acknowledged, and nothing is stored.
    LosesPuts,
    /// Puts are acknowledged, and half of the bytes are stored.
    Truncates,
    /// Creators are told the opposite of what happened.
    MixesCreatorsUp,
    /// The last piece of an upload goes missing.
    LosesPieces,
    /// Deletes are acknowledged, and the object stays.
    KeepsDeleted,
    IgnoresConditions,
    NoConditions,
    NoPieces,
    NoDeletes,
    /// Listings show nothing yet.
    ListsLate,
    Away,
}

#[derive(Debug)]
struct Flawed {
    store: Arc<InMemory>,
    flaw: Flaw,
    raced: AtomicBool,
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store with a flaw: {:?}", self.flaw)
    }
}

fn unsupported(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "flawed".to_owned() }
}

fn away() -> Error {
    Error::Generic { store: "flawed", source: "away".into() }
}

fn answered() -> PutResult {
    PutResult { e_tag: None, version: None, extensions: Default::default() }
}

#[async_trait]
impl ObjectStore for Flawed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        if location.as_ref() == "format.json" {
            return self.store.put_opts(location, payload, opts).await;
        }
        let creates = matches!(opts.mode, PutMode::Create);
        match self.flaw {
            Flaw::Away => return Err(away()),
            Flaw::LosesPuts => return Ok(answered()),
            Flaw::Truncates => {
                let bytes: Bytes = payload.into();
                return self.store.put_opts(location, bytes.slice(..bytes.len() / 2).into(), opts).await;
            }
            Flaw::NoConditions if creates => return Err(unsupported("create")),
            Flaw::IgnoresConditions => opts.mode = PutMode::Overwrite,
            Flaw::MixesCreatorsUp if creates => {
                let stored = self.store.put_opts(location, payload, opts).await;
                // The first is told that it was too late, the second that it created the key.
                return match (stored, self.raced.swap(true, Ordering::SeqCst)) {
                    (Ok(_), _) => Err(Error::AlreadyExists { path: location.to_string(), source: "told so".into() }),
                    (Err(_), true) => Ok(answered()),
                    (Err(error), false) => Err(error),
                };
            }
            Flaw::MixesCreatorsUp
            | Flaw::NoConditions
            | Flaw::None
            | Flaw::LosesPieces
            | Flaw::KeepsDeleted
            | Flaw::NoPieces
            | Flaw::NoDeletes
            | Flaw::ListsLate => {}
        }
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        match self.flaw {
            Flaw::NoPieces => Err(unsupported("multipart")),
            Flaw::LosesPieces => {
                let upload = self.store.put_multipart_opts(location, opts).await?;
                Ok(Box::new(FirstPieceOnly { upload, pieces: 0 }))
            }
            _ => self.store.put_multipart_opts(location, opts).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.flaw {
            Flaw::KeepsDeleted => locations,
            Flaw::NoDeletes => {
                locations.map(|path| Err(Error::PermissionDenied { path: path?.to_string(), source: "no".into() })).boxed()
            }
            _ => self.store.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.flaw {
            Flaw::ListsLate => stream::empty().boxed(),
            _ => self.store.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FirstPieceOnly {
    upload: Box<dyn MultipartUpload>,
    pieces: u32,
}

#[async_trait]
impl MultipartUpload for FirstPieceOnly {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        self.pieces += 1;
        if self.pieces == 1 { self.upload.put_part(data) } else { Box::pin(async { Ok(()) }) }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

async fn probe(flaw: Flaw) -> (std::result::Result<Probe, ProbeError>, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    let flawed = Arc::new(Flawed { store: store.clone(), flaw, raced: AtomicBool::new(false) });
    let archive = Archive::with_store(flawed, &"s3://in-memory".parse().expect("a URL")).await.expect("opened");
    (archive.probe().await, store)
}

async fn left(store: &InMemory) -> usize {
    store.list(Some(&Path::from("probe"))).count().await
}

#[tokio::test]
async fn a_store_that_loses_what_it_acknowledged_is_refused_with_what_was_expected_and_found() {
    for (flaw, says) in [
        (Flaw::LosesPuts, "an object that was put, 1024 bytes, found nothing"),
        (Flaw::Truncates, "found 512 bytes that were not written there"),
        (Flaw::MixesCreatorsUp, "who were told that theirs were stored, found those of another"),
        (Flaw::LosesPieces, "an object that was put in two pieces"),
        (Flaw::KeepsDeleted, "expected nothing where an object was deleted, found 1024 bytes"),
    ] {
        let (found, _) = probe(flaw).await;
        let error = found.expect_err("a lie");
        assert!(matches!(error, ProbeError::Loses { .. }) && !error.is_transient(), "{flaw:?}: {error}");
        assert!(error.to_string().contains(says) && error.to_string().contains("s3://in-memory"), "{flaw:?}: {error}");
    }
}

#[tokio::test]
async fn a_store_that_can_not_do_everything_is_found_out_and_nothing_stays() {
    for flaw in [Flaw::None, Flaw::IgnoresConditions, Flaw::NoConditions, Flaw::NoPieces, Flaw::NoDeletes, Flaw::ListsLate] {
        let (found, store) = probe(flaw).await;
        let found = found.unwrap_or_else(|error| panic!("{flaw:?}: {error}"));
        let create = match flaw {
            Flaw::IgnoresConditions => CreateIfAbsent::Ignored,
            Flaw::NoConditions => CreateIfAbsent::Unsupported,
            _ => CreateIfAbsent::Exclusive,
        };
        assert_eq!(found.create_if_absent, create, "{flaw:?}");
        assert_eq!(
            (found.multipart, found.delete, found.list_is_current),
            (flaw != Flaw::NoPieces, flaw != Flaw::NoDeletes, flaw != Flaw::ListsLate),
            "{flaw:?}"
        );
        if !matches!(flaw, Flaw::NoDeletes | Flaw::ListsLate) {
            assert_eq!(left(&store).await, 0, "{flaw:?}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_not_called_a_liar() {
    let (found, _) = probe(Flaw::Away).await;
    let error = found.expect_err("it is away");
    assert!(matches!(error, ProbeError::Archive(_)) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn what_a_probe_that_was_killed_left_is_removed_by_a_later_one_and_what_one_under_way_has_is_not() {
    let store = Arc::new(InMemory::new());
    let archive = Archive::with_store(store.clone(), &"s3://in-memory".parse().expect("a URL")).await.expect("opened");
    let under_way = uuid::Uuid::now_v7();
    for id in ["0190163d-8694-739b-aea5-966c26f8ad90".to_owned(), under_way.to_string()] {
        store.put(&Path::from(format!("probe/{id}/small")), "left".into()).await.expect("put");
    }
    archive.probe().await.expect("a good store");
    let left: Vec<String> =
        store.list(Some(&Path::from("probe"))).map(|o| o.expect("listed").location.to_string()).collect().await;
    assert_eq!(left, [format!("probe/{under_way}/small")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_and_a_bucket_are_tried_out_by_several_at_once_and_left_as_they_were() {
    for place in [Place::directory(), Place::s3().await] {
        let archive = place.archive().await;
        let before = place.everything();
        let (one, other) = tokio::join!(archive.probe(), archive.probe());
        for found in [one, other] {
            let found = found.expect("a good store");
            assert!(found.multipart && found.delete && found.list_is_current, "{found:?}");
        }
        let stays: Vec<String> = place.everything().into_iter().filter(|key| !before.contains(key)).collect();
        assert!(stays.iter().all(|key| key == "probe" || !key.contains('.')), "{stays:?}");
        assert_eq!(archive.manifests(None).await.expect("a list"), []);
    }
}
