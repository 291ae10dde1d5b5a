//! The archive.

use std::sync::Arc;

use axum::{Json, extract::State};
use stillframe_api::{
    Problem,
    archive::ArchiveInfo,
    resync::{ResyncArchive, ResyncReport},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{error::Failure, extract::OptionalJson},
    service::{Caller, Service},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(probe)).routes(routes!(resync))
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

/// Takes up what the archive proves and the database doesn't know: clusters and committed snapshots. Rebuilds an empty database, and brings one up
/// that has lost its last transactions. The answer comes when it is done; it goes on when nobody waits for that. Asking again is fine.
#[utoipa::path(
    post, path = "/archive/resync", operation_id = "resync_archive", tag = "archive", request_body = Option<ResyncArchive>,
    responses(
        (status = 200, description = "What was done, or would be.", body = ResyncReport),
        (status = "default", description = "A problem; what was taken up before it stays.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn resync(
    State(service): State<Arc<Service>>,
    caller: Caller,
    OptionalJson(request): OptionalJson<ResyncArchive>,
) -> Result<Json<ResyncReport>, Failure> {
    Ok(Json(service.resync(&caller, request.dry_run).await?))
}
