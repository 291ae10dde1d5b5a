//! Writing once. No key is ever written with other bytes, and an unknown outcome is never a failure: it is resolved by reading back.

use bytes::Bytes;
use object_store::{PutMode, PutPayload};

use crate::{
    archive::{Archive, store_error},
    digest::{Digest, Hasher},
    encode::EncodedObject,
    error::{ArchiveError, StoreFailure},
    key::ObjectKey,
    manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestDigest, ManifestError},
    upload::{Upload, UploadLog},
};

/// Objects up to this many bytes are put in one request, longer ones in pieces of this size.
pub(crate) const PIECE_BYTES: u64 = 8 << 20;

/// S3 takes at most 10,000 pieces.
const MAX_PIECES: u64 = 9_000;

/// Pieces of one object under way at once: three of them are all the memory that an upload takes.
const PIECES_IN_FLIGHT: usize = 3;

/// How often a put is done again here after its answer was lost and nothing was found. The client below has its own retries for answers that
/// say "not now"; whoever calls has the long ones, with a deadline.
const ATTEMPTS: u32 = 2;

/// What is under a key, compared with what should be.
enum Found {
    Nothing,
    Same,
    Other(String),
}

impl Archive {
    /// Puts an object under its key, unless it is there already. Up to 8 MiB in one request, longer ones in pieces with bounded memory.
    /// Doing it again, or twice at once, with the same bytes is safe; a lost answer is resolved by reading back.
    ///
    /// # Errors
    /// [`ArchiveError::Conflict`] when the key holds other bytes; [`ArchiveError::Unreachable`] when the outcome is unknown (put again);
    /// [`ArchiveError::Denied`], [`ArchiveError::Spill`].
    pub async fn put(&self, key: &ObjectKey, object: &EncodedObject) -> Result<(), ArchiveError> {
        self.put_logged(key, object, &()).await
    }

    /// As [`Archive::put`]; who is to know of an upload in pieces is told of it before the first piece goes, and once it has ended.
    ///
    /// # Errors
    /// As [`Archive::put`]; [`ArchiveError::Unwanted`] when the log says that the object isn't wanted.
    pub async fn put_logged(&self, key: &ObjectKey, object: &EncodedObject, log: &impl UploadLog) -> Result<(), ArchiveError> {
        if object.bytes() > PIECE_BYTES {
            return self.put_in_pieces(key, object, log).await;
        }
        let bytes = self.read_piece(object, 0, PIECE_BYTES).await?;
        self.put_once(key, bytes, object.digest()).await
    }

    /// Writes the manifest of a snapshot, last of its objects: one create-if-absent put, and nothing else when that succeeds. When it is
    /// there already, its bytes have to be the same. The digest is that of the bytes.
    ///
    /// # Errors
    /// As [`Archive::put`]; [`ArchiveError::Manifest`] when it is longer than a manifest may be (nothing was written).
    pub async fn write_manifest(&self, manifest: &Manifest) -> Result<ManifestDigest, ArchiveError> {
        let key = ObjectKey::manifest_key(&manifest.cluster, manifest.snapshot);
        let bytes = manifest.to_bytes();
        let (length, digest) = (bytes.len() as u64, Digest::of(&bytes));
        if length > MAX_MANIFEST_BYTES {
            return Err(ArchiveError::Manifest { key: key.to_string(), source: ManifestError::TooLong { found: length } });
        }
        self.put_once(&key, bytes, digest).await?;
        Ok(digest)
    }

    /// A directory that is gone (a volume that isn't mounted, say) would be made anew by the put, and what is written there would be lost to
    /// the archive. A bucket can't be made by a put.
    async fn check_directory(&self) -> Result<(), ArchiveError> {
        match self.inner.url.directory() {
            Some(_) => self.check().await,
            None => Ok(()),
        }
    }

    async fn put_once(&self, key: &ObjectKey, bytes: Bytes, digest: Digest) -> Result<(), ArchiveError> {
        self.check_directory().await?;
        let path = key.path();
        let length = bytes.len() as u64;
        let mut mode = PutMode::Create;
        let mut attempt = 1;
        loop {
            let error = match self.inner.store.put_opts(&path, PutPayload::from(bytes.clone()), mode.clone().into()).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match StoreFailure::of(&error) {
                StoreFailure::Denied => return Err(store_error(self.url(), error)),
                StoreFailure::NotFound if self.inner.url.directory().is_none() => {
                    return Err(ArchiveError::NoBucket { url: self.url().to_string() });
                }
                StoreFailure::NotFound
                | StoreFailure::Exists
                | StoreFailure::Unsupported
                | StoreFailure::OpenFiles
                | StoreFailure::Unavailable => {}
            }
            match self.found(key, length, digest).await {
                Ok(Found::Same) => return Ok(()),
                Ok(Found::Other(found)) => return Err(conflict(key, digest, found)),
                // A store without create-if-absent: looking first is the guard that is left, and keys have one writer.
                Ok(Found::Nothing)
                    if StoreFailure::of(&error) == StoreFailure::Unsupported && matches!(mode, PutMode::Create) =>
                {
                    mode = PutMode::Overwrite;
                }
                Ok(Found::Nothing) if attempt < ATTEMPTS => attempt += 1,
                // Of the two the first error says more: the second only says that the first couldn't be resolved.
                Ok(Found::Nothing) | Err(_) => return Err(store_error(self.url(), error)),
            }
            tracing::debug!(%key, %error, attempt, "put again: its answer was lost, or the store has no create-if-absent");
        }
    }

    async fn put_in_pieces(&self, key: &ObjectKey, object: &EncodedObject, log: &impl UploadLog) -> Result<(), ArchiveError> {
        self.check_directory().await?;
        // An upload in pieces can't be made conditional, so look first.
        match self.found(key, object.bytes(), object.digest()).await? {
            Found::Same => return Ok(()),
            Found::Other(found) => return Err(conflict(key, object.digest(), found)),
            Found::Nothing => {}
        }
        let mut upload = Upload::begin(self, key).await.map_err(|error| self.put_error(error))?;
        let id = upload.id();
        if let Some(id) = &id
            && !log.begun(key, id).await
        {
            upload.abort().await;
            return Err(ArchiveError::Unwanted { key: key.to_string() });
        }
        let sent = self.send_pieces(&mut upload, object).await;
        // The answer to the completion may have been lost, so what is there decides.
        let found = match &sent {
            Ok(()) => Ok(Found::Same),
            Err(_) => self.found(key, object.bytes(), object.digest()).await,
        };
        let (is_over, outcome) = match (found, sent) {
            (Ok(Found::Same), _) | (_, Ok(())) => {
                upload.over();
                (true, Ok(()))
            }
            (Ok(Found::Other(found)), Err(_)) => (upload.abort().await, Err(conflict(key, object.digest(), found))),
            (Ok(Found::Nothing) | Err(_), Err(failed)) => (upload.abort().await, Err(failed)),
        };
        if let Some(id) = id.filter(|_| is_over) {
            log.ended(key, &id).await;
        }
        outcome
    }

    async fn send_pieces(&self, upload: &mut Upload, object: &EncodedObject) -> Result<(), ArchiveError> {
        let piece = PIECE_BYTES.max(object.bytes().div_ceil(MAX_PIECES));
        let mut offset = 0;
        while offset < object.bytes() {
            if upload.under_way() >= PIECES_IN_FLIGHT {
                upload.arrived().await.map_err(|error| self.put_error(error))?;
            }
            let bytes = self.read_piece(object, offset, piece).await?;
            offset += bytes.len() as u64;
            upload.send(bytes);
        }
        upload.complete().await.map_err(|error| self.put_error(error))
    }

    /// Up to `length` bytes of an object; an error when its temporary file holds fewer than it should.
    async fn read_piece(&self, object: &EncodedObject, offset: u64, length: u64) -> Result<Bytes, ArchiveError> {
        let length = length.min(object.bytes() - offset);
        let spill = |source| ArchiveError::Spill { directory: self.inner.spill_dir.clone(), source };
        let length_in_memory = usize::try_from(length).map_err(|error| spill(std::io::Error::other(error)))?;
        let piece = if object.in_memory().is_some() {
            object.read_at(offset, length_in_memory)
        } else {
            let object = object.clone();
            let read = tokio::task::spawn_blocking(move || object.read_at(offset, length_in_memory));
            read.await.map_err(|error| spill(std::io::Error::other(error)))?
        };
        let piece = piece.map_err(spill)?;
        match piece.len() as u64 == length {
            true => Ok(piece),
            false => Err(spill(std::io::Error::other(format!("expected {length} bytes at {offset}, found {}", piece.len())))),
        }
    }

    /// Compares what the store holds under a key with a length and a digest, in bounded memory.
    async fn found(&self, key: &ObjectKey, length: u64, digest: Digest) -> Result<Found, ArchiveError> {
        use futures::TryStreamExt;
        let Some(there) = self.get_if_there(&key.path()).await? else { return Ok(Found::Nothing) };
        if there.meta.size != length {
            return Ok(Found::Other(format!("{} bytes, not {length}", there.meta.size)));
        }
        let mut hasher = Hasher::default();
        let mut bytes = there.into_stream();
        while let Some(chunk) = bytes.try_next().await.map_err(|error| store_error(self.url(), error))? {
            hasher.update(&chunk);
        }
        let found = hasher.finish();
        Ok(if found == digest { Found::Same } else { Found::Other(found.to_string()) })
    }

    fn put_error(&self, error: object_store::Error) -> ArchiveError {
        match StoreFailure::of(&error) {
            StoreFailure::NotFound if self.inner.url.directory().is_none() => {
                ArchiveError::NoBucket { url: self.url().to_string() }
            }
            _ => store_error(self.url(), error),
        }
    }
}

fn conflict(key: &ObjectKey, expected: Digest, found: String) -> ArchiveError {
    ArchiveError::Conflict { key: key.to_string(), expected: expected.to_string(), found }
}
