//! Changes made by other replicas: the revisions of the clusters that somebody here waits for, in one query.

use std::{sync::Arc, time::Duration};

use crate::service::{Service, ServiceError};

/// How late a change made by another replica is heard of at most.
const EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let watched = service.hub.watched();
        if watched.is_empty() {
            return Ok(EVERY);
        }
        let names: Vec<_> = watched.iter().map(|(name, _)| name.clone()).collect();
        for (name, revision) in service.store.revisions(&names).await? {
            if watched.iter().any(|(watched, known)| *watched == name && *known < revision) {
                match service.reload(&name).await {
                    Ok(_) | Err(ServiceError::UnknownCluster(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(EVERY)
    };
    super::every(&service, "revisions", None, tick).await;
}
