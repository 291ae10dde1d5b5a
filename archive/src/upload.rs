//! Uploads in pieces: begun, told, sent, completed or aborted. A store keeps, and bills, the pieces of one that is merely dropped, and can't be
//! asked which there are: so whoever might have to abort it is told of it before the first piece goes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{
    MultipartUpload, ObjectStoreExt, PutPayload,
    multipart::{MultipartStore, PartId},
    path::Path as StorePath,
};
use tokio::task::JoinSet;

use crate::{
    archive::{Archive, store_error},
    error::{ArchiveError, StoreFailure},
    key::ObjectKey,
};

/// How long an upload that is given up waits for the pieces under way before it is aborted.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an upload that the store can't be told to abort is tried again, behind the caller's back. Whoever was told of it gets to it too; but the database in
/// which that is kept may be lost.
const ABORT_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How long to wait between two tries, each of which is several by itself.
const ABORT_PAUSE: Duration = Duration::from_secs(1);

/// Who is told of uploads in pieces, so that they can be aborted by others when this process dies. Only of those that have an id: those of a
/// directory are files in it, and go with it.
pub trait UploadLog: Sync {
    /// An upload was begun, and nothing was sent yet. When the answer is false it is given up.
    fn begun(&self, key: &ObjectKey, upload: &str) -> impl Future<Output = bool> + Send;

    /// An upload was completed or aborted: it can be forgotten.
    fn ended(&self, key: &ObjectKey, upload: &str) -> impl Future<Output = ()> + Send;
}

/// Nobody: what this process leaves unfinished stays.
impl UploadLog for () {
    async fn begun(&self, _: &ObjectKey, _: &str) -> bool {
        true
    }

    async fn ended(&self, _: &ObjectKey, _: &str) {}
}

/// A piece that is there: its place and its id, where the store wants them back.
type Piece = Option<(usize, PartId)>;

enum Target {
    /// Known by its id.
    Known { store: Arc<dyn MultipartStore>, path: StorePath, id: String, sent: usize, done: Vec<(usize, PartId)> },
    /// Known to nobody else.
    Private(Box<dyn MultipartUpload>),
}

/// An upload in pieces that has to be completed or aborted.
pub(crate) struct Upload {
    /// Nothing once it is completed or aborted.
    target: Option<Target>,
    /// The pieces under way.
    pieces: JoinSet<object_store::Result<Piece>>,
}

impl Upload {
    /// Begins one.
    pub(crate) async fn begin(archive: &Archive, key: &ObjectKey) -> object_store::Result<Self> {
        let path = key.path();
        let target = match &archive.inner.uploads {
            Some(store) => {
                let id = store.create_multipart(&path).await?;
                Target::Known { store: Arc::clone(store), path, id, sent: 0, done: Vec::new() }
            }
            None => Target::Private(archive.inner.store.put_multipart(&path).await?),
        };
        Ok(Self { target: Some(target), pieces: JoinSet::new() })
    }

    /// Its id, if it has one.
    pub(crate) fn id(&self) -> Option<String> {
        match &self.target {
            Some(Target::Known { id, .. }) => Some(id.clone()),
            Some(Target::Private(_)) | None => None,
        }
    }

    /// How many pieces are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.pieces.len()
    }

    /// Sends the next piece.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        let payload = PutPayload::from(bytes);
        match &mut self.target {
            Some(Target::Known { store, path, id, sent, done: _ }) => {
                let (store, path, id, place) = (Arc::clone(store), path.clone(), id.clone(), *sent);
                *sent += 1;
                self.pieces
                    .spawn(async move { store.put_part(&path, &id, place, payload).await.map(|part| Some((place, part))) });
            }
            Some(Target::Private(upload)) => {
                let piece = upload.put_part(payload);
                self.pieces.spawn(async move { piece.await.map(|()| None) });
            }
            None => {}
        }
    }

    /// Waits until one more piece is there; false when none is under way.
    pub(crate) async fn arrived(&mut self) -> object_store::Result<bool> {
        let Some(joined) = self.pieces.join_next().await else { return Ok(false) };
        if let (Some(piece), Some(Target::Known { done, .. })) = (joined??, &mut self.target) {
            done.push(piece);
        }
        Ok(true)
    }

    /// Makes an object of the pieces.
    pub(crate) async fn complete(&mut self) -> object_store::Result<()> {
        while self.arrived().await? {}
        match &mut self.target {
            Some(Target::Known { store, path, id, sent: _, done }) => {
                done.sort_unstable_by_key(|(place, _)| *place);
                let parts = done.iter().map(|(_, part)| part.clone()).collect();
                store.complete_multipart(path, id, parts).await.map(drop)
            }
            Some(Target::Private(upload)) => upload.complete().await.map(drop),
            None => Ok(()),
        }
    }

    /// There is nothing left to complete or abort.
    pub(crate) fn over(mut self) {
        self.target = None;
    }

    /// Best effort: what the store can't be told now, whoever was told of the upload gets later. Says whether it is gone.
    pub(crate) async fn abort(mut self) -> bool {
        let Some(target) = self.target.take() else { return true };
        // A piece that arrives after the abort would stay, so those under way come first; but not for ever.
        let drained = async { while self.pieces.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            self.pieces.shutdown().await;
        }
        let (aborted, known) = match target {
            Target::Known { store, path, id, .. } => (store.abort_multipart(&path, &id).await, Some((store, path, id))),
            Target::Private(mut upload) => (upload.abort().await, None),
        };
        match aborted {
            Ok(()) => true,
            // Somebody else did it.
            Err(error) if StoreFailure::of(&error) == StoreFailure::NotFound => true,
            Err(error) => {
                tracing::warn!(%error, "an unfinished upload couldn't be aborted; its pieces stay in the store until that is made up for");
                if let Some((store, path, id)) = known.filter(|_| is_transient(&error)) {
                    tokio::spawn(tokio::time::timeout(ABORT_PATIENCE, abort_later(store, path, id)));
                }
                false
            }
        }
    }
}

fn is_transient(error: &object_store::Error) -> bool {
    matches!(StoreFailure::of(error), StoreFailure::Unavailable | StoreFailure::OpenFiles)
}

/// Aborts an upload as soon as the store can be told.
async fn abort_later(store: Arc<dyn MultipartStore>, path: StorePath, id: String) {
    loop {
        tokio::time::sleep(ABORT_PAUSE).await;
        match store.abort_multipart(&path, &id).await {
            Err(error) if is_transient(&error) => {}
            Err(error) if StoreFailure::of(&error) != StoreFailure::NotFound => {
                return tracing::warn!(%error, key = %path, "an unfinished upload can't be aborted");
            }
            Ok(()) | Err(_) => return tracing::info!(key = %path, "an unfinished upload is aborted now"),
        }
    }
}

impl Drop for Upload {
    /// The caller was cancelled in the middle: abort behind its back.
    fn drop(&mut self) {
        if let Some(target) = self.target.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let pieces = std::mem::take(&mut self.pieces);
            runtime.spawn(Self { target: Some(target), pieces }.abort());
        }
    }
}

impl Archive {
    /// Aborts an upload that somebody left unfinished. Says whether there was one: one that was completed or aborted before is no error.
    ///
    /// # Errors
    /// [`ArchiveError::Denied`], [`ArchiveError::Unreachable`]; then it may still be there.
    pub async fn abort_upload(&self, key: &ObjectKey, upload: &str) -> Result<bool, ArchiveError> {
        let Some(store) = &self.inner.uploads else { return Ok(false) };
        match store.abort_multipart(&key.path(), &upload.to_owned()).await {
            Ok(()) => Ok(true),
            Err(error) if StoreFailure::of(&error) == StoreFailure::NotFound => Ok(false),
            Err(error) => Err(store_error(self.url(), error)),
        }
    }
}
