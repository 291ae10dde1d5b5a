//! Carrying out a transition, and telling whoever waits for it.

use std::sync::Arc;

use jiff::SignedDuration;
use stillframe_api::snapshot::SnapshotState;
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId};
use uuid::Uuid;

use super::{Service, ServiceError};
use crate::{
    decide::{Facts, Occasion, Refusal},
    store::{Outcome, Scope, TransactError, Transition},
};

/// On whose behalf something is done.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `request`, `member:<name>`, `schedule:<name>` or `coordinator`.
    pub actor: String,
    /// The request's id.
    pub request_id: Option<String>,
}

impl Caller {
    /// The coordinator itself.
    #[must_use]
    pub fn coordinator() -> Self {
        Self { actor: "coordinator".to_owned(), request_id: None }
    }

    /// A request over REST.
    #[must_use]
    pub fn request(request_id: Option<String>) -> Self {
        Self { actor: "request".to_owned(), request_id }
    }
}

impl Service {
    /// Fresh ids and the coordinator's settings, for one decision.
    pub(crate) fn occasion(&self, caller: &Caller) -> Occasion {
        Occasion {
            snapshot: SnapshotId(Uuid::now_v7()),
            automatic: SnapshotId(Uuid::now_v7()),
            restore: RestoreId(Uuid::now_v7()),
            actor: caller.actor.clone(),
            request_id: caller.request_id.clone(),
            restore_timeout: SignedDuration::try_from(self.settings.restore_timeout).unwrap_or(SignedDuration::MAX),
        }
    }

    /// Carries out a transition, then tells the held polls, the waiting requests and the loops.
    pub(crate) async fn transition(
        &self,
        cluster: &ClusterName,
        scope: Scope,
        rule: impl Fn(&Facts) -> Result<Outcome, Refusal> + Send + Sync + 'static,
    ) -> Result<Transition, ServiceError> {
        let transition = match self.store.transact(cluster, scope, Arc::new(rule)).await {
            Ok(transition) => transition,
            Err(error @ TransactError::UnknownCluster(_)) => {
                self.hub.forget(cluster);
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        if transition.changed {
            self.tell(cluster, &transition.facts);
        }
        Ok(transition)
    }

    fn tell(&self, cluster: &ClusterName, facts: &Facts) {
        let snapshots = &facts.snapshots;
        let restoring = facts.restore.as_ref().is_some_and(|restore| !restore.state.has_ended());
        if restoring || snapshots.iter().any(|s| matches!(s.state, SnapshotState::Pending | SnapshotState::Recording)) {
            self.wakes.deadlines.notify_one();
        }
        if snapshots.iter().any(|s| s.state == SnapshotState::Aborted && s.sweep_at.is_some()) {
            self.wakes.sweep.notify_one();
        }
        self.hub.publish(cluster, facts.clone().settled());
    }
}
