//! What agents use.

use std::sync::Arc;

use axum::{
    Json,
    extract::{ConnectInfo, DefaultBodyLimit, State},
};
use stillframe_api::{
    Problem,
    agent::{Assignment, AssignmentQuery, Register, Registered, Report, ReportAccepted},
};
use stillframe_protocol::{ClusterName, MemberName};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        MAX_REPORT_BYTES,
        connection::Connection,
        error::Failure,
        extract::{ApiJson, ApiPath, ApiQuery, ReportJson},
    },
    service::{Caller, Service, assignments::Answer},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    let reports = OpenApiRouter::new().routes(routes!(report)).layer(DefaultBodyLimit::max(MAX_REPORT_BYTES));
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(assignment)).merge(reports)
}

/// Registers a process as a member, under a new incarnation. Asking again with the same `instance` gives the same one.
#[utoipa::path(
    post, path = "/clusters/{cluster}/members", operation_id = "register", tag = "agents", request_body = Register,
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 200, description = "Registered.", body = Registered),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn register(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiJson(request): ApiJson<Register>,
) -> Result<Json<Registered>, Failure> {
    Ok(Json(service.register(&caller, &cluster, request).await?))
}

/// The whole desired state of a member, held until the cluster's revision is above `after`. Holding it renews the member's lease; when the
/// connection closes and the member doesn't come back, it is lost.
#[utoipa::path(
    get, path = "/clusters/{cluster}/members/{member}/assignment", operation_id = "get_assignment", tag = "agents",
    params(
        ("cluster" = String, Path, description = "The cluster's name."), ("member" = String, Path, description = "The member's name."),
        AssignmentQuery,
    ),
    responses(
        (status = 200, description = "The assignment.", body = Assignment),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn assignment(
    State(service): State<Arc<Service>>,
    ConnectInfo(Connection(connection)): ConnectInfo<Connection>,
    ApiPath((cluster, member)): ApiPath<(ClusterName, MemberName)>,
    ApiQuery(query): ApiQuery<AssignmentQuery>,
) -> Result<Json<Answer>, Failure> {
    Ok(Json(service.assignment(&cluster, &member, &query, connection).await?))
}

/// Takes a member's report. Every report is idempotent.
#[utoipa::path(
    post, path = "/clusters/{cluster}/members/{member}/reports", operation_id = "report", tag = "agents", request_body = Report,
    params(("cluster" = String, Path, description = "The cluster's name."), ("member" = String, Path, description = "The member's name.")),
    responses(
        (status = 200, description = "Taken, or of no interest any more.", body = ReportAccepted),
        (status = 409, description = "Another incarnation is in force (`fenced`).", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn report(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, member)): ApiPath<(ClusterName, MemberName)>,
    ReportJson(report): ReportJson<Report>,
) -> Result<Json<ReportAccepted>, Failure> {
    Ok(Json(service.report(&caller, &cluster, &member, report).await?))
}
