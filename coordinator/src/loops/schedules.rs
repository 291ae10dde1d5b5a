//! Schedule slots.

use std::{sync::Arc, time::Duration};

use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::each::{each, named};
use crate::service::{Service, ServiceError};

pub(super) async fn run(service: Arc<Service>) {
    let tick = async || {
        let due = service.store.due_schedules().await?;
        let fired = !due.now.is_empty();
        let fire = async |(cluster, name): (ClusterName, ScheduleName)| match service.fire(&cluster, &name).await {
            // Deleted in the meantime.
            Err(ServiceError::Refused(_) | ServiceError::UnknownCluster(_)) => Ok(()),
            done => done,
        };
        each(due.now, |(cluster, name)| named(cluster, name), fire).await?;
        // The slots that were just set may be the next.
        Ok(if fired { Duration::ZERO } else { due.next_in.unwrap_or(super::LOOK_EVERY) })
    };
    super::every_in_time(&service, "schedules", Some(&service.wakes.schedules), tick).await;
}
