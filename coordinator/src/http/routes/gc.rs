//! Garbage collection.

use std::sync::Arc;

use axum::{Json, extract::State};
use stillframe_api::{
    Problem,
    gc::{Collection, GcOptions, GcPlan, GcReport},
};
use stillframe_protocol::ClusterName;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        error::Failure,
        extract::{ApiPath, ApiQuery, OptionalJson},
    },
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(plan)).routes(routes!(run)).routes(routes!(show)).routes(routes!(confirm))
}

/// What would go from a cluster's archive now, and why. Lists all of the cluster's objects.
#[utoipa::path(
    get, path = "/clusters/{cluster}/gc/plan", operation_id = "plan_gc", tag = "gc",
    params(("cluster" = String, Path, description = "The cluster's name."), GcOptions),
    responses(
        (status = 200, description = "The plan.", body = GcPlan),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn plan(
    State(service): State<Arc<Service>>,
    ApiPath(cluster): ApiPath<ClusterName>,
    ApiQuery(options): ApiQuery<GcOptions>,
) -> Result<Json<GcPlan>, Failure> {
    Ok(Json(service.gc_plan(&cluster, options).await?))
}

/// Carries out what the plan with the same options says. The objects of snapshots that go by their retention are deleted in the background.
#[utoipa::path(
    post, path = "/clusters/{cluster}/gc/run", operation_id = "run_gc", tag = "gc", request_body = Option<GcOptions>,
    params(("cluster" = String, Path, description = "The cluster's name.")),
    responses(
        (status = 200, description = "What was planned and done.", body = GcReport),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn run(
    State(service): State<Arc<Service>>,
    caller: Caller,
    ApiPath(cluster): ApiPath<ClusterName>,
    OptionalJson(options): OptionalJson<GcOptions>,
) -> Result<Json<GcReport>, Failure> {
    Ok(Json(service.run_gc(&caller, &cluster, options).await?))
}

/// Whether anything is deleted from the archive, of all clusters.
#[utoipa::path(
    get, path = "/gc", operation_id = "get_collection", tag = "gc",
    responses(
        (status = 200, description = "Whether it is suspended, and why.", body = Collection),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn show(State(service): State<Arc<Service>>) -> Result<Json<Collection>, Failure> {
    Ok(Json(service.collection().await?))
}

/// Confirms that the catalog is whole: deletion goes on.
#[utoipa::path(
    post, path = "/gc/confirm", operation_id = "confirm_collection", tag = "gc",
    responses(
        (status = 200, description = "It isn't suspended any more.", body = Collection),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn confirm(State(service): State<Arc<Service>>, caller: Caller) -> Result<Json<Collection>, Failure> {
    Ok(Json(service.confirm_collection(&caller).await?))
}
