//! Problems in HTTP: the only place that knows status codes.

use std::any::Any;

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use stillframe_api::{Problem, ProblemCode, cluster::ClusterPhase, problem::MEDIA_TYPE};

use super::extract::RequestId;
use crate::{decide::Refusal, service::ServiceError, store::StoreError};

/// An error on its way out.
#[derive(Debug, Clone)]
pub struct Failure(Box<Problem>);

impl Failure {
    /// A request that can't be understood.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::from(problem(ProblemCode::InvalidRequest, StatusCode::BAD_REQUEST, detail))
    }

    /// A body that is too long.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::from(problem(ProblemCode::InvalidRequest, StatusCode::PAYLOAD_TOO_LARGE, detail))
    }

    /// A body that doesn't come in time.
    pub(super) fn too_slow(detail: impl Into<String>) -> Self {
        Self::from(problem(ProblemCode::InvalidRequest, StatusCode::REQUEST_TIMEOUT, detail))
    }

    /// A body of another type.
    pub(super) fn wrong_media_type(detail: impl Into<String>) -> Self {
        Self::from(problem(ProblemCode::InvalidRequest, StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
    }

    /// Not ready to serve.
    pub(super) fn not_ready(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self::from(problem(code, StatusCode::SERVICE_UNAVAILABLE, detail))
    }
}

fn title(code: ProblemCode) -> &'static str {
    match code {
        ProblemCode::InvalidRequest => "The request is malformed",
        ProblemCode::NoSuchRoute => "No such route",
        ProblemCode::UnknownCluster => "No such cluster",
        ProblemCode::UnknownMember => "No such member",
        ProblemCode::UnknownSnapshot => "No such snapshot",
        ProblemCode::UnknownSchedule => "No such schedule",
        ProblemCode::UnknownRestore => "No such restore",
        ProblemCode::UnknownHold => "No such hold",
        ProblemCode::ClusterExists => "The cluster exists with other settings",
        ProblemCode::ClusterNotRunning => "The cluster is not running",
        ProblemCode::MemberLost => "A member is lost",
        ProblemCode::TooFewMembers => "Too few members would stay",
        ProblemCode::MemberLeaving => "The member is leaving",
        ProblemCode::SnapshotUnderWay => "A snapshot is under way",
        ProblemCode::RestoreUnderWay => "A restore is under way",
        ProblemCode::SnapshotNotCommitted => "The snapshot is not committed",
        ProblemCode::SnapshotEnded => "The snapshot has ended",
        ProblemCode::SnapshotNeeded => "The snapshot is needed",
        ProblemCode::TooManyHolds => "The snapshot has as many holds as it can have",
        ProblemCode::CollectionSuspended => "Nothing is deleted for now",
        ProblemCode::MembersDiffer => "The mapping doesn't fit the snapshot",
        ProblemCode::NothingToRestore => "There is nothing to go back to",
        ProblemCode::SnapshotUnreadable => "The snapshot is known to be unreadable",
        ProblemCode::ChannelsFormCycle => "The channels form a cycle",
        ProblemCode::RestoreEnded => "The restore has passed its commit point or ended",
        ProblemCode::Fenced => "Fenced: another incarnation is in force",
        ProblemCode::DatabaseUnavailable => "The database can't be used just now",
        ProblemCode::ArchiveUnavailable => "The archive can't be used just now",
        ProblemCode::Stopping => "The coordinator is stopping",
        ProblemCode::RequestUnderWay => "The request is being carried out",
        ProblemCode::IdempotencyKeyReused => "The idempotency key was used for another request",
        ProblemCode::Internal => "The coordinator has a fault",
    }
}

fn problem(code: ProblemCode, status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(code, status.as_u16(), title(code), detail)
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        Self::from(match error {
            ServiceError::Invalid(_) => problem(ProblemCode::InvalidRequest, StatusCode::BAD_REQUEST, detail),
            ServiceError::UnknownCluster(name) => problem(ProblemCode::UnknownCluster, StatusCode::NOT_FOUND, detail).with_hint(format!(
                "create it (`stillframe cluster create {name} --min-members N`, POST /v1/clusters), or look at those that there are (`stillframe cluster \
                 list`, GET /v1/clusters)"
            )),
            ServiceError::UnknownSnapshot(_) => problem(ProblemCode::UnknownSnapshot, StatusCode::NOT_FOUND, detail)
                .with_hint("list a cluster's snapshots (`stillframe snapshot list CLUSTER`)"),
            ServiceError::UnknownSchedule(cluster, name) => problem(ProblemCode::UnknownSchedule, StatusCode::NOT_FOUND, detail)
                .with_hint(format!("set it with PUT (`stillframe schedule set {cluster} {name} --every 30s`)")),
            ServiceError::UnknownRestore(_) => problem(ProblemCode::UnknownRestore, StatusCode::NOT_FOUND, detail)
                .with_hint("list a cluster's restores (`stillframe restore list CLUSTER`)"),
            ServiceError::ClusterExists { .. } => problem(ProblemCode::ClusterExists, StatusCode::CONFLICT, detail)
                .with_hint("choose another name, or ask with the settings that it has"),
            ServiceError::Refused(refusal) => refused(&refusal, detail),
            ServiceError::Store(error) => store(&error, detail),
            ServiceError::Archive(_) => problem(ProblemCode::ArchiveUnavailable, StatusCode::SERVICE_UNAVAILABLE, detail)
                .with_hint("try again; if it lasts, check the store and the coordinator's --archive"),
            ServiceError::KeyReused(_) => problem(ProblemCode::IdempotencyKeyReused, StatusCode::CONFLICT, detail)
                .with_hint("use a new key for each request, and the same one only to repeat it"),
            ServiceError::StillUnderWay(_) => problem(ProblemCode::RequestUnderWay, StatusCode::SERVICE_UNAVAILABLE, detail)
                .with_hint("ask again with the same key"),
            ServiceError::Stopping => problem(ProblemCode::Stopping, StatusCode::SERVICE_UNAVAILABLE, detail)
                .with_hint("try again, at another replica or when it has started again"),
        })
    }
}

fn refused(refusal: &Refusal, detail: String) -> Problem {
    match refusal {
        Refusal::NotRunning { cluster, phase, .. } => {
            problem(ProblemCode::ClusterNotRunning, StatusCode::CONFLICT, detail).with_hint(match phase {
                ClusterPhase::Forming | ClusterPhase::Running => {
                    format!("wait until its members are there (`stillframe member list {cluster}`)")
                }
                ClusterPhase::Restoring => format!("wait until the restore has ended (`stillframe restore list {cluster}`)"),
                ClusterPhase::Halted => {
                    format!("do what the reason says, then ask again (`stillframe cluster show {cluster}` shows whether it runs)")
                }
            })
        }
        Refusal::MemberLost { .. } => problem(ProblemCode::MemberLost, StatusCode::CONFLICT, detail)
            .with_hint("start the member again; the cluster is put back to its latest snapshot by itself"),
        Refusal::TooManyPending { cluster, .. } => {
            problem(ProblemCode::SnapshotUnderWay, StatusCode::CONFLICT, detail).with_hint(format!(
                "wait for those under way, or abort some (`stillframe snapshot list {cluster} --status pending`, then `stillframe snapshot abort \
                 SNAPSHOT`)"
            ))
        }
        Refusal::RestoreUnderWay { restore, .. } => {
            problem(ProblemCode::RestoreUnderWay, StatusCode::CONFLICT, detail).with_hint(format!(
                "wait until it has ended (`stillframe restore show {restore} --wait`), or cancel it (`stillframe restore cancel {restore}`)"
            ))
        }
        Refusal::NotCommitted { cluster, .. } => problem(ProblemCode::SnapshotNotCommitted, StatusCode::CONFLICT, detail)
            .with_hint(format!("choose a committed one (`stillframe snapshot list {cluster} --status committed`)")),
        Refusal::UnknownSnapshot { cluster, .. } => problem(ProblemCode::UnknownSnapshot, StatusCode::NOT_FOUND, detail)
            .with_hint(format!("list the cluster's snapshots (`stillframe snapshot list {cluster}`)")),
        Refusal::SnapshotUnchangeable { .. } => problem(ProblemCode::SnapshotEnded, StatusCode::CONFLICT, detail),
        Refusal::TimeIsUp { snapshot, .. } => problem(ProblemCode::InvalidRequest, StatusCode::CONFLICT, detail)
            .with_hint(format!("give it a longer one, or abort it (`stillframe snapshot abort {snapshot}`)")),
        Refusal::SnapshotEnded { .. } => problem(ProblemCode::SnapshotEnded, StatusCode::CONFLICT, detail),
        Refusal::MembersDiffer { snapshot, .. } => problem(ProblemCode::MembersDiffer, StatusCode::CONFLICT, detail).with_hint(format!(
            "name members of the snapshot (`stillframe snapshot show {snapshot}`), each with a name of its own"
        )),
        Refusal::NothingToRestore { .. } => problem(ProblemCode::NothingToRestore, StatusCode::CONFLICT, detail)
            .with_hint("start every member again: the cluster starts afresh from its initial state"),
        Refusal::NothingBefore { cluster, .. } => {
            problem(ProblemCode::NothingToRestore, StatusCode::CONFLICT, detail).with_hint(format!(
                "name a later time, or look at what there is (`stillframe snapshot list {cluster} --status committed`)"
            ))
        }
        Refusal::SnapshotUnreadable { .. } => problem(ProblemCode::SnapshotUnreadable, StatusCode::CONFLICT, detail)
            .with_hint("name another one, allow a fallback to older ones, or name this one by its id if it was mended"),
        Refusal::RestoreEnded { .. } => problem(ProblemCode::RestoreEnded, StatusCode::CONFLICT, detail)
            .with_hint("to undo a restore, restore a newer snapshot: those it left behind stay"),
        Refusal::NotHalted { .. } => problem(ProblemCode::ClusterNotRunning, StatusCode::CONFLICT, detail)
            .with_hint("it runs by itself once its members are there"),
        Refusal::UnknownMember { .. } => {
            problem(ProblemCode::UnknownMember, StatusCode::NOT_FOUND, detail).with_hint("register it first")
        }
        Refusal::Fenced { .. } => problem(ProblemCode::Fenced, StatusCode::CONFLICT, detail)
            .with_hint("stop this process; to take part again, register as a new one"),
        Refusal::ClusterFull { .. } => problem(ProblemCode::InvalidRequest, StatusCode::CONFLICT, detail),
        Refusal::TooFewStay { cluster, member, staying, .. } => {
            problem(ProblemCode::TooFewMembers, StatusCode::CONFLICT, detail).with_hint(format!(
                "lower it first (`stillframe cluster update {cluster} --min-members {staying}`), start another member, or force it (`stillframe member \
                 leave {cluster} {member} --force`)"
            ))
        }
        Refusal::NotDrained { .. } => problem(ProblemCode::InvalidRequest, StatusCode::CONFLICT, detail),
        Refusal::IsLeaving { .. } => problem(ProblemCode::MemberLeaving, StatusCode::CONFLICT, detail)
            .with_hint("let it end, and start it again: it comes back as a new member"),
        Refusal::SnapshotOpen { snapshot, .. } => problem(ProblemCode::SnapshotUnderWay, StatusCode::CONFLICT, detail)
            .with_hint(format!("abort it first (`stillframe snapshot abort {snapshot}`)")),
        Refusal::SnapshotNeeded { snapshot, .. } => {
            problem(ProblemCode::SnapshotNeeded, StatusCode::CONFLICT, detail).with_hint(format!(
                "remove the hold (`stillframe hold list {snapshot}`), wait for the restore, or take a newer snapshot for rollbacks to go back to"
            ))
        }
        Refusal::NothingToHold { .. } => problem(ProblemCode::SnapshotEnded, StatusCode::CONFLICT, detail),
        Refusal::TooManyHolds { snapshot, .. } => problem(ProblemCode::TooManyHolds, StatusCode::CONFLICT, detail)
            .with_hint(format!("remove those that nobody needs any more (`stillframe hold list {snapshot}`)")),
        Refusal::UnknownHold { snapshot, .. } => problem(ProblemCode::UnknownHold, StatusCode::NOT_FOUND, detail)
            .with_hint(format!("list the snapshot's holds (`stillframe hold list {snapshot}`)")),
        Refusal::CollectionSuspended { .. } => problem(ProblemCode::CollectionSuspended, StatusCode::CONFLICT, detail)
            .with_hint("look at what would go (`stillframe gc plan CLUSTER`), then confirm (`stillframe gc confirm`)"),
        Refusal::UnfitSchedule { hint, .. } => {
            problem(ProblemCode::InvalidRequest, StatusCode::BAD_REQUEST, detail).with_hint(*hint)
        }
        Refusal::AlignedAndLogged => problem(ProblemCode::InvalidRequest, StatusCode::UNPROCESSABLE_ENTITY, detail)
            .with_hint("change both in one request: alignment unaligned with channel_state sender_logged, or aligned with marker"),
        Refusal::ChannelsFormCycle { .. } => problem(ProblemCode::ChannelsFormCycle, StatusCode::CONFLICT, detail)
            .with_hint("leave the alignment unaligned; with channel_state sender_logged a snapshot doesn't wait for queues either"),
        Refusal::UnknownSchedule { .. } => problem(ProblemCode::UnknownSchedule, StatusCode::NOT_FOUND, detail),
    }
}

fn store(error: &StoreError, detail: String) -> Problem {
    match error {
        StoreError::Unavailable { .. } | StoreError::Contended { .. } => {
            problem(ProblemCode::DatabaseUnavailable, StatusCode::SERVICE_UNAVAILABLE, detail)
                .with_hint("nothing was changed: try again; if it lasts, check the database and the coordinator's --database-url")
        }
        StoreError::Unknown { .. } => problem(ProblemCode::DatabaseUnavailable, StatusCode::SERVICE_UNAVAILABLE, detail)
            .with_hint("look whether it was done before asking again"),
        StoreError::Fault { .. } => {
            tracing::error!(detail, "the store has a fault");
            problem(
                ProblemCode::Internal,
                StatusCode::INTERNAL_SERVER_ERROR,
                "a fault of the coordinator's own; its log says more",
            )
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        // The body is made in `finish`, which knows the request's id.
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every problem its body, with the id of the request.
pub(super) async fn finish(RequestId(request_id): RequestId, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(Failure(mut problem)) = response.extensions_mut().remove::<Failure>() else { return response };
    problem.request_id = request_id;
    let mut failed = (response.status(), Json(problem)).into_response();
    failed.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(allow) = response.headers().get(header::ALLOW) {
        failed.headers_mut().insert(header::ALLOW, allow.clone());
    }
    if failed.status() == StatusCode::SERVICE_UNAVAILABLE {
        failed.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    failed
}

/// Any path that isn't a route.
pub(super) async fn no_such_route(uri: Uri) -> Failure {
    let detail = format!("there is no route {}", uri.path());
    Failure::from(
        problem(ProblemCode::NoSuchRoute, StatusCode::NOT_FOUND, detail).with_hint("the routes are in openapi.yaml, under /v1"),
    )
}

/// A route that doesn't have this method.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Failure {
    let detail = format!("{} has no method {method}", uri.path());
    Failure::from(
        problem(ProblemCode::NoSuchRoute, StatusCode::METHOD_NOT_ALLOWED, detail).with_hint("the routes are in openapi.yaml"),
    )
}

/// A handler that panicked.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let what = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    tracing::error!(what, "a handler panicked");
    let detail = "a fault of the coordinator's own; its log says more";
    Failure::from(problem(ProblemCode::Internal, StatusCode::INTERNAL_SERVER_ERROR, detail)).into_response()
}
