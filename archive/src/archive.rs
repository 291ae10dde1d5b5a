//! An archive, opened: its identity, what is in it, and reading manifests.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, multipart::MultipartStore, path::Path as StorePath};
use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, SnapshotId};
use uuid::Uuid;

use crate::{
    error::{ArchiveError, StoreCause, StoreFailure},
    key::{self, ObjectKey},
    location::ArchiveUrl,
    manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError},
    store::{self, Opened, StoreOptions},
};

/// The number of the archive's format, in `format.json` and in every manifest.
pub const FORMAT: u32 = 1;

pub(crate) const FORMAT_KEY: &str = "format.json";
const FORMAT_MAX_BYTES: u64 = 64 << 10;

/// An archive. Cheap to clone; all clones share one connection pool.
#[derive(Clone)]
pub struct Archive {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The same store, where its uploads in pieces have ids that others can abort them by: a bucket's have, a directory's haven't.
    pub(crate) uploads: Option<Arc<dyn MultipartStore>>,
    pub(crate) url: ArchiveUrl,
    pub(crate) id: Uuid,
    pub(crate) spill_dir: PathBuf,
}

#[derive(Deserialize)]
struct FormatNumber {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u64,
    archive: Uuid,
}

impl Archive {
    /// Opens the archive at a place, creating it (and the directory, for `file://`) when there is none.
    ///
    /// # Errors
    /// As [`Archive::open`], but never [`ArchiveError::NotAnArchive`] for an empty place; [`ArchiveError::NoBucket`] when the bucket doesn't
    /// exist. Doing it again is always safe.
    pub async fn open_or_create(url: &ArchiveUrl) -> Result<Self, ArchiveError> {
        Self::open_or_create_with(url, &StoreOptions::default()).await
    }

    /// As [`Archive::open_or_create`], with options.
    ///
    /// # Errors
    /// As [`Archive::open_or_create`].
    pub async fn open_or_create_with(url: &ArchiveUrl, options: &StoreOptions) -> Result<Self, ArchiveError> {
        if let Some(directory) = url.directory() {
            tokio::fs::create_dir_all(directory).await.map_err(|source| directory_failed(url, source))?;
        }
        Self::create_on(store::open(url, options).await?, url, options).await
    }

    /// Opens an archive that exists.
    ///
    /// # Errors
    /// [`ArchiveError::NotAnArchive`] when there is no archive, [`ArchiveError::NewerFormat`] when this version can't read it,
    /// [`ArchiveError::NoCredentials`] when S3 can't be asked at all, [`ArchiveError::Denied`] and [`ArchiveError::Unreachable`] as the store
    /// says.
    pub async fn open(url: &ArchiveUrl) -> Result<Self, ArchiveError> {
        Self::open_with(url, &StoreOptions::default()).await
    }

    /// As [`Archive::open`], with options.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub async fn open_with(url: &ArchiveUrl, options: &StoreOptions) -> Result<Self, ArchiveError> {
        if let Some(directory) = url.directory()
            && !tokio::fs::try_exists(directory).await.map_err(|source| directory_failed(url, source))?
        {
            return Err(not_an_archive(url, "no such directory"));
        }
        let opened = store::open(url, options).await?;
        match read_format(&*opened.store, url).await? {
            Some(id) => Ok(Self::new(opened, url, id, options)),
            None => Err(not_an_archive(url, "none")),
        }
    }

    /// Opens or creates an archive on a store that is there already: for tests, and for stores with a wrapper around them. The URL is only
    /// what messages call it by.
    ///
    /// # Errors
    /// As [`Archive::open_or_create`].
    pub async fn with_store(store: Arc<dyn ObjectStore>, url: &ArchiveUrl) -> Result<Self, ArchiveError> {
        Self::create_on(Opened { store, uploads: None }, url, &StoreOptions::default()).await
    }

    async fn create_on(opened: Opened, url: &ArchiveUrl, options: &StoreOptions) -> Result<Self, ArchiveError> {
        let store = &opened.store;
        if let Some(id) = read_format(&**store, url).await? {
            return Ok(Self::new(opened, url, id, options));
        }
        let format = Format { format: FORMAT.into(), archive: Uuid::now_v7() };
        let mut json = serde_json::to_vec(&format).map_err(|error| unusable(url, error))?;
        json.push(b'\n');
        let put =
            store.put_opts(&StorePath::from(FORMAT_KEY), Bytes::from(json).into(), object_store::PutMode::Create.into()).await;
        let failed = match put {
            Ok(_) => None,
            Err(error) => match StoreFailure::of(&error) {
                StoreFailure::Exists => None,
                StoreFailure::NotFound => return Err(ArchiveError::NoBucket { url: url.to_string() }),
                StoreFailure::Denied | StoreFailure::Unsupported | StoreFailure::OpenFiles | StoreFailure::Unavailable => {
                    Some(error)
                }
            },
        };
        // What counts is what is there now: another coordinator may have been first, or an answer got lost.
        match (read_format(&**store, url).await, failed) {
            (Ok(Some(id)), _) => Ok(Self::new(opened, url, id, options)),
            (_, Some(error)) => Err(store_error(url, error)),
            (Ok(None), None) => Err(not_an_archive(url, "none, though it was just written")),
            (Err(error), None) => Err(error),
        }
    }

    fn new(opened: Opened, url: &ArchiveUrl, id: Uuid, options: &StoreOptions) -> Self {
        let spill_dir = options.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
        Self { inner: Arc::new(Inner { store: opened.store, uploads: opened.uploads, url: url.clone(), id, spill_dir }) }
    }

    /// The archive's id, from its `format.json`: the same for everyone who opens it.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.inner.id
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &ArchiveUrl {
        &self.inner.url
    }

    /// Where objects beyond 1 MiB are kept while they are fetched.
    #[must_use]
    pub fn spill_dir(&self) -> &Path {
        &self.inner.spill_dir
    }

    /// Asks the store for the archive's `format.json`: whether it can be reached, and is still the same archive.
    ///
    /// # Errors
    /// As [`Archive::open`]; [`ArchiveError::OtherArchive`] when it has been replaced by another.
    pub async fn check(&self) -> Result<(), ArchiveError> {
        match read_format(&*self.inner.store, self.url()).await? {
            Some(id) if id == self.id() => Ok(()),
            Some(found) => Err(ArchiveError::OtherArchive { url: self.url().to_string(), expected: self.id(), found }),
            None => Err(not_an_archive(self.url(), "none")),
        }
    }

    /// Reads the manifest of a snapshot.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none, [`ArchiveError::Manifest`] when it can't be read, or is that of another archive,
    /// cluster or snapshot.
    pub async fn read_manifest(&self, cluster: &ClusterName, snapshot: SnapshotId) -> Result<Manifest, ArchiveError> {
        let key = ObjectKey::manifest_key(cluster, snapshot);
        let wrong = |source| ArchiveError::Manifest { key: key.to_string(), source };
        let Some(found) = self.get_if_there(&key.path()).await? else {
            return Err(ArchiveError::NotFound { key: key.to_string(), expected: "a manifest".to_owned() });
        };
        if found.meta.size > MAX_MANIFEST_BYTES {
            return Err(wrong(ManifestError::TooLong { found: found.meta.size }));
        }
        let bytes = found.bytes().await.map_err(|error| store_error(self.url(), error))?;
        let manifest = Manifest::from_bytes(&bytes).map_err(wrong)?;
        if (manifest.archive, &manifest.cluster, manifest.snapshot) != (self.id(), cluster, snapshot) {
            let name =
                |archive: Uuid, cluster: &ClusterName, snapshot| format!("snapshot {snapshot} of {cluster} in archive {archive}");
            return Err(wrong(ManifestError::OtherSnapshot {
                expected: name(self.id(), cluster, snapshot),
                found: name(manifest.archive, &manifest.cluster, manifest.snapshot),
            }));
        }
        Ok(manifest)
    }

    /// The snapshots that have a manifest, of one cluster or of all, sorted by cluster and id (which is by age).
    ///
    /// # Errors
    /// [`ArchiveError::Denied`] or [`ArchiveError::Unreachable`]; the list is whole or not at all.
    pub async fn manifests(&self, cluster: Option<&ClusterName>) -> Result<Vec<(ClusterName, SnapshotId)>, ArchiveError> {
        let prefix = StorePath::from(key::cluster_prefix(cluster));
        let mut objects = self.inner.store.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(object) = objects.try_next().await.map_err(|error| store_error(self.url(), error))? {
            found.extend(key::snapshot_of_manifest(object.location.as_ref()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// An object, or nothing when there is no such key.
    pub(crate) async fn get_if_there(&self, path: &StorePath) -> Result<Option<object_store::GetResult>, ArchiveError> {
        match self.inner.store.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => match StoreFailure::of(&error) {
                StoreFailure::NotFound => Ok(None),
                _ => Err(store_error(self.url(), error)),
            },
        }
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("url", self.url()).field("id", &self.id()).finish_non_exhaustive()
    }
}

async fn read_format(store: &dyn ObjectStore, url: &ArchiveUrl) -> Result<Option<Uuid>, ArchiveError> {
    let found = match store.get(&StorePath::from(FORMAT_KEY)).await {
        Ok(found) => found,
        Err(error) => {
            return match StoreFailure::of(&error) {
                StoreFailure::NotFound => Ok(None),
                _ => Err(store_error(url, error)),
            };
        }
    };
    if found.meta.size > FORMAT_MAX_BYTES {
        return Err(not_an_archive(url, &format!("one of {} bytes", found.meta.size)));
    }
    let bytes = found.bytes().await.map_err(|error| store_error(url, error))?;
    let something_else = |error| not_an_archive(url, &format!("something else ({error})"));
    // The number comes first: what the other fields mean depends on it.
    let FormatNumber { format } = serde_json::from_slice(&bytes).map_err(something_else)?;
    if format != u64::from(FORMAT) {
        return Err(ArchiveError::NewerFormat { url: url.to_string(), expected: FORMAT, found: format });
    }
    let Format { archive, .. } = serde_json::from_slice(&bytes).map_err(something_else)?;
    Ok(Some(archive))
}

fn not_an_archive(url: &ArchiveUrl, found: &str) -> ArchiveError {
    ArchiveError::NotAnArchive {
        url: url.to_string(),
        expected: format!("a {FORMAT_KEY} with format {FORMAT}"),
        found: found.to_owned(),
    }
}

fn unusable(url: &ArchiveUrl, error: impl std::error::Error + Send + Sync + 'static) -> ArchiveError {
    ArchiveError::Unusable { url: url.to_string(), source: Box::new(error) }
}

fn directory_failed(url: &ArchiveUrl, source: std::io::Error) -> ArchiveError {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            ArchiveError::Denied { url: url.to_string(), source: source.into() }
        }
        _ => unusable(url, source),
    }
}

/// What a store's error means where no key was asked for that may be missing.
pub(crate) fn store_error(url: &ArchiveUrl, error: object_store::Error) -> ArchiveError {
    let (failure, url, source) = (StoreFailure::of(&error), url.to_string(), StoreCause::of(error));
    match failure {
        StoreFailure::Denied => ArchiveError::Denied { url, source },
        StoreFailure::Unsupported => ArchiveError::Unusable { url, source },
        StoreFailure::OpenFiles => ArchiveError::OpenFiles { url, source },
        StoreFailure::NotFound | StoreFailure::Exists | StoreFailure::Unavailable => ArchiveError::Unreachable { url, source },
    }
}
