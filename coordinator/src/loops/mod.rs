//! What happens without a request. Each loop is bounded a tick, idempotent, woken by its timer and by signal, and goes on after any error.
//!
//! | to find | look in |
//! | --- | --- |
//! | members whose connection closed | [`suspects`] |
//! | leases, renewed and run out | [`leases`] |
//! | deadlines of snapshots and restores | [`deadlines`] |
//! | schedule slots | [`schedules`] |
//! | snapshots that somebody has to finish | [`commit`] |
//! | one after the other, whatever is wrong with one | [`each`] |
//! | what is to go from the archive | [`sweep`] |
//! | retention | [`gc`] |
//! | idempotency keys that are old | [`keys`] |
//! | clusters of which the database may know less than the archive | [`reconcile`] |
//! | changes made by other replicas | [`revisions`], [`hints`] |

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use crate::{
    service::{Service, ServiceError, registry::Suspicion},
    store::StoreError,
};
use stillframe_api::backoff::Backoff;

mod commit;
mod deadlines;
mod each;
mod gc;
mod hints;
mod keys;
mod leases;
mod reconcile;
mod revisions;
mod schedules;
mod suspects;
mod sweep;

/// The longest a loop sleeps without looking.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The longest a tick may take that asks nobody but the database.
const TICK_LIMIT: Duration = Duration::from_secs(60);

/// Starts every loop. They end when the service stops.
pub fn start(service: &Arc<Service>, suspicions: mpsc::UnboundedReceiver<Suspicion>) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    loops.spawn(suspects::run(service.clone(), suspicions));
    loops.spawn(leases::run(service.clone()));
    loops.spawn(deadlines::run(service.clone()));
    loops.spawn(schedules::run(service.clone()));
    loops.spawn(commit::run(service.clone()));
    loops.spawn(sweep::run(service.clone()));
    loops.spawn(gc::run(service.clone()));
    loops.spawn(reconcile::run(service.clone()));
    loops.spawn(revisions::run(service.clone()));
    loops.spawn(hints::announce(service.clone()));
    loops.spawn(hints::listen(service.clone()));
    loops.spawn(keys::run(service.clone()));
    loops
}

/// Runs a tick again and again: after the time it asks for, when it is woken, or after a while when it failed.
async fn every<F>(service: &Service, name: &'static str, wake: Option<&Notify>, tick: impl Fn() -> F)
where
    F: Future<Output = Result<Duration, ServiceError>>,
{
    repeat(service, name, wake, Duration::MAX, tick).await;
}

/// As [`every`], for ticks that ask nobody but the database: one that takes too long waits for a connection that is dead and doesn't know.
async fn every_in_time<F>(service: &Service, name: &'static str, wake: Option<&Notify>, tick: impl Fn() -> F)
where
    F: Future<Output = Result<Duration, ServiceError>>,
{
    repeat(service, name, wake, TICK_LIMIT, tick).await;
}

async fn repeat<F>(service: &Service, name: &'static str, wake: Option<&Notify>, limit: Duration, tick: impl Fn() -> F)
where
    F: Future<Output = Result<Duration, ServiceError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(100), LOOK_EVERY);
    let mut failing = false;
    let woken = async || match wake {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    };
    let late = |_| ServiceError::Store(StoreError::Unavailable { reason: format!("no answer within {} s", limit.as_secs()) });
    loop {
        let pause = tokio::select! {
            done = tokio::time::timeout(limit, tick()) => match done.map_err(late).and_then(|done| done) {
                Ok(pause) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(name, "goes on");
                    }
                    backoff.reset();
                    pause.min(LOOK_EVERY)
                }
                Err(error) => {
                    // Once an outage, not once a try.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(name, %error, "can't go on; trying again until it can");
                    }
                    backoff.next_wait()
                }
            },
            () = service.stopping.cancelled() => return,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = woken(), if !failing => {}
            () = service.stopping.cancelled() => return,
        }
    }
}
