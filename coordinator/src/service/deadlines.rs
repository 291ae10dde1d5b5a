//! What is overdue: snapshots, restores, and what was put off until now.

use stillframe_protocol::ClusterName;

use super::{Caller, Service, ServiceError};
use crate::{
    decide::{Facts, snapshot},
    store::Scope,
};

impl Service {
    /// Ends what is past its deadline in a cluster, and begins what may begin by now. Nothing changes when nothing is due.
    pub async fn end_overdue(&self, cluster: &ClusterName) -> Result<(), ServiceError> {
        let occasion = self.occasion(&Caller::coordinator());
        let rule = move |facts: &Facts| Ok(snapshot::deadlines(facts, &occasion).into());
        self.transition(cluster, Scope::default(), rule).await.map(drop)
    }
}
