//! Schedules.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use stillframe_api::{
    Problem,
    schedule::{PutSchedule, Schedule},
};
use stillframe_protocol::{ClusterName, name::ScheduleName};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::Failure,
        extract::{ApiJson, ApiPath},
    },
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(put, get, delete))
}

/// Sets a schedule. The next slot is a full interval away when the interval is new.
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
