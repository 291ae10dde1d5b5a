//! Changes made by other replicas: the revisions of the clusters that somebody here waits for, in one query. It is asked also when nobody waits:
//! its answer is how this replica knows that it isn't cut off.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::service::{Service, ServiceError};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || -> Result<Duration, ServiceError> {
        let asked = Instant::now();
        let watched = service.hub.watched();
        let names: Vec<_> = watched.iter().map(|(name, _)| name.clone()).collect();
        for (name, revision) in service.store.revisions(&names).await? {
            if watched.iter().any(|(watched, known)| *watched == name && *known != revision) {
                service.catch_up(&name).await?;
            }
        }
        service.freshness.heard(asked);
        Ok(service.look_every())
    };
    super::every_in_time(&service, "revisions", None, tick).await;
}
