//! What is to go from the archive: snapshots that are being deleted, what aborted ones left, and unfinished uploads.

use std::{sync::Arc, time::Duration};

use crate::service::{Service, ServiceError};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        // What is wrong with one kind doesn't keep the others from their turn either.
        let swept = service.sweep_due().await;
        let aborted = service.abort_stray_uploads().await;
        let trimmed = service.store.trim_slots().await.map_err(ServiceError::from);
        swept.and(aborted).and(trimmed)?;
        Ok(Duration::from_secs(2))
    };
    super::every(&service, "sweep", Some(&service.wakes.sweep), tick).await;
}
