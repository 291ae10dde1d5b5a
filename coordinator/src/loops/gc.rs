//! Collection: each cluster's retention is carried out now and then, and its archive looked through for orphans, by whichever replica comes first.

use std::sync::Arc;

use stillframe_api::gc::GcOptions;
use stillframe_protocol::ClusterName;

use super::each::each;
use crate::{
    service::{Caller, Service, ServiceError},
    store::Collecting,
};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        // Who is claimed has its turn now, or not before the interval is over: what is wrong with one cluster is no other's harm.
        let settings = service.settings.collection;
        let due = service.store.claim_collecting(Collecting::Retention, settings.interval).await?;
        let kept = each(due, ToString::to_string, async |cluster| keep(&service, cluster).await).await;
        let due = service.store.claim_collecting(Collecting::Orphans, settings.orphan_interval).await?;
        let looked = each(due, ToString::to_string, async |cluster| look_through(&service, cluster).await).await;
        kept.and(looked)?;
        Ok(super::LOOK_EVERY)
    };
    super::every(&service, "gc", None, tick).await;
}

async fn keep(service: &Service, cluster: ClusterName) -> Result<(), ServiceError> {
    match service.carry_out_retention(&cluster).await {
        Ok(0) | Err(ServiceError::UnknownCluster(_)) => Ok(()),
        Ok(snapshots) => {
            tracing::info!(%cluster, snapshots, "retention lets snapshots go");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn look_through(service: &Service, cluster: ClusterName) -> Result<(), ServiceError> {
    let done = match service.carry_out_gc(&Caller::coordinator(), &cluster, GcOptions::default()).await {
        Ok(done) => done,
        Err(ServiceError::UnknownCluster(_)) => return Ok(()),
        Err(error @ ServiceError::Store(_)) => return Err(error),
        // Another time: the archive is away, which is told elsewhere.
        Err(error) => {
            tracing::warn!(%cluster, %error, "the archive is not looked through for orphans this time");
            return Ok(());
        }
    };
    let (found, deleted) = (done.plan.orphans, done.orphans);
    if found.orphans > 0 {
        let withheld = found.withheld;
        tracing::warn!(%cluster, orphans = found.orphans, bytes = found.bytes, deleted, withheld, "the archive has objects that nobody owns");
    }
    Ok(())
}
