//! Deadlines of snapshots and restores.

use std::sync::Arc;

use stillframe_protocol::ClusterName;

use super::each::each;
use crate::service::Service;

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let due = service.store.deadlines().await?;
        let act = async |cluster: ClusterName| service.end_overdue(&cluster).await;
        each(due.now, ToString::to_string, act).await?;
        Ok(due.next_in.unwrap_or(super::LOOK_EVERY))
    };
    super::every_in_time(&service, "deadlines", Some(&service.wakes.deadlines), tick).await;
}
