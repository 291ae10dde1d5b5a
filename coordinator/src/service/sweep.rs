//! Taking out of the archive what is not to stay there: the objects of snapshots that are being deleted, and what aborted ones left. That it may
//! go was decided in the database before; each step can be done twice, late, or by several replicas at once.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use stillframe_api::snapshot::SnapshotState;

use super::{Caller, Service, ServiceError};
use crate::{
    decide::{
        Facts,
        deletion::{self, Swept},
        facts::CollectionState,
    },
    store::{Leftover, Scope, StoreError, UnfinishedUpload, Uploads},
};

impl Service {
    /// Sweeps every snapshot that is due.
    pub(crate) async fn sweep_due(&self) -> Result<(), ServiceError> {
        // One cluster's archive that can't be used doesn't keep the others' waiting.
        let mut away = BTreeSet::new();
        for leftover in self.store.leftovers(None).await? {
            if away.contains(&leftover.archive_prefix) {
                continue;
            }
            match self.sweep(&leftover).await {
                Ok(_) => {}
                Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
                Err(error) => {
                    let Leftover { cluster, snapshot, .. } = &leftover;
                    tracing::warn!(%cluster, %snapshot, %error, "what is to go from the archive is not gone yet; trying again");
                    if !matches!(error, ServiceError::Store(_)) {
                        away.insert(leftover.archive_prefix);
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes everything of a snapshot, the manifest first, and takes note of it. Nothing when deleting is suspended.
    pub(crate) async fn sweep(&self, leftover: &Leftover) -> Result<Option<Swept>, ServiceError> {
        let Leftover { cluster, archive_prefix, snapshot, state, sweep_at: _ } = leftover;
        if self.store.collection().await?.state != CollectionState::Confirmed {
            return Ok(None);
        }
        let archive = self.archives.get(archive_prefix.as_deref()).await?;
        // Only what was committed has a manifest: then it is the database that has forgotten something.
        if *state == SnapshotState::Aborted && archive.has_manifest(cluster, *snapshot).await? {
            let reason = format!(
                "snapshot {snapshot} of cluster {cluster} is aborted here, and has a manifest in the archive: the database has lost a commit"
            );
            self.suspend_collection(reason).await?;
            return Ok(None);
        }
        // Uploads first: what one of them completes meanwhile is then found by the listing. They are forgotten only when they are stray.
        let mut uploads = 0;
        for upload in self.store.uploads(Uploads::Of(*snapshot)).await? {
            self.pace.admit(1).await;
            uploads += u64::from(archive.abort_upload(&upload.key, &upload.upload).await?);
        }
        let deleted = archive.delete_snapshot(cluster, *snapshot, &self.pace).await?;
        let swept = Swept { objects: deleted.objects, bytes: deleted.bytes, uploads };
        let occasion = self.occasion(&Caller::coordinator());
        let again_in = SignedDuration::try_from(self.settings.collection.sweep_again).unwrap_or(SignedDuration::MAX);
        let (scope, id) = (Scope { snapshot: Some(*snapshot), ..Scope::default() }, *snapshot);
        self.transition(cluster, scope, move |facts: &Facts| Ok(deletion::swept(facts, &occasion, id, swept, again_in).into()))
            .await?;
        Ok(Some(swept))
    }

    /// Aborts and forgets the uploads that nobody can be at any more, whatever became of their snapshot.
    pub(crate) async fn abort_stray_uploads(&self) -> Result<(), ServiceError> {
        let mut away = BTreeSet::new();
        for upload in self.store.uploads(Uploads::Stray(self.settings.collection.sweep_again)).await? {
            if away.contains(&upload.archive_prefix) {
                continue;
            }
            match self.abort_upload(&upload).await {
                Ok(_) => {}
                Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
                Err(error) => {
                    let UnfinishedUpload { cluster, key, .. } = &upload;
                    tracing::warn!(%cluster, %key, %error, "an unfinished upload is not aborted yet; trying again");
                    if !matches!(error, ServiceError::Store(_)) {
                        away.insert(upload.archive_prefix);
                    }
                }
            }
        }
        Ok(())
    }

    /// Aborts an upload and forgets it. Says whether there was one; none when deleting is suspended.
    pub(crate) async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<bool, ServiceError> {
        if self.store.collection().await?.state != CollectionState::Confirmed {
            return Ok(false);
        }
        let UnfinishedUpload { cluster, archive_prefix, snapshot, key, upload, .. } = upload;
        self.pace.admit(1).await;
        let archive = self.archives.get(archive_prefix.as_deref()).await?;
        let was_there = archive.abort_upload(key, upload).await?;
        if was_there {
            tracing::info!(%cluster, %key, "aborted an upload that was left unfinished");
        }
        self.store.forget_upload(*snapshot, key, upload).await?;
        Ok(was_there)
    }

    /// Lets nothing be deleted until an operator confirms that the catalog is whole.
    pub(crate) async fn suspend_collection(&self, reason: String) -> Result<(), ServiceError> {
        tracing::error!(reason, "nothing is deleted from the archive until `stillframe gc confirm`");
        self.store.set_collection(&CollectionState::Suspended { reason }, "coordinator", None).await?;
        Ok(())
    }
}
