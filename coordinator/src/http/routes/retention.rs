//! What is kept: retention and holds; and deleting a snapshot.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use stillframe_api::{
    Page, Problem,
    retention::{ClusterRetention, CreateHold, Hold, Retention},
    snapshot::Snapshot,
};
use stillframe_protocol::{ClusterName, HoldId, SnapshotId};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::Failure,
        extract::{ApiJson, ApiPath},
    },
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(put, get, delete))
        .routes(routes!(hold, holds))
        .routes(routes!(release))
        .routes(routes!(delete_snapshot))
}

/// Sets which committed snapshots of a cluster are kept. What goes for it is deleted within the coordinator's `--gc-interval`.
#[utoipa::path(
    put, path = "/clusters/{cluster}/retention", operation_id = "put_retention", tag = "retention", request_body = Retention,
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 200, description = "Set.", body = ClusterRetention),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn put(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiJson(retention): ApiJson<Retention>,
) -> Result<Json<ClusterRetention>, Failure> {
    Ok(Json(service.set_retention(&caller, &cluster, Some(retention)).await?))
}

/// Which committed snapshots of a cluster are kept.
#[utoipa::path(
    get, path = "/clusters/{cluster}/retention", operation_id = "get_retention", tag = "retention",
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 200, description = "The retention; null: everything is kept.", body = ClusterRetention),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get(
    State(service): State<Arc<Service>>,
    ApiPath(cluster): ApiPath<ClusterName>,
) -> Result<Json<ClusterRetention>, Failure> {
    Ok(Json(service.retention(&cluster).await?))
}

/// Takes a cluster's retention away: from now on everything is kept.
#[utoipa::path(
    delete, path = "/clusters/{cluster}/retention", operation_id = "delete_retention", tag = "retention",
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 204, description = "Everything is kept."),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn delete(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
) -> Result<StatusCode, Failure> {
    service.set_retention(&caller, &cluster, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Holds a snapshot: neither retention nor a request deletes it while it is held.
#[utoipa::path(
    post, path = "/snapshots/{snapshot}/holds", operation_id = "hold_snapshot", tag = "retention", request_body = CreateHold,
    params(("snapshot" = String, Path, format = Uuid, description = "The snapshot's id.")),
    responses(
        (status = 201, description = "Held.", body = Hold, headers(("location" = String, description = "The hold's path."))),
        (status = 409, description = "It was aborted or deleted.", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn hold(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(snapshot): ApiPath<SnapshotId>,
    ApiJson(request): ApiJson<CreateHold>,
) -> Result<impl IntoResponse, Failure> {
    let hold = service.hold_snapshot(&caller, snapshot, request).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/v1/snapshots/{snapshot}/holds/{}", hold.id))], Json(hold)))
}

/// The holds on a snapshot, oldest first, those that have expired included. All on one page.
#[utoipa::path(
    get, path = "/snapshots/{snapshot}/holds", operation_id = "list_holds", tag = "retention",
    params(("snapshot" = String, Path, format = Uuid, description = "The snapshot's id.")),
    responses(
        (status = 200, description = "The holds.", body = Page<Hold>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn holds(State(service): State<Arc<Service>>, ApiPath(snapshot): ApiPath<SnapshotId>) -> Result<Json<Page<Hold>>, Failure> {
    Ok(Json(service.holds(snapshot).await?))
}

/// Removes a hold.
#[utoipa::path(
    delete, path = "/snapshots/{snapshot}/holds/{hold}", operation_id = "release_hold", tag = "retention",
    params(
        ("snapshot" = String, Path, format = Uuid, description = "The snapshot's id."), ("hold" = String, Path, format = Uuid, description = "The hold's id."),
    ),
    responses(
        (status = 204, description = "Removed."),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn release(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((snapshot, hold)): ApiPath<(SnapshotId, HoldId)>,
) -> Result<StatusCode, Failure> {
    service.release_snapshot(&caller, snapshot, hold).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a committed or aborted snapshot, whatever the cluster's retention says. Its objects go in the background, its row stays. Refused
/// while somebody holds it, while a restore of the cluster is under way, and for the snapshot that a rollback goes back to.
#[utoipa::path(
    delete, path = "/snapshots/{snapshot}", operation_id = "delete_snapshot", tag = "retention",
    params(("snapshot" = String, Path, format = Uuid, description = "The snapshot's id.")),
    responses(
        (status = 202, description = "It is being deleted, or is already.", body = Snapshot),
        (status = 409, description = "It hasn't ended, or something needs it.", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn delete_snapshot(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(snapshot): ApiPath<SnapshotId>,
) -> Result<(StatusCode, Json<Snapshot>), Failure> {
    Ok((StatusCode::ACCEPTED, Json(service.delete_snapshot(&caller, snapshot).await?)))
}
