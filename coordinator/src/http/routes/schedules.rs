//! Schedules.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use stillframe_api::{
    Page, Problem,
    cluster::PageQuery,
    schedule::{NextQuery, NextSlot, PauseSchedule, PutSchedule, Schedule},
    snapshot::Snapshot,
};
use stillframe_protocol::{ClusterName, name::ScheduleName};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::Failure,
        extract::{ApiJson, ApiPath, ApiQuery, OptionalJson},
    },
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(put, get, delete))
        .routes(routes!(list))
        .routes(routes!(next))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(trigger))
}

/// Sets a schedule. One whose times stay the same goes on with its next slot; at a new interval that is a whole one away. A pause stays.
#[utoipa::path(
    put, path = "/clusters/{cluster}/schedules/{schedule}", operation_id = "put_schedule", tag = "schedules", request_body = PutSchedule,
    params(("cluster" = String, Path, description = "The cluster's name."), ("schedule" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "Set.", body = Schedule),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn put(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, name)): ApiPath<(ClusterName, ScheduleName)>,
    ApiJson(request): ApiJson<PutSchedule>,
) -> Result<Json<Schedule>, Failure> {
    Ok(Json(service.put_schedule(&caller, &cluster, &name, request).await?))
}

/// A schedule as it is now.
#[utoipa::path(
    get, path = "/clusters/{cluster}/schedules/{schedule}", operation_id = "get_schedule", tag = "schedules",
    params(("cluster" = String, Path, description = "The cluster's name."), ("schedule" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "The schedule.", body = Schedule),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get(
    State(service): State<Arc<Service>>,
    ApiPath((cluster, name)): ApiPath<(ClusterName, ScheduleName)>,
) -> Result<Json<Schedule>, Failure> {
    Ok(Json(service.schedule(&cluster, &name).await?))
}

/// Deletes a schedule. The snapshots it took stay.
#[utoipa::path(
    delete, path = "/clusters/{cluster}/schedules/{schedule}", operation_id = "delete_schedule", tag = "schedules",
    params(("cluster" = String, Path, description = "The cluster's name."), ("schedule" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 204, description = "Deleted."),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn delete(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, name)): ApiPath<(ClusterName, ScheduleName)>,
) -> Result<StatusCode, Failure> {
    service.delete_schedule(&caller, &cluster, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a cluster's schedules by name.
#[utoipa::path(
    get, path = "/clusters/{cluster}/schedules", operation_id = "list_schedules", tag = "schedules",
    params(("cluster" = String, Path, description = "The cluster's name."), PageQuery),
    responses(
        (status = 200, description = "A page.", body = Page<Schedule>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn list(
    State(service): State<Arc<Service>>,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<Schedule>>, Failure> {
    Ok(Json(service.schedules(&cluster, &query).await?))
}

/// The next slots of a schedule, and when they fire.
#[utoipa::path(
    get, path = "/clusters/{cluster}/schedules/{schedule}/next", operation_id = "next_slots", tag = "schedules",
    params(("cluster" = String, Path, description = "The cluster's name."), ("schedule" = String, Path, description = "The schedule's name."), NextQuery),
    responses(
        (status = 200, description = "The slots, the next first; none while it is paused without an end.", body = Page<NextSlot>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn next(
    State(service): State<Arc<Service>>,
    ApiPath((cluster, name)): ApiPath<(ClusterName, ScheduleName)>,
    ApiQuery(query): ApiQuery<NextQuery>,
) -> Result<Json<Page<NextSlot>>, Failure> {
    Ok(Json(service.next_slots(&cluster, &name, &query).await?))
}

/// Pauses a schedule: until it is resumed, until a time, or for a while.
#[utoipa::path(
    post, path = "/clusters/{cluster}/schedules/{schedule}/pause", operation_id = "pause_schedule", tag = "schedules",
    request_body = Option<PauseSchedule>,
    params(("cluster" = String, Path, description = "The cluster's name."), ("schedule" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "It is paused.", body = Schedule),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn pause(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, name)): ApiPath<(ClusterName, ScheduleName)>,
    OptionalJson(request): OptionalJson<PauseSchedule>,
) -> Result<Json<Schedule>, Failure> {
    Ok(Json(service.pause_schedule(&caller, &cluster, &name, &request).await?))
}

/// Ends a schedule's pause: the next slot is the first later than now. One that isn't paused goes on as it is.
#[utoipa::path(
    post, path = "/clusters/{cluster}/schedules/{schedule}/resume", operation_id = "resume_schedule", tag = "schedules",
    params(("cluster" = String, Path, description = "The cluster's name."), ("schedule" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "It goes on.", body = Schedule),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn resume(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, name)): ApiPath<(ClusterName, ScheduleName)>,
) -> Result<Json<Schedule>, Failure> {
    Ok(Json(service.resume_schedule(&caller, &cluster, &name).await?))
}

/// Takes a snapshot as the schedule would, now; also while it is paused. It takes no slot.
#[utoipa::path(
    post, path = "/clusters/{cluster}/schedules/{schedule}/trigger", operation_id = "trigger_schedule", tag = "schedules",
    params(("cluster" = String, Path, description = "The cluster's name."), ("schedule" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 202, description = "Accepted.", body = Snapshot, headers(("location" = String, description = "The snapshot's path."))),
        (status = 409, description = "The cluster isn't whole and running, or too many snapshots wait.", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn trigger(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, name)): ApiPath<(ClusterName, ScheduleName)>,
) -> Result<impl IntoResponse, Failure> {
    let snapshot = service.trigger_schedule(&caller, &cluster, &name).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/v1/snapshots/{}", snapshot.id))], Json(snapshot)))
}
