//! The audit.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::IntoResponse,
};
use futures::TryStreamExt;
use stillframe_api::{
    Page, Problem,
    audit::{AuditRow, ExportAudit, ListAudit, NDJSON, VerifyAudit},
    chain::AuditVerification,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{error::Failure, extract::ApiQuery},
    service::Service,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export)).routes(routes!(verify))
}

/// Lists rows of the audit, newest first.
#[utoipa::path(
    get, path = "/audit", operation_id = "list_audit", tag = "audit", params(ListAudit),
    responses(
        (status = 200, description = "A page.", body = Page<AuditRow>),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn list(
    State(service): State<Arc<Service>>,
    ApiQuery(query): ApiQuery<ListAudit>,
) -> Result<Json<Page<AuditRow>>, Failure> {
    Ok(Json(service.audit(&query).await?))
}

/// Exports whole chains of the audit, one row a line, one chain after the other, each in order, so that the file can be verified by itself.
/// An export that can't be finished is cut off in the middle of the answer.
#[utoipa::path(
    get, path = "/audit/export", operation_id = "export_audit", tag = "audit", params(ExportAudit),
    responses(
        (status = 200, description = "One `AuditRow` a line.", body = AuditRow, content_type = "application/x-ndjson"),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn export(
    State(service): State<Arc<Service>>,
    ApiQuery(query): ApiQuery<ExportAudit>,
) -> Result<impl IntoResponse, Failure> {
    let stretches = service.export_audit(&query).await?;
    let lines = stretches.map_err(std::io::Error::other).and_then(async |rows| {
        let mut lines = Vec::new();
        for row in &rows {
            serde_json::to_writer(&mut lines, row).map_err(std::io::Error::other)?;
            lines.push(b'\n');
        }
        Ok(Bytes::from(lines))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)))
}

/// Looks whether chains of the audit are as they were written: no row edited, removed, put elsewhere or replaced.
#[utoipa::path(
    get, path = "/audit/verify", operation_id = "verify_audit", tag = "audit", params(VerifyAudit),
    responses(
        (status = 200, description = "What was found, intact or not.", body = AuditVerification),
        (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn verify(
    State(service): State<Arc<Service>>,
    ApiQuery(query): ApiQuery<VerifyAudit>,
) -> Result<Json<AuditVerification>, Failure> {
    Ok(Json(service.verify_audit(&query).await?))
}
