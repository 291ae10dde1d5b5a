//! The archive.

use std::sync::Arc;

use axum::{Json, extract::State};
use stillframe_api::{Problem, archive::ArchiveInfo};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{http::error::Failure, service::Service};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(probe))
}

/// The coordinator's archive, and what its store was found to do when the coordinator started.
#[utoipa::path(
    get, path = "/archive", operation_id = "get_archive", tag = "archive",
    responses(
        (status = 200, description = "The archive.", body = ArchiveInfo),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn get(State(service): State<Arc<Service>>) -> Result<Json<ArchiveInfo>, Failure> {
    Ok(Json(service.archive_info().await?))
}

/// Tries out anew what the store does: some twenty requests and, in a bucket, 5 MiB, under keys of their own that are removed.
#[utoipa::path(
    post, path = "/archive/probe", operation_id = "probe_archive", tag = "archive",
    responses(
        (status = 200, description = "The archive, with what was found.", body = ArchiveInfo),
        (status = "default", description = "A problem; `archive_unavailable` also when the store loses what it acknowledges.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn probe(State(service): State<Arc<Service>>) -> Result<Json<ArchiveInfo>, Failure> {
    Ok(Json(service.probe_archive().await?))
}
