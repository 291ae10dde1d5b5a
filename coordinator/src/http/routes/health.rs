//! Whether the process runs, and whether it can serve.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use stillframe_api::{Problem, ProblemCode};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{http::error::Failure, service::Service};

/// Said when all is well.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

pub(in crate::http) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// Whether the process runs. Asks nobody else.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "health", responses((status = 200, description = "It does.", body = Health)))]
async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether it can serve: the database takes writes, the archive answers.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses(
        (status = 200, description = "It can.", body = Health),
        (status = 503, description = "It can't; the detail says why.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn readyz(State(service): State<Arc<Service>>) -> Result<Json<Health>, Failure> {
    let (database, archive) = service.ready().await;
    let reasons: Vec<String> = [("database", &database), ("archive", &archive)]
        .into_iter()
        .filter_map(|(what, r)| r.as_ref().err().map(|e| format!("{what}: {e}")))
        .collect();
    match (database, archive) {
        (Ok(()), Ok(())) => Ok(Json(Health { status: "ok" })),
        (Err(_), _) => Err(Failure::not_ready(ProblemCode::DatabaseUnavailable, reasons.join("; "))),
        (Ok(()), Err(_)) => Err(Failure::not_ready(ProblemCode::ArchiveUnavailable, reasons.join("; "))),
    }
}
