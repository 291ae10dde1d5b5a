//! Snapshots.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use stillframe_api::{
    HumanDuration, Page, Problem,
    settings::UpdateSnapshot,
    snapshot::{AbortSnapshot, ListSnapshots, Snapshot, TakeSnapshot, WaitQuery},
};
use stillframe_protocol::{ClusterName, SnapshotId};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::Failure,
        extract::{ApiJson, ApiPath, ApiQuery, OptionalJson},
    },
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(take, list)).routes(routes!(get, update)).routes(routes!(abort))
}

/// Asks for a snapshot, which is taken in the background: at once, or when those under way have ended.
#[utoipa::path(
    post, path = "/clusters/{cluster}/snapshots", operation_id = "take_snapshot", tag = "snapshots",
    params(("cluster" = String, Path, description = "The cluster's name.")), request_body = Option<TakeSnapshot>,
    responses(
        (status = 202, description = "Accepted.", body = Snapshot, headers(("location" = String, description = "The snapshot's path."))),
        (status = 409, description = "The cluster isn't whole and running, or too many snapshots wait.", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn take(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    OptionalJson(request): OptionalJson<TakeSnapshot>,
) -> Result<impl IntoResponse, Failure> {
    let snapshot = service.take_snapshot(&caller, &cluster, request).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/v1/snapshots/{}", snapshot.id))], Json(snapshot)))
}

/// Lists a cluster's snapshots, newest first.
#[utoipa::path(
    get, path = "/clusters/{cluster}/snapshots", operation_id = "list_snapshots", tag = "snapshots",
    params(("cluster" = String, Path, description = "The cluster's name."), ListSnapshots),
    responses(
        (status = 200, description = "A page, without the snapshots' members.", body = Page<Snapshot>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn list(
    State(service): State<Arc<Service>>,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiQuery(query): ApiQuery<ListSnapshots>,
) -> Result<Json<Page<Snapshot>>, Failure> {
    Ok(Json(service.snapshots(&cluster, &query).await?))
}

/// A snapshot: now, or with `wait` once it has ended.
#[utoipa::path(
    get, path = "/snapshots/{snapshot}", operation_id = "get_snapshot", tag = "snapshots",
    params(("snapshot" = String, Path, format = Uuid, description = "The snapshot's id."), WaitQuery),
    responses(
        (status = 200, description = "The snapshot, ended or not.", body = Snapshot),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get(
    State(service): State<Arc<Service>>,
    ApiPath(snapshot): ApiPath<SnapshotId>,
    ApiQuery(query): ApiQuery<WaitQuery>,
) -> Result<Json<Snapshot>, Failure> {
    Ok(Json(service.snapshot(snapshot, query.wait.map(HumanDuration::get)).await?))
}

/// Changes how long a snapshot that is pending or recording may take.
#[utoipa::path(
    patch, path = "/snapshots/{snapshot}", operation_id = "update_snapshot", tag = "snapshots", request_body = UpdateSnapshot,
    params(("snapshot" = String, Path, format = Uuid, description = "The snapshot's id.")),
    responses(
        (status = 200, description = "The snapshot as it is now.", body = Snapshot),
        (status = 409, description = "It goes only forward now (`snapshot_ended`), or the new time is up already (`invalid_request`).", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn update(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(snapshot): ApiPath<SnapshotId>,
    ApiJson(changes): ApiJson<UpdateSnapshot>,
) -> Result<Json<Snapshot>, Failure> {
    Ok(Json(service.update_snapshot(&caller, snapshot, &changes).await?))
}

/// Aborts a snapshot that is pending or recording. One that is aborted already stays as it is.
#[utoipa::path(
    post, path = "/snapshots/{snapshot}/abort", operation_id = "abort_snapshot", tag = "snapshots",
    params(("snapshot" = String, Path, format = Uuid, description = "The snapshot's id.")), request_body = Option<AbortSnapshot>,
    responses(
        (status = 200, description = "It is aborted.", body = Snapshot),
        (status = 409, description = "It goes only forward now (`snapshot_ended`).", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn abort(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(snapshot): ApiPath<SnapshotId>,
    OptionalJson(request): OptionalJson<AbortSnapshot>,
) -> Result<Json<Snapshot>, Failure> {
    Ok(Json(service.abort_snapshot(&caller, snapshot, request).await?))
}
