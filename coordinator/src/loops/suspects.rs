//! A member whose connection closed is lost unless it polls again within the grace period.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    decide::member::Evidence,
    service::{Service, registry::Suspicion},
};
use stillframe_api::backoff::Backoff;

pub(super) async fn run(service: Arc<Service>, mut suspicions: mpsc::UnboundedReceiver<Suspicion>) {
    loop {
        let suspicion = tokio::select! {
            suspicion = suspicions.recv() => match suspicion {
                Some(suspicion) => suspicion,
                None => return,
            },
            () = service.stopping.cancelled() => return,
        };
        let service = service.clone();
        tokio::spawn(async move {
            let stopping = service.stopping.clone();
            tokio::select! {
                () = pursue(&service, suspicion) => {}
                () = stopping.cancelled() => {}
            }
        });
    }
}

async fn pursue(service: &Arc<Service>, suspicion: Suspicion) {
    let mut backoff = Backoff::new(service.settings.suspect_grace, service.settings.lease);
    tokio::time::sleep(service.settings.suspect_grace).await;
    // While the database is away nobody can be declared lost; whoever comes back meanwhile isn't.
    while service.registry.is_still_gone(&suspicion) {
        match service.lose(&suspicion.lease, Evidence::Closed { holder: service.replica }).await {
            // It is lost, or another replica has it.
            Ok(()) => return service.registry.forget(&suspicion),
            Err(error) => {
                tracing::debug!(%error, member = %suspicion.lease.1, "a suspect could not be declared lost yet");
                backoff.wait().await;
            }
        }
    }
}
