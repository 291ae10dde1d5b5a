//! A typed client of the coordinator's REST API. Its errors tell a refusal from an unreachable coordinator.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use stillframe_protocol::{ClusterName, HoldId, Incarnation, MemberName, RestoreId, SnapshotId, name::ScheduleName};
use url::Url;

use crate::{
    Coordinators, HumanDuration, Page, Problem,
    agent::{Assignment, AssignmentQuery, Register, Registered, Report, ReportAccepted, ReportEvent},
    archive::ArchiveInfo,
    audit::{AuditRow, ExportAudit, ListAudit, VerifyAudit},
    chain::AuditVerification,
    cluster::{Cluster, CreateCluster, LeaveRequest, Member, PageQuery},
    gc::{Collection, GcOptions, GcPlan, GcReport},
    restore::{CancelRestore, Restore, StartRestore},
    restore_plan::RestorePlan,
    resync::{ResyncArchive, ResyncReport},
    retention::{ClusterRetention, CreateHold, Hold, Retention},
    rollback::ResumeCluster,
    schedule::{NextQuery, NextSlot, PauseSchedule, PutSchedule, Schedule},
    settings::{UpdateCluster, UpdateSnapshot},
    snapshot::{AbortSnapshot, ListSnapshots, Snapshot, TakeSnapshot, WaitQuery},
    transport::{Answer, Asked, Transport, unreachable},
};

/// The longest the coordinator holds an answer for `wait`.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long exporting or verifying the whole audit may take besides.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator refused; its problem says why and what to do.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No answer came: the request may or may not have been carried out.
    #[error(
        "the coordinator at {url} can't be reached: {reason}; check that it runs and that --url (or STILLFRAME_URL) is right"
    )]
    Unreachable {
        /// The coordinator's URL.
        url: Url,
        /// What the transport said.
        reason: String,
    },
    /// Something answered that isn't a coordinator, or one of another version.
    #[error("{url} answered {status} with something that isn't Stillframe's: {reason}; check --url (or STILLFRAME_URL)")]
    NotStillframe {
        /// The URL asked.
        url: Url,
        /// The HTTP status.
        status: u16,
        /// What was wrong with the answer.
        reason: String,
    },
    /// The URL can't be a coordinator's.
    #[error(
        "{found:?} is no coordinator URL: expected http://host:port or https://host:port (several with commas between them); {reason}"
    )]
    BadUrl {
        /// What was given.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// The problem, when the coordinator refused.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unreachable { .. } | Self::NotStillframe { .. } | Self::BadUrl { .. } => None,
        }
    }

    /// Whether trying again can help: the coordinator, its database or its archive was away.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.status >= 500 || problem.status == StatusCode::TOO_MANY_REQUESTS.as_u16(),
            Self::Unreachable { .. } => true,
            Self::NotStillframe { status, .. } => *status >= 500,
            Self::BadUrl { .. } => false,
        }
    }
}

/// A client of a coordinator: of one replica, or of several, of which any may be asked. Cheap to clone; clones share connections.
///
/// Of several replicas the one that answered last is asked first; when it can't be reached, is frozen, or says that it can't serve, the next is,
/// and so on for a few seconds. That is safe: whatever changes something goes under an idempotency key, so it is carried out once however
/// often it is asked for.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
}

type Result<T, E = ClientError> = std::result::Result<T, E>;

impl Client {
    /// A client of the coordinator at this URL (`http://host:port`), or at these: several, with commas between them, are replicas of one.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] when one is no `http` or `https` URL.
    pub fn new(urls: &str) -> Result<Self> {
        Self::of(urls.parse()?)
    }

    /// A client of these replicas.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] when the system has no means to reach any.
    pub fn of(coordinators: Coordinators) -> Result<Self> {
        Ok(Self { transport: Transport::new(coordinators)? })
    }

    /// How long a request is tried again when no replica can serve it. 5 s where there are several addresses, else not at all.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.transport = self.transport.patience(patience);
        self
    }

    /// Asks one replica a request, for callers that try again by themselves: after a failure the next request goes to another one. An answer
    /// may take `answer_within`, besides what the coordinator is asked to hold it.
    #[must_use]
    pub fn with_one_try(mut self, answer_within: Duration) -> Self {
        self.transport = self.transport.one_try(answer_within);
        self
    }

    /// The URL of the replica that is asked next.
    #[must_use]
    pub fn url(&self) -> &Url {
        self.transport.url()
    }

    /// The replicas' addresses.
    #[must_use]
    pub fn coordinators(&self) -> &Coordinators {
        self.transport.coordinators()
    }

    /// Has the next request go to another replica, where there is one.
    pub fn move_on(&self) {
        self.transport.move_on();
    }

    /// Asks; whatever isn't a `GET` goes under an idempotency key.
    async fn send<Q: Serialize, B: Serialize>(
        &self,
        method: Method,
        path: &[&str],
        query: Option<&Q>,
        body: Option<&B>,
        held: Duration,
    ) -> Result<Answer> {
        let keyed = method != Method::GET;
        self.transport.ask(&Asked { method, path, query, body, held, keyed }).await
    }

    async fn body<T: DeserializeOwned>(&self, answer: Answer) -> Result<T> {
        let Answer { url, status, bytes } = answer;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::NotStillframe { url, status, reason: e.to_string() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        let answer = self.send(Method::GET, path, None::<&()>, None::<&()>, Duration::ZERO).await?;
        self.body(answer).await
    }

    async fn get_held<T: DeserializeOwned, Q: Serialize>(&self, path: &[&str], query: &Q, held: Duration) -> Result<T> {
        let answer = self.send(Method::GET, path, Some(query), None::<&()>, held).await?;
        self.body(answer).await
    }

    async fn post<T: DeserializeOwned, B: Serialize>(&self, path: &[&str], body: &B) -> Result<T> {
        let answer = self.send(Method::POST, path, None::<&()>, Some(body), Duration::ZERO).await?;
        self.body(answer).await
    }

    /// Posts what is idempotent by itself, as everything that agents say is.
    async fn say<T: DeserializeOwned, B: Serialize>(&self, path: &[&str], body: &B) -> Result<T> {
        let (query, held) = (None::<&()>, Duration::ZERO);
        let asked = Asked { method: Method::POST, path, query, body: Some(body), held, keyed: false };
        let answer = self.transport.ask(&asked).await?;
        self.body(answer).await
    }

    async fn patch<T: DeserializeOwned, B: Serialize>(&self, path: &[&str], body: &B) -> Result<T> {
        let response = self.send(Method::PATCH, path, None::<&()>, Some(body), Duration::ZERO).await?;
        self.body(response).await
    }

    /// Creates a cluster; asking again with the same settings is fine.
    pub async fn create_cluster(&self, cluster: &CreateCluster) -> Result<Cluster> {
        self.post(&["v1", "clusters"], cluster).await
    }

    /// Lists clusters by name.
    pub async fn list_clusters(&self, page: &PageQuery) -> Result<Page<Cluster>> {
        self.get_held(&["v1", "clusters"], page, Duration::ZERO).await
    }

    /// A cluster as it is now.
    pub async fn cluster(&self, cluster: &ClusterName) -> Result<Cluster> {
        self.get(&["v1", "clusters", cluster.as_str()]).await
    }

    /// Changes settings of a cluster.
    pub async fn update_cluster(&self, cluster: &ClusterName, changes: &UpdateCluster) -> Result<Cluster> {
        self.patch(&["v1", "clusters", cluster.as_str()], changes).await
    }

    /// Lists a cluster's members by name.
    pub async fn list_members(&self, cluster: &ClusterName, page: &PageQuery) -> Result<Page<Member>> {
        self.get_held(&["v1", "clusters", cluster.as_str(), "members"], page, Duration::ZERO).await
    }

    /// Asks for a snapshot; it is taken in the background.
    pub async fn take_snapshot(&self, cluster: &ClusterName, request: &TakeSnapshot) -> Result<Snapshot> {
        self.post(&["v1", "clusters", cluster.as_str(), "snapshots"], request).await
    }

    /// Lists a cluster's snapshots, newest first.
    pub async fn list_snapshots(&self, cluster: &ClusterName, query: &ListSnapshots) -> Result<Page<Snapshot>> {
        self.get_held(&["v1", "clusters", cluster.as_str(), "snapshots"], query, Duration::ZERO).await
    }

    /// A snapshot as it is now.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<Snapshot> {
        self.get(&["v1", "snapshots", &id.to_string()]).await
    }

    /// A snapshot once it has ended, or as it is after `wait` (60 s at most a call).
    pub async fn wait_snapshot(&self, id: SnapshotId, wait: Duration) -> Result<Snapshot> {
        let (query, held) = held(wait);
        self.get_held(&["v1", "snapshots", &id.to_string()], &query, held).await
    }

    /// Aborts a snapshot that hasn't ended.
    pub async fn abort_snapshot(&self, id: SnapshotId, request: &AbortSnapshot) -> Result<Snapshot> {
        self.post(&["v1", "snapshots", &id.to_string(), "abort"], request).await
    }

    /// Changes a snapshot that is pending or recording.
    pub async fn update_snapshot(&self, id: SnapshotId, changes: &UpdateSnapshot) -> Result<Snapshot> {
        self.patch(&["v1", "snapshots", &id.to_string()], changes).await
    }

    /// Sets a schedule.
    pub async fn put_schedule(&self, cluster: &ClusterName, name: &ScheduleName, schedule: &PutSchedule) -> Result<Schedule> {
        let path = ["v1", "clusters", cluster.as_str(), "schedules", name.as_str()];
        let answer = self.send(Method::PUT, &path, None::<&()>, Some(schedule), Duration::ZERO).await?;
        self.body(answer).await
    }

    /// A schedule as it is now.
    pub async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Schedule> {
        self.get(&["v1", "clusters", cluster.as_str(), "schedules", name.as_str()]).await
    }

    /// Lists a cluster's schedules by name.
    pub async fn list_schedules(&self, cluster: &ClusterName, page: &PageQuery) -> Result<Page<Schedule>> {
        self.get_held(&["v1", "clusters", cluster.as_str(), "schedules"], page, Duration::ZERO).await
    }

    /// The next slots of a schedule.
    pub async fn next_slots(&self, cluster: &ClusterName, name: &ScheduleName, query: &NextQuery) -> Result<Page<NextSlot>> {
        let path = ["v1", "clusters", cluster.as_str(), "schedules", name.as_str(), "next"];
        self.get_held(&path, query, Duration::ZERO).await
    }

    /// Pauses a schedule.
    pub async fn pause_schedule(&self, cluster: &ClusterName, name: &ScheduleName, pause: &PauseSchedule) -> Result<Schedule> {
        self.post(&["v1", "clusters", cluster.as_str(), "schedules", name.as_str(), "pause"], pause).await
    }

    /// Ends a schedule's pause.
    pub async fn resume_schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Schedule> {
        self.post(&["v1", "clusters", cluster.as_str(), "schedules", name.as_str(), "resume"], &()).await
    }

    /// Takes a snapshot as a schedule would, now.
    pub async fn trigger_schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Snapshot> {
        self.post(&["v1", "clusters", cluster.as_str(), "schedules", name.as_str(), "trigger"], &()).await
    }

    /// Deletes a schedule. Its snapshots stay.
    pub async fn delete_schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<()> {
        let path = ["v1", "clusters", cluster.as_str(), "schedules", name.as_str()];
        self.send(Method::DELETE, &path, None::<&()>, None::<&()>, Duration::ZERO).await.map(drop)
    }

    /// Starts a restore; it is carried out in the background. `dry_run` is for [`plan_restore`](Self::plan_restore).
    pub async fn start_restore(&self, cluster: &ClusterName, request: &StartRestore) -> Result<Restore> {
        self.post(&["v1", "clusters", cluster.as_str(), "restores"], &StartRestore { dry_run: false, ..request.clone() }).await
    }

    /// What a restore would do; changes nothing.
    pub async fn plan_restore(&self, cluster: &ClusterName, request: &StartRestore) -> Result<RestorePlan> {
        self.post(&["v1", "clusters", cluster.as_str(), "restores"], &StartRestore { dry_run: true, ..request.clone() }).await
    }

    /// Lists a cluster's restores, newest first.
    pub async fn list_restores(&self, cluster: &ClusterName, page: &PageQuery) -> Result<Page<Restore>> {
        self.get_held(&["v1", "clusters", cluster.as_str(), "restores"], page, Duration::ZERO).await
    }

    /// Gives a restore up before its commit point.
    pub async fn cancel_restore(&self, id: RestoreId, request: &CancelRestore) -> Result<Restore> {
        self.post(&["v1", "restores", &id.to_string(), "cancel"], request).await
    }

    /// Has a halted cluster go on.
    pub async fn resume_cluster(&self, cluster: &ClusterName, request: &ResumeCluster) -> Result<Cluster> {
        self.post(&["v1", "clusters", cluster.as_str(), "resume"], request).await
    }

    /// Asks a member to leave in good order.
    pub async fn leave(&self, cluster: &ClusterName, member: &MemberName, request: &LeaveRequest) -> Result<Member> {
        self.post(&["v1", "clusters", cluster.as_str(), "members", member.as_str(), "leave"], request).await
    }

    /// Takes back that a member was asked to leave.
    pub async fn stay(&self, cluster: &ClusterName, member: &MemberName) -> Result<Member> {
        self.post(&["v1", "clusters", cluster.as_str(), "members", member.as_str(), "stay"], &()).await
    }

    /// A restore as it is now.
    pub async fn restore(&self, id: RestoreId) -> Result<Restore> {
        self.get(&["v1", "restores", &id.to_string()]).await
    }

    /// A restore once it has ended, or as it is after `wait` (60 s at most a call).
    pub async fn wait_restore(&self, id: RestoreId, wait: Duration) -> Result<Restore> {
        let (query, held) = held(wait);
        self.get_held(&["v1", "restores", &id.to_string()], &query, held).await
    }

    /// The coordinator's archive, and what its store was found to do.
    pub async fn archive(&self) -> Result<ArchiveInfo> {
        self.get(&["v1", "archive"]).await
    }

    /// Tries out anew what the archive's store does.
    pub async fn probe_archive(&self) -> Result<ArchiveInfo> {
        let response = self.send(Method::POST, &["v1", "archive", "probe"], None::<&()>, None::<&()>, MAX_WAIT).await?;
        self.body(response).await
    }

    /// Takes up everything that the archive proves and the database doesn't know.
    pub async fn resync_archive(&self, request: &ResyncArchive) -> Result<ResyncReport> {
        let response = self.send(Method::POST, &["v1", "archive", "resync"], None::<&()>, Some(request), EXPORT_TIMEOUT).await?;
        self.body(response).await
    }

    /// Lists rows of the audit, newest first.
    pub async fn list_audit(&self, query: &ListAudit) -> Result<Page<AuditRow>> {
        self.get_held(&["v1", "audit"], query, Duration::ZERO).await
    }

    /// Exports whole chains of the audit, a row a line.
    pub async fn export_audit(&self, query: &ExportAudit) -> Result<Lines> {
        let (path, method) = (&["v1", "audit", "export"][..], Method::GET);
        let asked = Asked { method, path, query: Some(query), body: None::<&()>, held: EXPORT_TIMEOUT, keyed: false };
        Ok(Lines { response: self.transport.open(&asked).await?, read: Vec::new() })
    }

    /// Looks whether chains of the audit are as they were written.
    pub async fn verify_audit(&self, query: &VerifyAudit) -> Result<AuditVerification> {
        self.get_held(&["v1", "audit", "verify"], query, EXPORT_TIMEOUT).await
    }

    /// Sets which committed snapshots of a cluster are kept.
    pub async fn put_retention(&self, cluster: &ClusterName, retention: &Retention) -> Result<ClusterRetention> {
        let path = ["v1", "clusters", cluster.as_str(), "retention"];
        let response = self.send(Method::PUT, &path, None::<&()>, Some(retention), Duration::ZERO).await?;
        self.body(response).await
    }

    /// Which committed snapshots of a cluster are kept.
    pub async fn retention(&self, cluster: &ClusterName) -> Result<ClusterRetention> {
        self.get(&["v1", "clusters", cluster.as_str(), "retention"]).await
    }

    /// Takes a cluster's retention away: everything is kept.
    pub async fn delete_retention(&self, cluster: &ClusterName) -> Result<()> {
        let path = ["v1", "clusters", cluster.as_str(), "retention"];
        self.send(Method::DELETE, &path, None::<&()>, None::<&()>, Duration::ZERO).await.map(drop)
    }

    /// Holds a snapshot, so that nothing deletes it.
    pub async fn hold_snapshot(&self, id: SnapshotId, hold: &CreateHold) -> Result<Hold> {
        self.post(&["v1", "snapshots", &id.to_string(), "holds"], hold).await
    }

    /// The holds on a snapshot.
    pub async fn list_holds(&self, id: SnapshotId) -> Result<Page<Hold>> {
        self.get(&["v1", "snapshots", &id.to_string(), "holds"]).await
    }

    /// Removes a hold.
    pub async fn release_hold(&self, id: SnapshotId, hold: HoldId) -> Result<()> {
        let path = ["v1", "snapshots", &id.to_string(), "holds", &hold.to_string()];
        self.send(Method::DELETE, &path, None::<&()>, None::<&()>, Duration::ZERO).await.map(drop)
    }

    /// Deletes a snapshot; its objects go in the background.
    pub async fn delete_snapshot(&self, id: SnapshotId) -> Result<Snapshot> {
        let path = ["v1", "snapshots", &id.to_string()];
        let response = self.send(Method::DELETE, &path, None::<&()>, None::<&()>, Duration::ZERO).await?;
        self.body(response).await
    }

    /// What would go from a cluster's archive now, and why.
    pub async fn plan_gc(&self, cluster: &ClusterName, options: &GcOptions) -> Result<GcPlan> {
        self.get_held(&["v1", "clusters", cluster.as_str(), "gc", "plan"], options, MAX_WAIT).await
    }

    /// Carries out what the plan with the same options says.
    pub async fn run_gc(&self, cluster: &ClusterName, options: &GcOptions) -> Result<GcReport> {
        let path = ["v1", "clusters", cluster.as_str(), "gc", "run"];
        let answer = self.send(Method::POST, &path, None::<&()>, Some(options), MAX_WAIT).await?;
        self.body(answer).await
    }

    /// Whether anything is deleted from the archive.
    pub async fn collection(&self) -> Result<Collection> {
        self.get(&["v1", "gc"]).await
    }

    /// Confirms that the catalog is whole, so that deletion goes on.
    pub async fn confirm_collection(&self) -> Result<Collection> {
        let answer = self.send(Method::POST, &["v1", "gc", "confirm"], None::<&()>, None::<&()>, Duration::ZERO).await?;
        self.body(answer).await
    }

    /// Registers a process as a member. For agents.
    pub async fn register(&self, cluster: &ClusterName, request: &Register) -> Result<Registered> {
        self.say(&["v1", "clusters", cluster.as_str(), "members"], request).await
    }

    /// A member's assignment, held until there is news. For agents.
    pub async fn assignment(&self, cluster: &ClusterName, member: &MemberName, query: &AssignmentQuery) -> Result<Assignment> {
        let path = ["v1", "clusters", cluster.as_str(), "members", member.as_str(), "assignment"];
        let held = query.wait.map_or(Duration::from_secs(20), HumanDuration::get);
        self.get_held(&path, query, held).await
    }

    /// Reports what happened at a member. For agents.
    pub async fn report(
        &self,
        cluster: &ClusterName,
        member: &MemberName,
        incarnation: Incarnation,
        event: ReportEvent,
    ) -> Result<ReportAccepted> {
        let path = ["v1", "clusters", cluster.as_str(), "members", member.as_str(), "reports"];
        self.say(&path, &Report { incarnation, event }).await
    }

    /// Whether the coordinator can serve: its database takes writes and its archive answers. Of several replicas one that can is enough.
    pub async fn ready(&self) -> Result<()> {
        self.send(Method::GET, &["readyz"], None::<&()>, None::<&()>, Duration::ZERO).await.map(drop)
    }
}

/// An answer that comes line by line.
#[derive(Debug)]
pub struct Lines {
    response: Response,
    /// What has come and isn't a whole line yet.
    read: Vec<u8>,
}

impl Lines {
    /// The next line without its end; nothing after the last.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the answer is cut off: what has come isn't the whole.
    pub async fn next_line(&mut self) -> Result<Option<String>> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = self.read[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line = self.read.drain(..=looked_at + end).collect::<Vec<_>>();
                return self.text(&line[..line.len() - 1]).map(Some);
            }
            looked_at = self.read.len();
            match self.response.chunk().await.map_err(|e| unreachable(self.response.url(), &e))? {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None if self.read.is_empty() => return Ok(None),
                None => {
                    let last = std::mem::take(&mut self.read);
                    return self.text(&last).map(Some);
                }
            }
        }
    }

    fn text(&self, line: &[u8]) -> Result<String> {
        let (url, status) = (self.response.url().clone(), self.response.status().as_u16());
        let text = std::str::from_utf8(line).map(str::to_owned);
        text.map_err(|error| ClientError::NotStillframe { url, status, reason: error.to_string() })
    }
}

fn held(wait: Duration) -> (WaitQuery, Duration) {
    let wait = wait.min(MAX_WAIT);
    (WaitQuery { wait: HumanDuration::new(wait).ok() }, wait)
}
