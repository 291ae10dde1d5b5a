//! Leases: those of the members that poll here are renewed together; those that ran out are the backstop of detection by connection.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    decide::member::Evidence,
    service::{Service, ServiceError, lock},
};

pub(super) async fn run(service: Arc<Service>) {
    // Nobody's lease is taken to have run out before the members have had a whole lease's time to renew it: the outage may have been ours.
    let renewing_since: Mutex<Option<Instant>> = Mutex::new(None);
    let tick = async || {
        let lease = service.settings.lease;
        match renew(&service).await {
            Ok(()) => {}
            Err(error) => {
                *lock(&renewing_since) = None;
                return Err(error);
            }
        }
        let since = *lock(&renewing_since).get_or_insert_with(Instant::now);
        if since.elapsed() > lease {
            for lease in service.store.expired_leases().await? {
                service.lose(&lease, Evidence::LeaseExpired).await?;
            }
        }
        Ok::<Duration, ServiceError>(lease / 3)
    };
    super::every(&service, "leases", None, tick).await;
}

async fn renew(service: &Service) -> Result<(), ServiceError> {
    let lease = service.settings.lease;
    let held = service.registry.held(lease / 3);
    for leases in held.chunks(5_000) {
        service.store.renew_leases(service.replica, lease, leases).await?;
    }
    Ok(())
}
