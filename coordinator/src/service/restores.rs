//! Restores: starting, cancelling and reading.

use std::time::Duration;

use stillframe_api::{
    Page,
    client::MAX_WAIT,
    cluster::PageQuery,
    restore::{CancelRestore, DEFAULT_RETRIES, MAX_FALLBACK, MAX_RETRIES, Restore, StartRestore},
    snapshot::Trigger,
};
use stillframe_protocol::{ClusterName, RestoreId};

use super::{
    Caller, Service, ServiceError, answers,
    clusters::{page, page_limit},
};
use crate::{
    decide::{
        Facts, Refusal,
        restore::{self, Ask, Target},
    },
    store::{RestoreRow, Scope},
};

/// The longest reason for a cancellation, in bytes.
const MAX_WHY_BYTES: usize = 1024;

impl Service {
    /// Starts a restore.
    pub async fn start_restore(
        &self,
        caller: &Caller,
        cluster: &ClusterName,
        request: StartRestore,
    ) -> Result<Restore, ServiceError> {
        if caller.is_repeated()
            && let Some(row) = self.store.restore(RestoreId(caller.id())).await?
        {
            return Ok(answers::restore(row));
        }
        let ask = self.ask(cluster, &request).await?;
        let occasion = self.occasion(caller);
        let id = occasion.restore;
        let scope = Scope { request_id: caller.request_id.clone(), ..scope_of(&ask) };
        let rule = move |facts: &Facts| restore::start(facts, &occasion, ask.clone()).map(Into::into);
        let done = self.transition(cluster, scope, rule).await?;
        let mut row = self.restore_row(id).await?;
        // As it was begun, whatever members have done since.
        row.facts = done.facts.restore.filter(|restore| restore.id == id).unwrap_or(row.facts);
        Ok(answers::restore(row))
    }

    /// What a request asks for, with a time turned into a snapshot. Whether that can still be restored is looked at under the cluster's lock.
    pub(super) async fn ask(&self, cluster: &ClusterName, request: &StartRestore) -> Result<Ask, ServiceError> {
        let StartRestore { snapshot, latest, before, timeout, fallback, retries, mapping, dry_run: _ } = request;
        let retries = retries.unwrap_or(DEFAULT_RETRIES);
        for (field, found, most) in [("fallback", *fallback, MAX_FALLBACK), ("retries", retries, MAX_RETRIES)] {
            if found > most {
                return Err(ServiceError::Invalid(format!("{field} must be 0 to {most}, found {found}")));
            }
        }
        let target = match (snapshot, latest, before) {
            (Some(snapshot), false, None) => Target::Snapshot(*snapshot),
            (None, true, None) => Target::Latest,
            (None, false, Some(time)) => {
                // So that an unknown cluster is said to be one.
                self.view(cluster).await?;
                let found = self.store.committed_before(cluster, *time).await?;
                Target::Snapshot(found.ok_or_else(|| Refusal::NothingBefore { cluster: cluster.clone(), time: *time })?)
            }
            (None, false, None) => {
                return Err(ServiceError::Invalid("one of snapshot, latest and before must be given, found none".to_owned()));
            }
            (Some(_) | None, _, _) => {
                return Err(ServiceError::Invalid(
                    "only one of snapshot, latest and before may be given, found several".to_owned(),
                ));
            }
        };
        let timeout_ms = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(1));
        Ok(Ask { target, trigger: Trigger::Request, timeout_ms, fallback: *fallback, retries, mapping: mapping.clone() })
    }

    /// Gives a restore up before its commit point. One that was cancelled stays so.
    pub async fn cancel_restore(&self, caller: &Caller, id: RestoreId, request: CancelRestore) -> Result<Restore, ServiceError> {
        let why = request.why;
        if why.as_ref().is_some_and(|why| why.len() > MAX_WHY_BYTES || why.contains('\0')) {
            return Err(ServiceError::Invalid(format!("why may be {MAX_WHY_BYTES} bytes at most, without NUL")));
        }
        let RestoreRow { cluster, facts: known, .. } = self.restore_row(id).await?;
        let occasion = self.occasion(caller);
        let scope = Scope { request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| restore::cancel(facts, &occasion, id, &known, why.as_deref()).map(Into::into);
        match self.transition(&cluster, scope, rule).await {
            Ok(_) => self.restore(id, None).await,
            Err(ServiceError::Refused(Refusal::RestoreEnded { .. })) => {
                // It may have ended since it was read.
                let now = self.restore(id, None).await?;
                Err(Refusal::RestoreEnded { restore: id, state: now.state }.into())
            }
            Err(error) => Err(error),
        }
    }

    async fn restore_row(&self, id: RestoreId) -> Result<RestoreRow, ServiceError> {
        self.store.restore(id).await?.ok_or(ServiceError::UnknownRestore(id))
    }

    /// A restore, at once or when it has ended.
    pub async fn restore(&self, id: RestoreId, wait: Option<Duration>) -> Result<Restore, ServiceError> {
        let row = self.restore_row(id).await?;
        let (Some(wait), false) = (wait, row.facts.state.has_ended()) else { return Ok(answers::restore(row)) };
        let cluster = row.cluster;
        let ended = |row: &RestoreRow| row.facts.state.has_ended();
        let open = |facts: &Facts| facts.restore.as_ref().is_some_and(|restore| restore.id == id);
        let row = self.wait_for(&cluster, wait.min(MAX_WAIT), open, ended, || self.restore_row(id)).await?;
        Ok(answers::restore(row))
    }

    /// Restores, newest first.
    pub async fn restores(&self, cluster: &ClusterName, query: &PageQuery) -> Result<Page<Restore>, ServiceError> {
        let limit = page_limit(query.limit)?;
        let before = query.cursor.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| {
            let found: String = query.cursor.iter().flat_map(|cursor| cursor.chars()).take(100).collect();
            ServiceError::Invalid(format!("cursor must be the next_cursor of the page before, found {found:?}"))
        })?;
        let rows = self.store.restores(cluster, before, limit + 1).await?;
        if rows.is_empty() {
            self.cluster(cluster).await?;
        }
        Ok(page(rows.into_iter().map(answers::restore).collect(), limit, |restore: &Restore| restore.id.to_string()))
    }
}

/// What has to be read for it.
pub(super) fn scope_of(ask: &Ask) -> Scope {
    let snapshot = match ask.target {
        Target::Snapshot(snapshot) => Some(snapshot),
        Target::Latest => None,
    };
    Scope { snapshot, ..Scope::default() }
}
