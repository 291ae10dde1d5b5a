//! Clusters and their members.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use stillframe_api::{
    Page, Problem,
    cluster::{Cluster, CreateCluster, LeaveRequest, Member, PageQuery},
    rollback::ResumeCluster,
    settings::UpdateCluster,
};
use stillframe_protocol::{ClusterName, MemberName};
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
        .routes(routes!(create, list))
        .routes(routes!(get, update))
        .routes(routes!(members))
        .routes(routes!(leave))
        .routes(routes!(stay))
        .routes(routes!(resume))
}

/// Creates a cluster. Asking again with the same settings is fine.
#[utoipa::path(
    post, path = "/clusters", operation_id = "create_cluster", tag = "clusters", request_body = CreateCluster,
    responses(
        (status = 201, description = "Created.", body = Cluster, headers(("location" = String, description = "The cluster's path."))),
        (status = 200, description = "It is there already, with these settings.", body = Cluster),
        (status = 409, description = "It is there with other settings (`cluster_exists`).", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn create(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiJson(settings): ApiJson<CreateCluster>,
) -> Result<impl IntoResponse, Failure> {
    let (cluster, is_new) = service.create_cluster(&caller, settings).await?;
    let location = [(header::LOCATION, format!("/v1/clusters/{}", cluster.name))];
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, location, Json(cluster)))
}

/// Lists clusters by name.
#[utoipa::path(
    get, path = "/clusters", operation_id = "list_clusters", tag = "clusters", params(PageQuery),
    responses(
        (status = 200, description = "A page.", body = Page<Cluster>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn list(State(service): State<Arc<Service>>, ApiQuery(query): ApiQuery<PageQuery>) -> Result<Json<Page<Cluster>>, Failure> {
    Ok(Json(service.clusters(&query).await?))
}

/// A cluster as it is now.
#[utoipa::path(
    get, path = "/clusters/{cluster}", operation_id = "get_cluster", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 200, description = "The cluster.", body = Cluster),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get(State(service): State<Arc<Service>>, ApiPath(cluster): ApiPath<ClusterName>) -> Result<Json<Cluster>, Failure> {
    Ok(Json(service.cluster(&cluster).await?))
}

/// Changes settings of a cluster. A field that is left out stays as it is; what changes applies at once, also to snapshots that wait.
#[utoipa::path(
    patch, path = "/clusters/{cluster}", operation_id = "update_cluster", tag = "clusters", request_body = UpdateCluster,
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 200, description = "The cluster as it is now.", body = Cluster),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn update(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiJson(changes): ApiJson<UpdateCluster>,
) -> Result<Json<Cluster>, Failure> {
    Ok(Json(service.update_cluster(&caller, &cluster, &changes).await?))
}

/// Lists a cluster's members by name.
#[utoipa::path(
    get, path = "/clusters/{cluster}/members", operation_id = "list_members", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name."), PageQuery),
    responses(
        (status = 200, description = "A page.", body = Page<Member>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn members(
    State(service): State<Arc<Service>>,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<Member>>, Failure> {
    Ok(Json(service.members(&cluster, &query).await?))
}

/// Asks a member to leave in good order. Its application is told, and leaves when it has handed over what it has; then its peers send it nothing new, what is
/// under way arrives, and it ends. Snapshots go on meanwhile, with it and then without it. Asking again changes nothing.
#[utoipa::path(
    post, path = "/clusters/{cluster}/members/{member}/leave", operation_id = "leave", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name."), ("member" = String, Path, description = "The member's name.")),
    request_body = Option<LeaveRequest>,
    responses(
        (status = 200, description = "The member as it is now.", body = Member),
        (status = 409, description = "Fewer than `min_members` would stay (`too_few_members`).", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn leave(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, member)): ApiPath<(ClusterName, MemberName)>,
    OptionalJson(request): OptionalJson<LeaveRequest>,
) -> Result<Json<Member>, Failure> {
    Ok(Json(service.ask_to_leave(&caller, &cluster, &member, Some(request)).await?))
}

/// Takes back that a member was asked to leave. Its application may have acted on it already: then it is too late.
#[utoipa::path(
    post, path = "/clusters/{cluster}/members/{member}/stay", operation_id = "stay", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name."), ("member" = String, Path, description = "The member's name.")),
    responses(
        (status = 200, description = "The member as it is now.", body = Member),
        (status = 409, description = "It is leaving already (`member_leaving`).", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn stay(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath((cluster, member)): ApiPath<(ClusterName, MemberName)>,
) -> Result<Json<Member>, Failure> {
    Ok(Json(service.ask_to_leave(&caller, &cluster, &member, None).await?))
}

/// Has a halted cluster go on: in its generation where that is whole, else by a restore to its latest committed snapshot, which the answer
/// names. Rollbacks are counted anew. A cluster that runs or is being restored stays as it is.
#[utoipa::path(
    post, path = "/clusters/{cluster}/resume", operation_id = "resume_cluster", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name.")), request_body = Option<ResumeCluster>,
    responses(
        (status = 200, description = "It goes on, or is being put back.", body = Cluster),
        (status = 409, description = "It has never run, or there is nothing to go back to.", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn resume(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    OptionalJson(request): OptionalJson<ResumeCluster>,
) -> Result<Json<Cluster>, Failure> {
    Ok(Json(service.resume_cluster(&caller, &cluster, request).await?))
}
