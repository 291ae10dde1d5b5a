//! Idempotency keys that are older than they are kept for.

use std::{sync::Arc, time::Duration};

use crate::service::{Service, idempotency::KEPT_FOR};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        while service.store.trim_keys(KEPT_FOR).await? > 0 {}
        Ok(Duration::from_secs(60))
    };
    super::every_in_time(&service, "idempotency keys", None, tick).await;
}
