//! Snapshots whose parts are all there and that nobody finishes: a replica died, or this one has just started.

use std::{sync::Arc, time::Duration};

use crate::service::Service;

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let unfinished = service.store.unfinished().await?;
        if !unfinished.is_empty() {
            service.store.complete_snapshots(&unfinished).await?.into_iter().for_each(|snapshot| service.commit_soon(snapshot));
        }
        Ok(Duration::from_secs(1))
    };
    super::every(&service, "commit", None, tick).await;
}
