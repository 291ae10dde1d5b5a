//! Snapshots whose parts are all there and that nobody finishes: a replica died, or this one has just started.

use std::{sync::Arc, time::Duration};

use crate::service::Service;

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        for id in service.store.unfinished().await? {
            if let Some(complete) = service.store.complete_snapshot(id).await? {
                service.commit_soon(complete);
            }
        }
        Ok(Duration::from_secs(1))
    };
    super::every(&service, "commit", None, tick).await;
}
