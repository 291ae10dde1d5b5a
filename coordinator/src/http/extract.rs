//! Reading paths, queries and bodies, with problems for what is malformed.

use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        path::ErrorKind,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::convert::Infallible;

use super::{error::Failure, wrong};
use crate::service::{Caller, idempotency::Keyed};

const REQUEST_ID: &str = "x-request-id";

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    Some(id.chars().take(100).collect())
}

/// The span of a request. Below `info`, for agents poll all the time.
pub(super) fn span(request: &Request) -> tracing::Span {
    let request_id = request_id(request.headers());
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path(), request_id)
}

/// The request's id.
#[derive(Debug, Clone)]
pub struct RequestId(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request_id(&parts.headers)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::request(request_id(&parts.headers), parts.extensions.get::<Keyed>().copied()))
    }
}

/// Names and ids say themselves what is wrong with them.
fn why(rejection: PathRejection) -> String {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else { return rejection.body_text() };
    match failed.into_kind() {
        ErrorKind::DeserializeError { message, .. } | ErrorKind::Message(message) => message,
        ErrorKind::InvalidUtf8InPathParam { key } => format!("{key}: expected UTF-8 in the path, found something else"),
        other => format!("the path is not as expected: {other}"),
    }
}

/// Names and ids of the path.
#[derive(Debug, Clone)]
pub struct ApiPath<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiPath<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|rejection| Failure::invalid(why(rejection)))
    }
}

/// The query.
#[derive(Debug, Clone)]
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        // The database has no such character in its texts.
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Failure::invalid("the query has a NUL character (%00), which no text here can have: leave it out"));
        }
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = query.map_err(|rejection| Failure::invalid(rejection.body_text()))?;
        wrong::of_query(pairs).map(Self).map_err(|wrong| Failure::invalid(wrong.to_string()))
    }
}

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Failure::too_large("the body is longer than this route takes")
        } else {
            Failure::invalid(rejection.body_text())
        }
    })
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
    let essence = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Failure::wrong_media_type(format!("expected a body with content-type application/json, found {found}")))
}

/// What a body begins as that begins as another value of JSON than an object.
fn no_object(bytes: &[u8]) -> Option<&'static str> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'[' => Some("an array"),
        b'"' => Some("a string"),
        b'n' => Some("null"),
        b't' | b'f' => Some("a boolean"),
        b'-' | b'0'..=b'9' => Some("a number"),
        _ => None,
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // A struct can be read from an array, too, which says nothing of which value is which field's.
    if let Some(found) = no_object(bytes) {
        return Err(Failure::invalid(format!("expected a JSON object, found {found}")));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            return Failure::invalid(format!("expected a body of JSON, found what is none in line {line}, column {column}"));
        };
        match wrong::of_json::<T>(&value) {
            Err(wrong) => Failure::invalid(wrong.to_string()),
            Ok(_) => {
                Failure::invalid(format!("expected each field of the body once, found one again in line {line}, column {column}"))
            }
        }
    })
}

/// As [`parse`], and nowhere in it an array for an object either.
fn parse_strictly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let parsed = parse(bytes)?;
    if bytes.contains(&b'[') {
        let value = serde_json::from_slice::<Value>(bytes).map_err(|error| Failure::invalid(error.to_string()))?;
        wrong::of_json::<T>(&value).map_err(|wrong| Failure::invalid(wrong.to_string()))?;
    }
    Ok(parsed)
}

/// A JSON body that members send often and that may be long: it is read once.
#[derive(Debug, Clone)]
pub struct ReportJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ReportJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        check_media_type(request.headers())?;
        parse(&bytes(request, state).await?).map(Self)
    }
}

/// A JSON body.
#[derive(Debug, Clone)]
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        check_media_type(request.headers())?;
        parse_strictly(&bytes(request, state).await?).map(Self)
    }
}

/// A JSON body that may be left out.
#[derive(Debug, Clone)]
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let headers = request.headers().clone();
        let bytes = bytes(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        check_media_type(&headers)?;
        parse_strictly(&bytes).map(Self)
    }
}
