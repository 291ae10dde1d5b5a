//! Snapshots whose parts are all there and that nobody finishes: a replica died, or this one has just started.

use std::{sync::Arc, time::Duration};

use stillframe_protocol::SnapshotId;

use super::each::each;
use crate::{
    service::{Service, ServiceError},
    store::StoreError,
};

/// How often to look for what another replica left: it is what the death of one delays its snapshots by.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let unfinished = service.store.unfinished().await?;
        if !unfinished.is_empty() {
            commit_all(&service, unfinished).await?;
        }
        Ok(LOOK_EVERY)
    };
    super::every_in_time(&service, "commit", None, tick).await;
}

/// Commits those that are complete, all asked for at once; one by one where one of them can't be read.
async fn commit_all(service: &Arc<Service>, snapshots: Vec<SnapshotId>) -> Result<(), ServiceError> {
    let commit = async |some: &[SnapshotId]| {
        let complete = service.store.complete_snapshots(some).await?;
        complete.into_iter().for_each(|snapshot| service.commit_soon(snapshot));
        Ok(())
    };
    match commit(&snapshots).await {
        Err(ServiceError::Store(StoreError::Fault { .. })) => {
            each(snapshots, ToString::to_string, async |snapshot| commit(&[snapshot]).await).await
        }
        done => done,
    }
}
