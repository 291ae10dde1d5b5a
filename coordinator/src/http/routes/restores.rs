//! Restores.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use stillframe_api::{
    HumanDuration, Page, Problem,
    cluster::PageQuery,
    restore::{CancelRestore, Restore, StartRestore},
    restore_plan::RestorePlan,
    snapshot::WaitQuery,
};
use stillframe_protocol::{ClusterName, RestoreId};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::Failure,
        extract::{ApiJson, ApiPath, ApiQuery, OptionalJson},
    },
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(start, list)).routes(routes!(get)).routes(routes!(cancel))
}

/// Starts putting a cluster back to a committed snapshot. All or nothing, and one at a time. With `dry_run` it only says what that would do.
#[utoipa::path(
    post, path = "/clusters/{cluster}/restores", operation_id = "start_restore", tag = "restores", request_body = StartRestore,
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 202, description = "Accepted.", body = Restore, headers(("location" = String, description = "The restore's path."))),
        (status = 200, description = "With `dry_run`: the plan. Nothing was changed.", body = RestorePlan),
        (status = 409, description = "The snapshot isn't committed, the mapping doesn't fit it, or a restore is under way.", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn start(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiJson(request): ApiJson<StartRestore>,
) -> Result<Response, Failure> {
    if request.dry_run {
        return Ok(Json(service.plan_restore(&cluster, &request).await?).into_response());
    }
    let restore = service.start_restore(&caller, &cluster, request).await?;
    let location = [(header::LOCATION, format!("/v1/restores/{}", restore.id))];
    Ok((StatusCode::ACCEPTED, location, Json(restore)).into_response())
}

/// Lists a cluster's restores, newest first.
#[utoipa::path(
    get, path = "/clusters/{cluster}/restores", operation_id = "list_restores", tag = "restores",
    params(("cluster" = String, Path, description = "The cluster's name."), PageQuery),
    responses(
        (status = 200, description = "A page.", body = Page<Restore>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn list(
    State(service): State<Arc<Service>>,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<Restore>>, Failure> {
    Ok(Json(service.restores(&cluster, &query).await?))
}

/// Gives a restore up before its commit point: the cluster goes on in its old generation where that is whole, else it halts. One that was
/// cancelled stays so.
#[utoipa::path(
    post, path = "/restores/{restore}/cancel", operation_id = "cancel_restore", tag = "restores",
    params(("restore" = String, Path, format = Uuid, description = "The restore's id.")), request_body = Option<CancelRestore>,
    responses(
        (status = 200, description = "It is cancelled.", body = Restore),
        (status = 409, description = "It has passed its commit point, or ended (`restore_ended`).", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn cancel(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(restore): ApiPath<RestoreId>,
    OptionalJson(request): OptionalJson<CancelRestore>,
) -> Result<Json<Restore>, Failure> {
    Ok(Json(service.cancel_restore(&caller, restore, request).await?))
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
