//! Fetching: nothing is handed out before its length and its digest have been found right.

use std::{
    io::Write,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use tokio::sync::mpsc;

use crate::{
    archive::{Archive, store_error},
    digest::Digest,
    encode::{Content, Sink},
    error::{ArchiveError, StoreFailure},
    key::ObjectKey,
    object::{ObjectEntry, Place},
    plain::{self, PlainObject},
};

/// Pieces of an answer that wait for the disk.
const CHUNKS_IN_FLIGHT: usize = 8;

impl Archive {
    /// Fetches an object whole, checks its length and its digest, decodes it, and only then hands it out. In memory up to 1 MiB, in an
    /// unnamed temporary file beyond.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`], [`ArchiveError::Truncated`] and [`ArchiveError::Corrupted`] name the key, what was recorded and what was
    /// found; [`ArchiveError::Unreachable`] and [`ArchiveError::Denied`] as the store says; [`ArchiveError::Spill`] when the temporary file
    /// fails.
    pub async fn get(&self, object: &ObjectEntry) -> Result<PlainObject, ArchiveError> {
        self.get_counted(object, &AtomicU64::new(0)).await
    }

    /// As [`get`](Self::get), and adds the stored bytes to `received_bytes` as they come, so that somebody can watch a large object on its way. What
    /// a failed call has added isn't taken back.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_counted(&self, object: &ObjectEntry, received_bytes: &AtomicU64) -> Result<PlainObject, ArchiveError> {
        let entry = object.clone();
        let spill_dir = self.inner.spill_dir.clone();
        match &object.place {
            Place::Inline(content) => {
                let content = content.clone();
                received_bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
                self.blocking(move || open_inline(&entry, content, &spill_dir)).await
            }
            Place::Key(key) => {
                let found = self.get_if_there(&key.path()).await?.ok_or_else(|| missing(&entry))?;
                check_length(&entry, found.meta.size)?;
                let (chunks, received) = mpsc::channel(CHUNKS_IN_FLIGHT);
                let download = async {
                    let mut stream = found.into_stream();
                    loop {
                        let next = stream.try_next().await.transpose();
                        // Whoever receives says why it stopped; there is nothing to add here.
                        let Some(next) = next else { break };
                        if let Ok(chunk) = &next {
                            received_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                        }
                        if chunks.send(next).await.is_err() {
                            break;
                        }
                    }
                    drop(chunks);
                };
                let url = self.url().clone();
                let unreachable = move |error| store_error(&url, error);
                let decoding = self.blocking(move || {
                    let encoded = receive(&entry, received, &spill_dir, unreachable)?;
                    plain::decode(&entry, encoded, &spill_dir)
                });
                tokio::join!(download, decoding).1
            }
        }
    }

    /// Asks the store whether an object exists with its recorded length. Inline objects always do.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`], [`ArchiveError::Truncated`], or [`ArchiveError::Corrupted`] when it is longer than recorded;
    /// [`ArchiveError::Unreachable`] and [`ArchiveError::Denied`] as the store says.
    pub async fn head(&self, object: &ObjectEntry) -> Result<(), ArchiveError> {
        match &object.place {
            Place::Inline(content) => check_length(object, content.len() as u64),
            Place::Key(key) => check_length(object, self.length_of(key).await?.ok_or_else(|| missing(object))?),
        }
    }

    async fn length_of(&self, key: &ObjectKey) -> Result<Option<u64>, ArchiveError> {
        match self.inner.store.head(&key.path()).await {
            Ok(found) => Ok(Some(found.size)),
            Err(error) => match StoreFailure::of(&error) {
                StoreFailure::NotFound => Ok(None),
                _ => Err(store_error(self.url(), error)),
            },
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => Err(store_error(self.url(), error.into())),
        }
    }
}

/// Takes the encoded bytes as they come, and gives them on only when they are the recorded ones.
fn receive(
    entry: &ObjectEntry,
    mut received: mpsc::Receiver<object_store::Result<Bytes>>,
    spill_dir: &Path,
    unreachable: impl Fn(object_store::Error) -> ArchiveError,
) -> Result<Content, ArchiveError> {
    let spill = |source| ArchiveError::Spill { directory: spill_dir.to_owned(), source };
    let mut sink = Sink::new(spill_dir);
    while let Some(chunk) = received.blocking_recv() {
        sink.write_all(&chunk.map_err(&unreachable)?).map_err(spill)?;
        if sink.bytes() > entry.bytes {
            break;
        }
    }
    check_length(entry, sink.bytes())?;
    check_digest(entry, sink.digest())?;
    sink.into_content().map_err(spill)
}

fn missing(entry: &ObjectEntry) -> ArchiveError {
    ArchiveError::NotFound { key: entry.describe(), expected: format!("{} bytes, {}", entry.bytes, entry.digest) }
}

/// Checks and decodes an object that is there inline.
pub(crate) fn open_inline(entry: &ObjectEntry, content: Bytes, spill_dir: &Path) -> Result<PlainObject, ArchiveError> {
    check_length(entry, content.len() as u64)?;
    check_digest(entry, Digest::of(&content))?;
    plain::decode(entry, Content::Memory(content), spill_dir)
}

fn check_length(entry: &ObjectEntry, found: u64) -> Result<(), ArchiveError> {
    let (key, expected) = (entry.describe(), entry.bytes);
    match found.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(ArchiveError::Truncated { key, expected, found }),
        std::cmp::Ordering::Greater => {
            Err(ArchiveError::Corrupted { key, expected: format!("{expected} bytes"), found: format!("{found} bytes") })
        }
    }
}

fn check_digest(entry: &ObjectEntry, found: Digest) -> Result<(), ArchiveError> {
    match found == entry.digest {
        true => Ok(()),
        false => {
            Err(ArchiveError::Corrupted { key: entry.describe(), expected: entry.digest.to_string(), found: found.to_string() })
        }
    }
}
