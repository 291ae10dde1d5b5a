//! Restores.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use stillframe_api::{
    HumanDuration, Problem,
    restore::{Restore, StartRestore},
    snapshot::WaitQuery,
};
use stillframe_protocol::{ClusterName, RestoreId};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::Failure,
        extract::{ApiJson, ApiPath, ApiQuery},
    },
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(get))
}

/// Starts putting a cluster back to a committed snapshot. All or nothing, and one at a time.
#[utoipa::path(
    post, path = "/clusters/{cluster}/restores", operation_id = "start_restore", tag = "restores", request_body = StartRestore,
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 202, description = "Accepted.", body = Restore, headers(("location" = String, description = "The restore's path."))),
        (status = 409, description = "The snapshot isn't committed, or a restore is under way.", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn start(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiJson(request): ApiJson<StartRestore>,
) -> Result<impl IntoResponse, Failure> {
    let restore = service.start_restore(&caller, &cluster, request).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/v1/restores/{}", restore.id))], Json(restore)))
}

/// A restore: now, or with `wait` once it has ended.
#[utoipa::path(
    get, path = "/restores/{restore}", operation_id = "get_restore", tag = "restores",
    params(("restore" = String, Path, format = Uuid, description = "The restore's id."), WaitQuery),
    responses(
        (status = 200, description = "The restore, ended or not.", body = Restore),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get(
    State(service): State<Arc<Service>>,
    ApiPath(restore): ApiPath<RestoreId>,
    ApiQuery(query): ApiQuery<WaitQuery>,
) -> Result<Json<Restore>, Failure> {
    Ok(Json(service.restore(restore, query.wait.map(HumanDuration::get)).await?))
}
