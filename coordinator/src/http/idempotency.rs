//! The `Idempotency-Key` header, for everything that changes something.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use stillframe_api::IDEMPOTENCY_KEY;
use stillframe_archive::Digest;
use tokio::time::{Instant, interval_at};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, ParameterBuilder, ParameterIn},
    schema::{ObjectBuilder, Type},
};

use super::{MAX_BODY_BYTES, error::Failure};
use crate::{
    service::{
        Service, ServiceError,
        idempotency::{KEEP_EVERY, Keyed, Turn},
    },
    store::idempotency::{KeptAnswer, KeyedRequest},
};

/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// The longest answer that is kept.
const MAX_KEPT: usize = 1 << 20;

/// Says that an answer was given before.
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Carries a request with a key out once.
pub(super) async fn guard(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let key = match key(request.headers()) {
        Ok(Some(key)) if changes => key,
        Ok(Some(_) | None) => return next.run(request).await,
        Err(failure) => return failure.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return Failure::too_large("the body is longer than a request with an idempotency key may have, or broke off")
            .into_response();
    };
    let keyed_request = KeyedRequest { fingerprint: fingerprint(&parts, &body), key: key.clone() };
    let keyed = match service.turn(&keyed_request).await {
        Ok(Turn::Carry(keyed)) => keyed,
        Ok(Turn::Answer(answer)) => return replay(answer),
        Err(error) => return Failure::from(error).into_response(),
    };
    parts.extensions.insert(keyed);
    let is_delete = parts.method == Method::DELETE;
    let request = Request::from_parts(parts, Body::from(body));
    // A task of its own: a client that hangs up and asks again finds the answer.
    let carried = tokio::spawn(async move {
        let running = next.run(request);
        tokio::pin!(running);
        let mut ticks = interval_at(Instant::now() + KEEP_EVERY, KEEP_EVERY);
        let response = loop {
            tokio::select! {
                response = &mut running => break response,
                _ = ticks.tick() => service.keep_turn(&key, keyed).await,
            }
        };
        // What an earlier attempt has deleted isn't there any more.
        let response = if is_delete && keyed.is_repeated() && response.status() == StatusCode::NOT_FOUND {
            StatusCode::NO_CONTENT.into_response()
        } else {
            response
        };
        keep(service, key, keyed, response).await
    });
    carried.await.unwrap_or_else(|_| Failure::from(ServiceError::Stopping).into_response())
}

/// Keeps what is worth it: not what may be otherwise when it is asked for again.
async fn keep(service: Arc<Service>, key: String, keyed: Keyed, response: Response) -> Response {
    let status = response.status();
    let passing = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
    if status.is_server_error() || passing {
        service.end_turn(&key, keyed, None).await;
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match to_bytes(body, MAX_KEPT).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, key, "an answer that was made under an idempotency key can't be read");
            service.end_turn(&key, keyed, None).await;
            return Failure::from(ServiceError::Stopping).into_response();
        }
    };
    let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let answer = KeptAnswer {
        status: status.as_u16(),
        content_type: text(header::CONTENT_TYPE),
        location: text(header::LOCATION),
        body: body.to_vec(),
    };
    // The client needn't wait for it: should it get lost, the request comes to the same again.
    tokio::spawn(async move { service.end_turn(&key, keyed, Some(answer)).await });
    Response::from_parts(parts, Body::from(body))
}

fn replay(answer: KeptAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in [(header::CONTENT_TYPE, answer.content_type), (header::LOCATION, answer.location)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED.clone(), HeaderValue::from_static("true"));
    response
}

/// The key, with or without the quotes that a string of structured fields has.
fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let fine = (1..=MAX_KEY).contains(&bare.len()) && bare.chars().all(|c| c.is_ascii_graphic() && c != '"');
    if fine && values.next().is_none() {
        return Ok(Some(bare.to_owned()));
    }
    Err(Failure::invalid(format!(
        "idempotency-key must be one string of 1 to {MAX_KEY} visible ASCII characters, such as a UUID; found {:?}",
        text.chars().take(MAX_KEY + 1).collect::<String>()
    )))
}

fn fingerprint(parts: &Parts, body: &Bytes) -> String {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut bytes = format!("{} {target}\n", parts.method).into_bytes();
    bytes.extend_from_slice(body);
    Digest::of(&bytes).to_string()
}

/// Says of every operation of operators that changes something that it takes a key.
pub(super) fn document(api: &mut OpenApi) {
    for item in api.paths.paths.values_mut() {
        let operations = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().filter(|operation| takes_a_key(operation)).for_each(|operation| {
            let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX_KEY)).build();
            let parameter = ParameterBuilder::new()
                .name("idempotency-key")
                .parameter_in(ParameterIn::Header)
                .description(Some(
                    "Carries the request out once, however often it is sent: a repetition gets the answer of the first, for 24 h. The same key \
                     with another request is refused with 409 (`idempotency_key_reused`).",
                ))
                .schema(Some(text))
                .build();
            operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
        });
    }
}

/// What agents say is idempotent by itself.
fn takes_a_key(operation: &Operation) -> bool {
    operation.tags.as_ref().is_none_or(|tags| !tags.iter().any(|tag| tag == "agents"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, Failure> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(value).expect("a header's value"));
        }
        key(&headers)
    }

    #[test]
    fn a_key_is_taken_with_and_without_quotes_and_anything_else_is_refused() {
        for value in ["\"8e03978e\"", "8e03978e"] {
            assert_eq!(read(&[value]).ok().flatten().as_deref(), Some("8e03978e"));
        }
        assert_eq!(read(&[]).ok(), Some(None));
        let long = "x".repeat(256);
        for values in [&[""][..], &["\"\""], &["a b"], &["a\"b"], &[&long], &["a", "b"]] {
            assert!(read(values).is_err(), "{values:?}");
        }
    }
}
