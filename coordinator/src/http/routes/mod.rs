//! The routes, a file a concept. Router and description are made together.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::service::Service;

pub mod agent;
pub mod archive;
pub mod audit;
pub mod clusters;
pub mod gc;
pub mod health;
pub mod restores;
pub mod retention;
pub mod schedules;
pub mod snapshots;

/// Everything under `/v1`.
pub(super) fn v1() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .merge(clusters::routes())
        .merge(snapshots::routes())
        .merge(schedules::routes())
        .merge(restores::routes())
        .merge(archive::routes())
        .merge(audit::routes())
        .merge(retention::routes())
        .merge(gc::routes())
        .merge(agent::routes())
}
