//! Leases: those of the members that poll here are renewed together, those of members that have just come here at once; those that ran out are
//! the backstop of detection by connection.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::join_all;

use crate::{
    decide::member::Evidence,
    service::{Service, ServiceError, lock},
    store::{LeaseKey, Renewal},
};

/// How many leases are renewed with one statement.
const BATCH: usize = 5_000;

#[derive(Debug, Default)]
struct Rounds {
    /// When the last round over all members began.
    last: Option<Instant>,
    /// Since when every round has been carried out in time.
    in_time_since: Option<Instant>,
}

pub(super) async fn run(service: Arc<Service>) {
    let rounds: Mutex<Rounds> = Mutex::default();
    let tick = async || {
        let every = service.settings.lease / 3;
        let left = lock(&rounds).last.map_or(Duration::ZERO, |last| every.saturating_sub(last.elapsed()));
        if !left.is_zero() {
            renew(&service, service.registry.arrivals()).await?;
            return Ok(left);
        }
        let result = round(&service, &rounds).await;
        if result.is_err() {
            lock(&rounds).in_time_since = None;
        }
        result.map(|()| every)
    };
    super::every_in_time(&service, "leases", Some(&service.wakes.arrivals), tick).await;
}

/// Renews the leases of all who poll here, and declares lost whose lease ran out. Nobody's counts as run out before the members have had a whole
/// lease's time to renew it at a replica that did its rounds: the outage, or the standstill, may have been ours.
async fn round(service: &Arc<Service>, rounds: &Mutex<Rounds>) -> Result<(), ServiceError> {
    let lease = service.settings.lease;
    {
        let mut rounds = lock(rounds);
        let was_late = rounds.last.is_none_or(|last| last.elapsed() > lease);
        rounds.last = Some(Instant::now());
        if was_late {
            rounds.in_time_since = None;
        }
    }
    renew(service, service.registry.renewals(lease / 3 * 2)).await?;
    let since = *lock(rounds).in_time_since.get_or_insert_with(Instant::now);
    if since.elapsed() > lease {
        // All at once: those of a cluster are carried out together.
        let expired = service.store.expired_leases().await?;
        let lose = async |lease: LeaseKey| service.lose(&lease, Evidence::LeaseExpired).await;
        join_all(expired.into_iter().map(lose)).await.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

async fn renew(service: &Service, renewals: Vec<Renewal>) -> Result<(), ServiceError> {
    for batch in renewals.chunks(BATCH) {
        if let Err(error) = service.store.renew_leases(service.replica, service.settings.lease, batch).await {
            service.registry.not_renewed(&renewals);
            return Err(error.into());
        }
    }
    Ok(())
}
