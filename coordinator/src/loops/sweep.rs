//! What aborted snapshots left in the archive: deleted soon, and once more later, for uploads that came late.

use std::{sync::Arc, time::Duration};

use crate::{
    service::{Service, ServiceError},
    store::Leftover,
};

/// After the longest that a zombie's upload is taken to last.
const AGAIN_IN: Duration = Duration::from_secs(600);

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        for leftover in service.store.leftovers().await? {
            // One cluster's archive that can't be used doesn't keep the others' waiting.
            if let Err(error) = sweep(&service, &leftover).await {
                let Leftover { cluster, snapshot, .. } = &leftover;
                tracing::warn!(%cluster, %snapshot, %error, "what an aborted snapshot left is not deleted yet; trying again");
            }
        }
        service.store.trim_slots().await?;
        Ok(Duration::from_secs(2))
    };
    super::every(&service, "sweep", Some(&service.wakes.sweep), tick).await;
}

async fn sweep(service: &Service, leftover: &Leftover) -> Result<(), ServiceError> {
    let archive = service.archives.get(leftover.archive_prefix.as_deref()).await?;
    archive.delete_snapshot(&leftover.cluster, leftover.snapshot).await?;
    Ok(service.store.swept(leftover.snapshot, Some(AGAIN_IN)).await?)
}
