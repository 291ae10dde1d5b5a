//! Clusters of which the database may know less than the archive: after a failover that lost its last transactions, say. What the archive proves is
//! taken up; nothing is deleted until that is done.

use std::{sync::Arc, time::Duration};

use crate::service::Service;

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        service.reconcile().await?;
        Ok(Duration::from_secs(2))
    };
    super::every(&service, "reconcile", Some(&service.wakes.reconcile), tick).await;
}
