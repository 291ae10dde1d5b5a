//! What is to go from the archive: snapshots that are being deleted, what aborted ones left, and unfinished uploads.

use std::{sync::Arc, time::Duration};

use crate::service::Service;

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        service.sweep_due().await?;
        service.abort_stray_uploads().await?;
        service.store.trim_slots().await?;
        Ok(Duration::from_secs(2))
    };
    super::every(&service, "sweep", Some(&service.wakes.sweep), tick).await;
}
