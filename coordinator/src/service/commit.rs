//! Driving a snapshot whose parts are all there to its end: verify the certificate, `committing`, write the manifest, `committed`. Every step
//! can be done twice, or by another replica, without harm.

use std::{sync::Arc, time::Duration};

use stillframe_archive::{FORMAT, Manifest};
use stillframe_protocol::{PartCounters, SnapshotId, certificate};

use super::{Caller, Service, ServiceError, lock, news};
use crate::{
    decide::{
        Facts,
        snapshot::{self, Verdict},
    },
    store::{CompleteSnapshot, Scope},
};
use stillframe_api::backoff::Backoff;

/// From how many parts on the certificate is verified on a thread of its own.
pub(super) const MANY_PARTS: usize = 64;

/// The longest error of the archive that is kept, in characters.
const MAX_ERROR: usize = 500;

pub(super) fn verify(complete: &CompleteSnapshot) -> Verdict {
    let parts: Vec<PartCounters> = complete.parts.iter().map(|part| part.counters(complete.generation)).collect();
    certificate::verify_with(complete.generation, &complete.view_members(), &parts, &complete.departed)
}

impl Service {
    /// Drives a snapshot to its end in the background, unless that is being done here already.
    pub(crate) fn commit_soon(self: &Arc<Self>, complete: CompleteSnapshot) {
        let id = complete.id;
        if !lock(&self.committing).insert(id) {
            return;
        }
        let service = self.clone();
        tokio::spawn(async move {
            let stopping = service.stopping.clone();
            tokio::select! {
                () = service.drive(complete) => {}
                () = stopping.cancelled() => {}
            }
            lock(&service.committing).remove(&id);
        });
    }

    /// Those of the snapshots that this replica isn't committing already.
    pub(crate) fn without_committing(&self, mut snapshots: Vec<SnapshotId>) -> Vec<SnapshotId> {
        let committing = lock(&self.committing);
        snapshots.retain(|id| !committing.contains(id));
        snapshots
    }

    async fn drive(&self, complete: CompleteSnapshot) {
        let (id, cluster) = (complete.id, complete.cluster.clone());
        let complete = Arc::new(complete);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut noted = None;
        loop {
            match self.step(&complete).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%cluster, snapshot = %id, %error, "the snapshot is not committed yet; trying again");
                    if let ServiceError::Archive(error) = error {
                        self.note_held_up(&complete, error, &mut noted).await;
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    /// Writes down what the archive says, when that is news, so that whoever asks can be told at any replica.
    async fn note_held_up(&self, complete: &CompleteSnapshot, error: String, noted: &mut Option<String>) {
        let error: String = error.chars().filter(|c| *c != '\0').take(MAX_ERROR).collect();
        if noted.as_ref() == Some(&error) {
            return;
        }
        let (id, occasion, text) = (complete.id, self.occasion(&Caller::coordinator()), error.clone());
        let rule = move |facts: &Facts| Ok(snapshot::held_up(facts, &occasion, id, &text).into());
        match self.transition(&complete.cluster, Scope::default(), rule).await {
            Ok(_) => *noted = Some(error),
            Err(error) => tracing::debug!(%error, snapshot = %id, "could not note why the snapshot is not committed"),
        }
    }

    async fn step(&self, complete: &Arc<CompleteSnapshot>) -> Result<(), ServiceError> {
        if !complete.committing && !self.certify(complete).await? {
            return Ok(());
        }
        let archive = self.archives.get(complete.archive_prefix.as_deref()).await?;
        let manifest = Manifest {
            format: FORMAT,
            archive: archive.id(),
            cluster: complete.cluster.clone(),
            snapshot: complete.id,
            epoch: complete.epoch,
            generation: complete.generation,
            started_at: complete.recording_at,
            labels: complete.labels.clone(),
            parts: complete.parts.clone(),
            departed: complete.departed.clone(),
        };
        let digest = archive.write_manifest(&manifest).await?;
        let (id, occasion) = (complete.id, self.occasion(&Caller::coordinator()));
        let rule = move |facts: &Facts| Ok(snapshot::committed(facts, &occasion, id, &digest).into());
        let done = self.quick_transition(&complete.cluster, Scope::default(), None, rule).await?;
        if done.changed {
            news::committed(complete, &done.facts);
        }
        Ok(())
    }

    /// Verifies the certificate and has the snapshot go forward, or aborted. True when it is to be committed.
    async fn certify(&self, complete: &Arc<CompleteSnapshot>) -> Result<bool, ServiceError> {
        let verdict = if complete.parts.len() < MANY_PARTS {
            verify(complete)
        } else {
            let complete = complete.clone();
            tokio::task::spawn_blocking(move || verify(&complete)).await.map_err(|_| ServiceError::Stopping)?
        };
        if let Err(violations) = &verdict {
            let first = violations.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(cluster = %complete.cluster, snapshot = %complete.id, first, "the certificate does not hold");
        }
        let (id, occasion) = (complete.id, self.occasion(&Caller::coordinator()));
        // Looked at, ended or not: this may be the second try, or another replica may have been first.
        let scope = Scope { snapshot: Some(id), ..Scope::default() };
        let rule = move |facts: &Facts| Ok(snapshot::certified(facts, &occasion, id, &verdict).into());
        let done = self.quick_transition(&complete.cluster, scope, Some(id), rule).await?;
        Ok(is_committing(&done.facts, id))
    }
}

fn is_committing(facts: &Facts, id: SnapshotId) -> bool {
    use stillframe_api::snapshot::SnapshotState;
    facts.snapshot(id).is_some_and(|snapshot| snapshot.state == SnapshotState::Committing)
}
