//! Restores: starting and reading.

use std::time::Duration;

use stillframe_api::{
    client::MAX_WAIT,
    restore::{Restore, StartRestore},
    snapshot::Trigger,
};
use stillframe_protocol::{ClusterName, RestoreId};

use super::{Caller, Service, ServiceError, answers};
use crate::{
    decide::{Facts, restore},
    store::{RestoreRow, Scope},
};

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
            return Ok(answers::restore(row.cluster, row.facts));
        }
        let occasion = self.occasion(caller);
        let id = occasion.restore;
        let snapshot = request.snapshot;
        let scope = Scope { snapshot: Some(snapshot), request_id: caller.request_id.clone(), ..Scope::default() };
        let rule = move |facts: &Facts| restore::start(facts, &occasion, snapshot, Trigger::Request).map(Into::into);
        let done = self.transition(cluster, scope, rule).await?;
        match done.facts.restore.filter(|restore| restore.id == id) {
            Some(facts) => Ok(answers::restore(cluster.clone(), facts)),
            None => self.restore(id, None).await,
        }
    }

    async fn restore_row(&self, id: RestoreId) -> Result<RestoreRow, ServiceError> {
        self.store.restore(id).await?.ok_or(ServiceError::UnknownRestore(id))
    }

    /// A restore, at once or when it has ended.
    pub async fn restore(&self, id: RestoreId, wait: Option<Duration>) -> Result<Restore, ServiceError> {
        let row = self.restore_row(id).await?;
        let (Some(wait), false) = (wait, row.facts.state.has_ended()) else {
            return Ok(answers::restore(row.cluster, row.facts));
        };
        let cluster = row.cluster;
        let ended = |row: &RestoreRow| row.facts.state.has_ended();
        let open = |facts: &Facts| facts.restore.as_ref().is_some_and(|restore| restore.id == id);
        let row = self.wait_for(&cluster, wait.min(MAX_WAIT), open, ended, || self.restore_row(id)).await?;
        Ok(answers::restore(row.cluster, row.facts))
    }
}
