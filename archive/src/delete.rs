//! Removing a snapshot's objects: the manifest first, then the parts, then listing until nothing is left.
//!
//! Whether a snapshot may be deleted is decided in the database, before.

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, path::Path as StorePath};
use stillframe_protocol::{ClusterName, SnapshotId};

use crate::{
    archive::{Archive, store_error},
    error::{ArchiveError, StoreFailure},
    key::{self, ObjectKey},
    pace::Pace,
};

/// How often the snapshot's keys are listed and deleted before giving up on whoever still writes there.
const ROUNDS: u32 = 8;

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletedSnapshot {
    /// Objects that were there and aren't any more, the manifest included.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Archive {
    /// Whether a snapshot has a manifest, readable or not.
    ///
    /// # Errors
    /// [`ArchiveError::Denied`], [`ArchiveError::Unreachable`].
    pub async fn has_manifest(&self, cluster: &ClusterName, snapshot: SnapshotId) -> Result<bool, ArchiveError> {
        match self.inner.store.head(&ObjectKey::manifest_key(cluster, snapshot).path()).await {
            Ok(_) => Ok(true),
            Err(error) if StoreFailure::of(&error) == StoreFailure::NotFound => Ok(false),
            Err(error) => Err(store_error(self.url(), error)),
        }
    }

    /// Deletes everything of a snapshot, no faster than the pace. Doing it again, from several places at once, or when nothing is there, is safe; after a failure do
    /// it again. Uploads in pieces that were never completed are not found by this.
    ///
    /// # Errors
    /// [`ArchiveError::StillWritten`] when objects keep coming; [`ArchiveError::Denied`], [`ArchiveError::Unreachable`]. Part of the objects
    /// may be gone then, the manifest first.
    pub async fn delete_snapshot(
        &self,
        cluster: &ClusterName,
        snapshot: SnapshotId,
        pace: &Pace,
    ) -> Result<DeletedSnapshot, ArchiveError> {
        let prefix = key::snapshot_prefix(cluster, snapshot);
        let manifest = ObjectKey::manifest_key(cluster, snapshot).path();
        let mut deleted = DeletedSnapshot::default();
        for _ in 0..ROUNDS {
            // Listed whole before anything is deleted: a listing that runs while keys vanish may skip some.
            let listed: Vec<_> = self
                .inner
                .store
                .list(Some(&StorePath::from(&*prefix)))
                .try_collect()
                .await
                .map_err(|e| store_error(self.url(), e))?;
            if listed.is_empty() {
                self.remove_directory(&prefix).await;
                return Ok(deleted);
            }
            if listed.iter().any(|object| object.location == manifest) {
                pace.admit(1).await;
                self.gone(self.inner.store.delete(&manifest).await)?;
            }
            let parts = listed.iter().map(|object| object.location.clone()).filter(|location| *location != manifest);
            self.delete_paths(parts.collect(), pace).await?;
            deleted.objects += listed.len() as u64;
            deleted.bytes += listed.iter().map(|object| object.size).sum::<u64>();
        }
        Err(ArchiveError::StillWritten { prefix, rounds: ROUNDS })
    }

    /// Deletes these, in any order.
    pub(crate) async fn delete_paths(&self, paths: Vec<StorePath>, pace: &Pace) -> Result<(), ArchiveError> {
        for batch in paths.chunks(pace.batch()) {
            pace.admit(batch.len()).await;
            let mut gone = self.inner.store.delete_stream(futures::stream::iter(batch.to_vec()).map(Ok).boxed());
            while let Some(done) = gone.next().await {
                self.gone(done.map(|_| ()))?;
            }
        }
        Ok(())
    }

    /// What isn't there needs no deleting: somebody else did it.
    fn gone(&self, result: object_store::Result<()>) -> Result<(), ArchiveError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if StoreFailure::of(&error) == StoreFailure::NotFound => Ok(()),
            Err(error) => Err(store_error(self.url(), error)),
        }
    }

    /// In a directory, what a killed writer left unfinished isn't listed, and empty directories aren't objects: both go with the directory.
    async fn remove_directory(&self, prefix: &str) {
        if let Some(root) = self.url().directory() {
            let directory = root.join(prefix);
            match tokio::fs::remove_dir_all(&directory).await {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(directory = %directory.display(), %error, "an empty snapshot directory stays behind")
                }
            }
        }
    }
}
