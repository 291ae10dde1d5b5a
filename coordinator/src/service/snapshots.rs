//! Snapshots: asking for, reading, changing, aborting.

use std::{collections::BTreeMap, time::Duration};

use stillframe_api::{
    Page,
    client::MAX_WAIT,
    settings::UpdateSnapshot,
    snapshot::{AbortSnapshot, ListSnapshots, MAX_LABEL_BYTES, MAX_LABELS, Snapshot, SnapshotState, TakeSnapshot, Trigger},
};
use stillframe_protocol::{ClusterName, SnapshotId};

use super::{
    Caller, Service, ServiceError, answers,
    clusters::{page, page_limit},
};
use crate::{
    decide::{Facts, settings, snapshot},
    store::{Scope, SnapshotFilter, SnapshotRow},
};

/// The longest reason for an abort, in bytes.
const MAX_WHY_BYTES: usize = 1024;

/// Refuses labels that are too many or too long.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    if labels.len() > MAX_LABELS {
        return Err(ServiceError::Invalid(format!("labels may be {MAX_LABELS} at most, found {}", labels.len())));
    }
    let long = labels.iter().find(|(key, value)| key.is_empty() || key.len() > MAX_LABEL_BYTES || value.len() > MAX_LABEL_BYTES);
    let nul = labels.iter().find(|(key, value)| key.contains('\0') || value.contains('\0'));
    match long.or(nul) {
        Some((key, _)) => {
            let key: String = key.chars().take(50).collect();
            Err(ServiceError::Invalid(format!(
                "the key of a label must be 1 to {MAX_LABEL_BYTES} bytes, its value at most {MAX_LABEL_BYTES}, both without NUL; found \
                 otherwise in label {key:?}"
            )))
        }
        None => Ok(()),
    }
}

impl Service {
    /// Asks for a snapshot.
    pub async fn take_snapshot(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        request: TakeSnapshot,
    ) -> Result<Snapshot, ServiceError> {
        check_labels(&request.labels)?;
        if caller.is_repeated()
            && let Some(row) = self.store.snapshot(SnapshotId(caller.id())).await?
        {
            return Ok(answers::snapshot(row));
        }
        let occasion = self.occasion(caller);
        let id = occasion.snapshot;
        let request = snapshot::Request {
            trigger: Trigger::Request,
            labels: request.labels,
            timeout_ms: request.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(1)),
        };
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| snapshot::request(facts, &occasion, request.clone()).map(Into::into);
        let done = self.quick_transition(cluster, scope, None, rule).await?;
        self.answer_from_facts(cluster, done.facts, id).await
    }

    /// The answer from the facts of a transition, without asking again.
    pub(super) async fn answer_from_facts(
        &self,
        cluster: &ClusterName,
        facts: Facts,
        id: SnapshotId,
    ) -> Result<Snapshot, ServiceError> {
        let now = facts.now;
        match facts.snapshot(id).cloned() {
            Some(found) if found.reported.is_empty() => {
                let row = SnapshotRow { now, cluster: cluster.clone(), facts: found, bytes: 0, parts: Default::default() };
                let mut snapshot = answers::snapshot(row);
                answers::place_in_queue(&mut snapshot, &facts);
                Ok(snapshot)
            }
            Some(_) | None => self.snapshot(id, None).await,
        }
    }

    /// Says of those that are pending where they stand. They wait for others, so it takes more to know than their own rows.
    async fn place_in_queue(&self, cluster: &ClusterName, snapshots: &mut [Snapshot]) -> Result<(), ServiceError> {
        if snapshots.iter().all(|snapshot| snapshot.state != SnapshotState::Pending) {
            return Ok(());
        }
        let Some(facts) = self.store.facts(cluster).await? else { return Ok(()) };
        let pending = snapshots.iter_mut().filter(|snapshot| snapshot.state == SnapshotState::Pending);
        pending.for_each(|snapshot| answers::place_in_queue(snapshot, &facts));
        Ok(())
    }

    async fn answer(&self, row: SnapshotRow) -> Result<Snapshot, ServiceError> {
        let cluster = row.cluster.clone();
        let mut snapshot = answers::snapshot(row);
        self.place_in_queue(&cluster, std::slice::from_mut(&mut snapshot)).await?;
        Ok(snapshot)
    }

    pub(super) async fn snapshot_row(&self, id: SnapshotId) -> Result<SnapshotRow, ServiceError> {
        self.store.snapshot(id).await?.ok_or(ServiceError::UnknownSnapshot(id))
    }

    /// A snapshot, at once or when it has ended.
    pub async fn snapshot(&self, id: SnapshotId, wait: Option<Duration>) -> Result<Snapshot, ServiceError> {
        let row = self.snapshot_row(id).await?;
        let (Some(wait), false) = (wait, row.facts.state.has_ended()) else { return self.answer(row).await };
        let cluster = row.cluster.clone();
        let ended = |row: &SnapshotRow| row.facts.state.has_ended();
        let open = |facts: &Facts| facts.snapshot(id).is_some_and(|snapshot| !snapshot.state.has_ended());
        let row = self.wait_for(&cluster, wait.min(MAX_WAIT), open, ended, || self.snapshot_row(id)).await?;
        self.answer(row).await
    }

    /// Snapshots of a cluster, newest first.
    pub async fn snapshots(&self, cluster: &ClusterName, query: &ListSnapshots) -> Result<Page<Snapshot>, ServiceError> {
        let limit = page_limit(query.limit)?;
        let before = match &query.cursor {
            Some(cursor) => Some(cursor.parse::<SnapshotId>().map_err(|_| {
                ServiceError::Invalid(format!("cursor must be the next_cursor of the page before, found {cursor:?}"))
            })?),
            None => None,
        };
        let filter = SnapshotFilter { state: query.status, before, limit: limit + 1 };
        let rows = self.store.snapshots(cluster, &filter).await?;
        if rows.is_empty() {
            self.cluster(cluster).await?;
        }
        let line = |row: SnapshotRow| answers::snapshot_line(row.cluster, row.facts, row.bytes);
        let mut items: Vec<Snapshot> = rows.into_iter().map(line).collect();
        self.place_in_queue(cluster, &mut items).await?;
        Ok(page(items, limit, |snapshot: &Snapshot| snapshot.id.to_string()))
    }

    /// Changes how long a snapshot may take.
    pub async fn update_snapshot(
        &self,
        caller: &Caller,
        id: SnapshotId,
        request: &UpdateSnapshot,
    ) -> Result<Snapshot, ServiceError> {
        let row = self.snapshot_row(id).await?;
        let Some(timeout) = request.timeout else { return self.answer(row).await };
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(1);
        let occasion = self.occasion(caller);
        let scope = Scope { snapshot: Some(id), request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| settings::update_snapshot(facts, &occasion, id, timeout_ms).map(Into::into);
        self.transition(&row.cluster, scope, rule).await?;
        self.snapshot(id, None).await
    }

    /// Aborts a snapshot.
    pub async fn abort_snapshot(
        &self,
        caller: &Caller,
        id: SnapshotId,
        request: AbortSnapshot,
    ) -> Result<Snapshot, ServiceError> {
        if request.why.as_ref().is_some_and(|why| why.len() > MAX_WHY_BYTES || why.contains('\0')) {
            return Err(ServiceError::Invalid(format!("why may be {MAX_WHY_BYTES} bytes at most, without NUL")));
        }
        let cluster = self.snapshot_row(id).await?.cluster;
        let occasion = self.occasion(caller);
        let scope = Scope { snapshot: Some(id), request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| snapshot::abort(facts, &occasion, id, request.why.clone()).map(Into::into);
        self.transition(&cluster, scope, rule).await?;
        self.snapshot(id, None).await
    }
}
