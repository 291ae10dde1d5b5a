//! Snapshots whose parts are all there and that nobody finishes: a replica died, or this one has just started.

use std::{sync::Arc, time::Duration};

use crate::service::Service;

/// How often to look for what another replica left: it is what the death of one delays its snapshots by.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let unfinished = service.store.unfinished().await?;
        if !unfinished.is_empty() {
            service.store.complete_snapshots(&unfinished).await?.into_iter().for_each(|snapshot| service.commit_soon(snapshot));
        }
        Ok(LOOK_EVERY)
    };
    super::every_in_time(&service, "commit", None, tick).await;
}
