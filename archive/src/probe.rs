//! What the store really does, tried out: some S3-compatible stores ignore what they are asked, or answer before it is done. A store that loses
//! what it acknowledged is told apart from one that can't be reached just now.
//!
//! Everything happens under `probe/<id>/`, which is removed afterwards; what a probe that was killed left is removed by a later one.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future};
use jiff::Timestamp;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutPayload, path::Path as StorePath};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    archive::{Archive, store_error},
    error::{ArchiveError, StoreFailure},
};

/// What the keys of all probes begin with.
const PROBE: &str = "probe";

/// How many writers race for one key.
const WRITERS: u8 = 6;

/// Bytes of the small objects.
const SMALL_BYTES: usize = 1 << 10;

/// S3 wants every piece but the last to have 5 MiB; a directory doesn't mind.
const BUCKET_PIECE_BYTES: usize = 5 << 20;

/// No probe lasts longer: what an older one left has no owner.
const LONGEST: Duration = Duration::from_secs(3600);

/// What came of writers who each wanted to create the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateIfAbsent {
    /// Exactly one of them did.
    Exclusive,
    /// Several were told that they did: the condition is ignored, or races. Nothing rests on it; it is only a guard less.
    Ignored,
    /// The store refuses conditions.
    Unsupported,
}

impl CreateIfAbsent {
    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Ignored => "ignored",
            Self::Unsupported => "unsupported",
        }
    }
}

/// What a store was found to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it was tried out, by this machine's clock.
    pub probed_at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long the first small put took, in milliseconds.
    pub put_ms: u64,
    /// Writers who want to create the same key.
    pub create_if_absent: CreateIfAbsent,
    /// Whether a listing shows what was just put, and doesn't what was just deleted.
    pub list_is_current: bool,
    /// Whether objects can be put in pieces; without, no object of more than 8 MiB can be stored.
    pub multipart: bool,
    /// Whether objects can be deleted; without, nothing is ever collected.
    pub delete: bool,
}

/// Why a store wasn't found good.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It loses what it acknowledged: no snapshot is safe there.
    #[error(
        "the store at {url} loses what it acknowledges: {expected}, found {found}; use another, or mend it (a cache or a proxy before it, \
         perhaps)"
    )]
    Loses {
        /// The archive.
        url: String,
        /// What it had acknowledged.
        expected: String,
        /// What was there.
        found: String,
    },
    /// It couldn't be tried out to the end.
    #[error("the store could not be tried out: {0}")]
    Archive(#[from] ArchiveError),
}

impl ProbeError {
    /// Whether trying again can help: nothing was found wrong with the store.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Loses { .. } => false,
            Self::Archive(error) => error.is_transient(),
        }
    }
}

/// Bytes that no other probe writes, and no store has by chance.
fn noise(id: Uuid, nth: u8, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(id.as_bytes()).update(&[nth]).finalize_xof().fill(&mut bytes);
    bytes.into()
}

struct Probing<'a> {
    archive: &'a Archive,
    id: Uuid,
}

impl Archive {
    /// Tries out what the store does: read after write, list after put, create-if-absent raced by several writers, an upload in pieces, delete.
    /// Takes some twenty requests and, in a bucket, 5 MiB. Several at once, also from several machines, don't disturb each other.
    ///
    /// # Errors
    /// [`ProbeError::Loses`] when something acknowledged wasn't there, or another than was written; [`ProbeError::Archive`] when the store can't be
    /// reached, or refuses to be written.
    pub async fn probe(&self) -> Result<Probe, ProbeError> {
        let probing = Probing { archive: self, id: Uuid::now_v7() };
        let found = probing.run().await;
        // Best effort: what stays is removed by a later probe.
        if let Err(error) = probing.remove(&probing.prefix()).await {
            tracing::debug!(%error, "what the probe wrote stays behind for a later one");
        }
        found
    }
}

impl Probing<'_> {
    fn prefix(&self) -> StorePath {
        StorePath::from(format!("{PROBE}/{}", self.id))
    }

    fn key(&self, name: &str) -> StorePath {
        self.prefix().join(name)
    }

    async fn run(&self) -> Result<Probe, ProbeError> {
        let began = std::time::Instant::now();
        let probed_at = Timestamp::now();
        self.remove_abandoned().await?;
        let small = self.key("small");
        self.put(&small, noise(self.id, 0, SMALL_BYTES)).await?;
        let put_ms = millis(began.elapsed());
        self.expect(&small, &noise(self.id, 0, SMALL_BYTES), "an object that was put").await?;
        let shows = self.list_shows(&small, SMALL_BYTES).await?;
        let create_if_absent = self.race().await?;
        let multipart = self.pieces().await?;
        let delete = self.delete(&small).await?;
        let hides = !delete || !self.list_shows(&small, SMALL_BYTES).await?;
        let took_ms = millis(began.elapsed());
        Ok(Probe { probed_at, took_ms, put_ms, create_if_absent, list_is_current: shows && hides, multipart, delete })
    }

    fn error(&self, error: object_store::Error) -> ProbeError {
        let at = self.archive.url();
        ProbeError::Archive(match StoreFailure::of(&error) {
            StoreFailure::NotFound if at.directory().is_none() => ArchiveError::NoBucket { url: at.to_string() },
            _ => store_error(at, error),
        })
    }

    fn loses(&self, expected: impl Into<String>, found: impl Into<String>) -> ProbeError {
        ProbeError::Loses { url: self.archive.url().to_string(), expected: expected.into(), found: found.into() }
    }

    async fn put(&self, key: &StorePath, bytes: Bytes) -> Result<(), ProbeError> {
        let put = self.archive.inner.store.put(key, PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| self.error(error))
    }

    async fn read(&self, key: &StorePath) -> Result<Option<Bytes>, ProbeError> {
        let Some(found) = self.archive.get_if_there(key).await? else { return Ok(None) };
        found.bytes().await.map(Some).map_err(|error| self.error(error))
    }

    /// What was acknowledged has to be there, at once.
    async fn expect(&self, key: &StorePath, expected: &Bytes, what: &str) -> Result<(), ProbeError> {
        match self.read(key).await? {
            Some(found) if found == *expected => Ok(()),
            Some(found) => {
                let found = format!("{} bytes that were not written there", found.len());
                Err(self.loses(format!("expected {what}, {} bytes", expected.len()), found))
            }
            None => Err(self.loses(format!("expected {what}, {} bytes", expected.len()), "nothing")),
        }
    }

    async fn list_shows(&self, key: &StorePath, bytes: usize) -> Result<bool, ProbeError> {
        let listed: Result<Vec<_>, _> = self.archive.inner.store.list(Some(&self.prefix())).try_collect().await;
        let listed = listed.map_err(|error| self.error(error))?;
        Ok(listed.iter().any(|object| object.location == *key && object.size == bytes as u64))
    }

    /// Several writers, each with bytes of its own. Who is told that it created the key must find its bytes there, if it was the only one; of several,
    /// one of them must.
    async fn race(&self) -> Result<CreateIfAbsent, ProbeError> {
        let key = self.key("raced");
        let writers = (1..=WRITERS).map(async |nth| {
            let payload = PutPayload::from(noise(self.id, nth, SMALL_BYTES));
            (nth, self.archive.inner.store.put_opts(&key, payload, PutMode::Create.into()).await)
        });
        let (mut created, mut unknown, mut unsupported) = (Vec::new(), None, false);
        for (nth, answer) in future::join_all(writers).await {
            match answer {
                Ok(_) => created.push(nth),
                Err(error) => match StoreFailure::of(&error) {
                    StoreFailure::Exists => {}
                    StoreFailure::Unsupported => unsupported = true,
                    StoreFailure::NotFound | StoreFailure::Denied | StoreFailure::OpenFiles | StoreFailure::Unavailable => {
                        unknown = Some(error)
                    }
                },
            }
        }
        // A write whose answer was lost may be the one that is there: nothing can be told.
        if let Some(error) = unknown {
            return Err(self.error(error));
        }
        if unsupported {
            return Ok(CreateIfAbsent::Unsupported);
        }
        let found = self.read(&key).await?;
        let winner = (1..=WRITERS).find(|nth| found.as_ref() == Some(&noise(self.id, *nth, SMALL_BYTES)));
        let told =
            |who: &[u8]| format!("expected the bytes of one of the {} writers who were told that theirs were stored", who.len());
        match (created.as_slice(), winner) {
            ([one], Some(winner)) if *one == winner => Ok(CreateIfAbsent::Exclusive),
            (several, Some(winner)) if several.len() > 1 && several.contains(&winner) => Ok(CreateIfAbsent::Ignored),
            (who, Some(_)) => Err(self.loses(told(who), "those of another")),
            (who, None) if found.is_some() => Err(self.loses(told(who), "bytes that nobody wrote")),
            (who, None) => Err(self.loses(told(who), "nothing")),
        }
    }

    async fn pieces(&self) -> Result<bool, ProbeError> {
        let key = self.key("pieces");
        let first = if self.archive.url().directory().is_some() { SMALL_BYTES } else { BUCKET_PIECE_BYTES };
        let (first, last) = (noise(self.id, WRITERS + 1, first), noise(self.id, WRITERS + 2, SMALL_BYTES));
        let mut upload = match self.archive.inner.store.put_multipart(&key).await {
            Ok(upload) => upload,
            Err(error) if StoreFailure::of(&error) == StoreFailure::Unsupported => return Ok(false),
            Err(error) => return Err(self.error(error)),
        };
        let done = async {
            upload.put_part(first.clone().into()).await?;
            upload.put_part(last.clone().into()).await?;
            upload.complete().await
        };
        if let Err(error) = done.await {
            // Its pieces would stay for ever otherwise.
            drop(upload.abort().await);
            return match StoreFailure::of(&error) {
                StoreFailure::Unsupported => Ok(false),
                _ => Err(self.error(error)),
            };
        }
        let whole: Bytes = [first, last].concat().into();
        self.expect(&key, &whole, "an object that was put in two pieces").await?;
        Ok(true)
    }

    async fn delete(&self, key: &StorePath) -> Result<bool, ProbeError> {
        match self.archive.inner.store.delete(key).await {
            Ok(()) => {}
            Err(error) => {
                return match StoreFailure::of(&error) {
                    StoreFailure::Denied | StoreFailure::Unsupported => Ok(false),
                    _ => Err(self.error(error)),
                };
            }
        }
        match self.read(key).await? {
            None => Ok(true),
            Some(found) => Err(self.loses("expected nothing where an object was deleted", format!("{} bytes", found.len()))),
        }
    }

    /// What probes left that were killed in the middle, which is told by the time in their ids.
    async fn remove_abandoned(&self) -> Result<(), ProbeError> {
        let listed: Result<Vec<_>, _> = self.archive.inner.store.list(Some(&StorePath::from(PROBE))).try_collect().await;
        let mut abandoned = BTreeMap::new();
        for object in listed.map_err(|error| self.error(error))? {
            let id: Option<Uuid> = object.location.parts().nth(1).and_then(|part| part.as_ref().parse().ok());
            let began = id.and_then(|id| id.get_timestamp()).map_or(0, |at| at.to_unix().0);
            let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
            if let Some(id) = id.filter(|_| began + LONGEST.as_secs() < now) {
                abandoned.insert(id, StorePath::from(format!("{PROBE}/{id}")));
            }
        }
        for prefix in abandoned.values() {
            // Whoever may not delete finds that out below.
            if let Err(error) = self.remove(prefix).await {
                tracing::debug!(%error, %prefix, "what an abandoned probe left stays");
            }
        }
        Ok(())
    }

    async fn remove(&self, prefix: &StorePath) -> Result<(), ArchiveError> {
        let store = &self.archive.inner.store;
        let failed = |error| store_error(self.archive.url(), error);
        let listed: Vec<_> = store.list(Some(prefix)).try_collect().await.map_err(failed)?;
        // What the listing may not show yet is deleted by its name.
        let named = ["raced", "pieces"].into_iter().map(|name| prefix.clone().join(name));
        let mut keys: Vec<StorePath> = listed.into_iter().map(|object| object.location).chain(named).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut gone = store.delete_stream(futures::stream::iter(keys).map(Ok).boxed());
        while let Some(done) = gone.next().await {
            match done {
                Ok(_) => {}
                Err(error) if StoreFailure::of(&error) == StoreFailure::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        drop(gone);
        // In a directory, an empty directory stays behind.
        if let Some(root) = self.archive.url().directory() {
            drop(tokio::fs::remove_dir_all(root.join(prefix.as_ref())).await);
        }
        Ok(())
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
