//! Retention and holds: setting them, carrying retention out, and deleting a snapshot by hand.

use jiff::SignedDuration;
use stillframe_api::{
    Page,
    retention::{ClusterRetention, CreateHold, Hold, MAX_OWNER_BYTES, MAX_REASON_BYTES, Retention},
    snapshot::Snapshot,
};
use stillframe_protocol::{ClusterName, HoldId, SnapshotId};

use super::{Caller, Service, ServiceError};
use crate::{
    decide::{
        Decision, Facts, deletion,
        facts::HoldFacts,
        retention::{self, NewHold, Verdict},
    },
    store::Scope,
};

fn check_text(field: &str, text: &str, most: usize) -> Result<(), ServiceError> {
    if text.is_empty() || text.len() > most || text.contains('\0') {
        return Err(ServiceError::Invalid(format!("{field} must be 1 to {most} bytes without NUL, found {}", text.len())));
    }
    Ok(())
}

fn answer(hold: HoldFacts) -> Hold {
    let HoldFacts { id, snapshot, owner, reason, created_at, expires_at } = hold;
    Hold { id, snapshot, owner, reason, created_at, expires_at }
}

/// What the facts have to have for a decision about what is kept.
pub(super) fn kept_scope(caller: &Caller, snapshot: Option<SnapshotId>) -> Scope {
    Scope { snapshot, kept: true, request_id: caller.request_id.clone(), ..Scope::default() }
}

impl Service {
    /// A cluster's retention.
    pub async fn retention(&self, cluster: &ClusterName) -> Result<ClusterRetention, ServiceError> {
        let row = self.store.cluster(cluster).await?.ok_or_else(|| ServiceError::UnknownCluster(cluster.clone()))?;
        Ok(ClusterRetention { cluster: row.facts.name, retention: row.facts.retention })
    }

    /// Sets a cluster's retention; without one everything is kept.
    pub async fn set_retention(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        retention: Option<Retention>,
    ) -> Result<ClusterRetention, ServiceError> {
        if let Some(retention) = &retention {
            retention.check().map_err(ServiceError::Invalid)?;
        }
        let occasion = self.occasion(caller);
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| Ok(retention::set(facts, &occasion, retention).into());
        let done = self.transition(cluster, scope, rule).await?;
        Ok(ClusterRetention { cluster: cluster.clone(), retention: done.facts.cluster.retention })
    }

    /// Holds a snapshot.
    pub async fn hold_snapshot(&self, caller: &Caller, snapshot: SnapshotId, request: CreateHold) -> Result<Hold, ServiceError> {
        let CreateHold { owner, reason, expires_in } = request;
        check_text("owner", &owner, MAX_OWNER_BYTES)?;
        check_text("reason", &reason, MAX_REASON_BYTES)?;
        let expires_in = expires_in.map(|length| SignedDuration::try_from(length.get()).unwrap_or(SignedDuration::MAX));
        let id = HoldId(caller.id());
        let new = NewHold { id, owner, reason, expires_in };
        let cluster = self.snapshot_row(snapshot).await?.cluster;
        let occasion = self.occasion(caller);
        let rule = move |facts: &Facts| retention::hold(facts, &occasion, snapshot, new.clone()).map(Into::into);
        let done = self.transition(&cluster, kept_scope(caller, Some(snapshot)), rule).await?;
        let made = done.facts.kept.into_iter().flat_map(|kept| kept.holds).find(|hold| hold.id == id);
        made.map(answer).ok_or(ServiceError::UnknownSnapshot(snapshot))
    }

    /// The holds on a snapshot, oldest first, expired ones included.
    pub async fn holds(&self, snapshot: SnapshotId) -> Result<Page<Hold>, ServiceError> {
        let cluster = self.snapshot_row(snapshot).await?.cluster;
        let facts = self.kept(&cluster).await?;
        let holds = facts.kept.into_iter().flat_map(|kept| kept.holds).filter(|hold| hold.snapshot == snapshot);
        Ok(Page { items: holds.map(answer).collect(), next_cursor: None })
    }

    /// Removes a hold.
    pub async fn release_snapshot(&self, caller: &Caller, snapshot: SnapshotId, hold: HoldId) -> Result<(), ServiceError> {
        let cluster = self.snapshot_row(snapshot).await?.cluster;
        let occasion = self.occasion(caller);
        let rule = move |facts: &Facts| retention::release(facts, &occasion, snapshot, hold).map(Into::into);
        self.transition(&cluster, kept_scope(caller, Some(snapshot)), rule).await?;
        Ok(())
    }

    /// Deletes a snapshot; its objects go in the background.
    pub async fn delete_snapshot(&self, caller: &Caller, id: SnapshotId) -> Result<Snapshot, ServiceError> {
        let cluster = self.snapshot_row(id).await?.cluster;
        let occasion = self.occasion(caller);
        let rule = move |facts: &Facts| deletion::request(facts, &occasion, id).map(Into::into);
        self.transition(&cluster, kept_scope(caller, Some(id)), rule).await?;
        self.snapshot(id, None).await
    }

    /// A cluster's facts with what is kept.
    pub(super) async fn kept(&self, cluster: &ClusterName) -> Result<Facts, ServiceError> {
        let rule = |facts: &Facts| Ok(Decision::nothing(facts).into());
        Ok(self.transition(cluster, kept_scope(&Caller::coordinator(), None), rule).await?.facts)
    }

    /// Which committed snapshots of a cluster are kept, and why.
    pub(crate) async fn verdicts(&self, cluster: &ClusterName) -> Result<Vec<Verdict>, ServiceError> {
        Ok(retention::verdicts(&self.kept(cluster).await?))
    }

    /// Decides the deletion of a snapshot that retention lets go. Decided again under the cluster's lock: it may be needed by now.
    pub(crate) async fn expire(&self, caller: &Caller, cluster: &ClusterName, id: SnapshotId) -> Result<bool, ServiceError> {
        let occasion = self.occasion(caller);
        let rule = move |facts: &Facts| Ok(deletion::expire(facts, &occasion, id).into());
        Ok(self.transition(cluster, kept_scope(caller, Some(id)), rule).await?.changed)
    }

    /// Carries a cluster's retention out. Gives how many snapshots go.
    pub(crate) async fn carry_out_retention(&self, cluster: &ClusterName) -> Result<u64, ServiceError> {
        let mut gone = 0;
        for verdict in self.verdicts(cluster).await?.into_iter().filter(|verdict| verdict.keep.is_empty()) {
            gone += u64::from(self.expire(&Caller::coordinator(), cluster, verdict.snapshot).await?);
        }
        Ok(gone)
    }
}
