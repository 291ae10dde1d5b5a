//! Changes made by other replicas: the revisions of the clusters that somebody here waits for, in one query. It is asked also when nobody waits:
//! its answer is how this replica knows that it isn't cut off.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::each::each;
use crate::{
    service::{Service, ServiceError},
    store::StoreError,
};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || -> Result<Duration, ServiceError> {
        let asked = Instant::now();
        let watched = service.hub.watched();
        let names: Vec<_> = watched.iter().map(|(name, _)| name.clone()).collect();
        let mut changed = service.store.revisions(&names).await?;
        changed.retain(|(name, revision)| watched.iter().any(|(watched, known)| watched == name && known != revision));
        let caught_up = each(changed, |(name, _)| name.to_string(), async |(name, _)| service.catch_up(&name).await).await;
        match caught_up {
            Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
            // One cluster that can't be read leaves the word on all others fresh; it is looked at again with the next round.
            Ok(()) | Err(_) => service.freshness.heard(asked),
        }
        Ok(service.look_every())
    };
    super::every_in_time(&service, "revisions", None, tick).await;
}
