//! Collection: each cluster's retention is carried out now and then, and its archive looked through for orphans, by whichever replica comes first.

use std::sync::Arc;

use stillframe_api::gc::GcOptions;
use stillframe_protocol::ClusterName;

use crate::{
    service::{Caller, Service, ServiceError},
    store::Collecting,
};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let interval = service.settings.collection.interval;
        for cluster in service.store.claim_collecting(Collecting::Retention, interval).await? {
            match service.carry_out_retention(&cluster).await {
                Ok(0) | Err(ServiceError::UnknownCluster(_)) => {}
                Ok(snapshots) => tracing::info!(%cluster, snapshots, "retention lets snapshots go"),
                Err(error) => return Err(error),
            }
        }
        for cluster in service.store.claim_collecting(Collecting::Orphans, service.settings.collection.orphan_interval).await? {
            match look_through(&service, &cluster).await {
                Ok(()) | Err(ServiceError::UnknownCluster(_)) => {}
                Err(error @ ServiceError::Store(_)) => return Err(error),
                // Another time: the archive is away, which is told elsewhere.
                Err(error) => tracing::warn!(%cluster, %error, "the archive is not looked through for orphans this time"),
            }
        }
        Ok(super::LOOK_EVERY)
    };
    super::every(&service, "gc", None, tick).await;
}

async fn look_through(service: &Service, cluster: &ClusterName) -> Result<(), ServiceError> {
    let done = service.run_gc(&Caller::coordinator(), cluster, GcOptions::default()).await?;
    let (found, deleted) = (done.plan.orphans, done.orphans);
    if found.orphans > 0 {
        let withheld = found.withheld;
        tracing::warn!(%cluster, orphans = found.orphans, bytes = found.bytes, deleted, withheld, "the archive has objects that nobody owns");
    }
    Ok(())
}
