//! Hints between replicas: changes made here are announced, those made elsewhere are looked at at once, so that a snapshot which is asked for at
//! one replica begins without delay at the members that poll at another. When a hint gets lost, the look at revisions finds the change.

use std::{sync::Arc, time::Duration};

use stillframe_api::backoff::Backoff;

use crate::{
    service::{Service, ServiceError},
    store::{Hint, StoreError},
};

/// Announces what changed here.
pub(super) async fn announce(service: Arc<Service>) {
    let tick = async || {
        let due = service.announcements.take();
        if due.is_empty() || service.seems_cut_off() {
            return Ok(super::LOOK_EVERY);
        }
        let replica = service.replica;
        let hints: Vec<Hint> = due.into_iter().map(|(cluster, revision)| Hint { replica, cluster, revision }).collect();
        service.store.announce(&hints).await?;
        Ok(super::LOOK_EVERY)
    };
    super::every_in_time(&service, "announcements", Some(&service.wakes.announce), tick).await;
}

/// Looks at what changed elsewhere.
pub(super) async fn listen(service: Arc<Service>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), super::LOOK_EVERY);
    loop {
        let heard = tokio::select! {
            heard = hear(&service) => heard,
            () = service.stopping.cancelled() => return,
        };
        match heard {
            Ok(()) => backoff.reset(),
            Err(error) => {
                tracing::debug!(%error, "no hints from other replicas just now");
                tokio::select! {
                    () = backoff.wait() => {}
                    () = service.stopping.cancelled() => return,
                }
            }
        }
    }
}

async fn hear(service: &Service) -> Result<(), ServiceError> {
    let Hint { replica, cluster, revision } = service.store.next_hint().await?;
    if replica == service.replica {
        return Ok(());
    }
    service.announcements.known(&cluster, revision);
    let channel = service.hub.channel(&cluster);
    if channel.is_watched() && channel.view().is_some_and(|view| view.facts.cluster.revision < revision) {
        match service.catch_up(&cluster).await {
            Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
            // The look at revisions finds it again; the next hint may be of another cluster.
            Err(error) => tracing::debug!(%cluster, %error, "a change elsewhere could not be looked at"),
            Ok(()) => {}
        }
    }
    Ok(())
}
