//! HTTP: routes, extractors, problems. Knows the service, never the store.
//!
//! | to find | look in |
//! | --- | --- |
//! | the status of each problem | [`error`] |
//! | reading paths, queries and bodies | [`extract`] |
//! | taking connections, and stopping | [`serve`] |
//! | what is wrong with one, by field | [`wrong`] |
//! | connections that say when they close | [`connection`] |
//! | how long clients may take | [`deadlines`], [`body`] |
//! | carrying requests out once | [`idempotency`] |
//! | the routes, a file a concept | [`routes`] |

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware};
use tower_http::{
    catch_panic::CatchPanicLayer,
    classify::ServerErrorsFailureClass,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};
use tracing::Span;
use utoipa::openapi::{ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use self::deadlines::Patience;
use crate::service::Service;

mod body;
pub mod connection;
pub mod deadlines;
pub mod error;
pub mod extract;
pub mod idempotency;
pub mod routes;
pub mod serve;
mod wrong;

/// The longest body, except that of a report.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The longest report.
pub(crate) const MAX_REPORT_BYTES: usize = 32 << 20;

fn documented() -> OpenApiRouter<Arc<Service>> {
    let info = InfoBuilder::new()
        .title("Stillframe coordinator")
        .description(Some(
            "Consistent snapshots of running clusters, and putting them back. Errors are problem details (RFC 9457); times are RFC 3339 in \
             UTC; durations are strings such as \"30s\".",
        ))
        .version("1")
        .license(Some(LicenseBuilder::new().name("MIT OR Apache-2.0").build()))
        .contact(None::<ContactBuilder>.map(ContactBuilder::build))
        .build();
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
        .nest("/v1", routes::v1())
        .merge(routes::health::routes())
}

/// The description of the API, as `openapi.yaml` has it.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut api = documented().into_openapi();
    idempotency::document(&mut api);
    api
}

/// What can't be served just now is told whoever asks, and what is behind it is logged where it is found out. When a coordinator stops, it is the
/// ordinary answer to polls that are held.
fn failed(failure: ServerErrorsFailureClass, latency: Duration, _: &Span) {
    match failure {
        ServerErrorsFailureClass::StatusCode(StatusCode::SERVICE_UNAVAILABLE) => {
            tracing::debug!(%failure, ?latency, "can't be served now")
        }
        ServerErrorsFailureClass::StatusCode(_) | ServerErrorsFailureClass::Error(_) => {
            tracing::error!(%failure, ?latency, "response failed");
        }
    }
}

/// The whole router.
pub fn router(service: Arc<Service>, patience: Patience) -> Router {
    let (router, _) = documented().split_for_parts();
    router
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn(error::finish))
        .layer(middleware::from_fn_with_state(service.clone(), idempotency::guard))
        .layer(middleware::from_fn_with_state(patience, body::in_time))
        // Once more, for what these two refuse.
        .layer(middleware::from_fn(error::finish))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http().make_span_with(extract::span).on_failure(failed))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(service)
}
