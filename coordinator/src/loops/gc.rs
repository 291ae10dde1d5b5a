//! Collection: each cluster's retention is carried out now and then, by whichever replica comes first.

use std::sync::Arc;

use crate::{
    service::{Service, ServiceError},
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
        Ok(super::LOOK_EVERY)
    };
    super::every(&service, "gc", None, tick).await;
}
