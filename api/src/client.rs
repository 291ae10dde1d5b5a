//! A typed client of the coordinator's REST API. Its errors tell a refusal from an unreachable coordinator.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use stillframe_protocol::{ClusterName, HoldId, Incarnation, MemberName, RestoreId, SnapshotId, name::ScheduleName};
use url::Url;

use crate::{
    HumanDuration, Page, Problem,
    agent::{Assignment, AssignmentQuery, Register, Registered, Report, ReportAccepted, ReportEvent},
    audit::{AuditRow, ExportAudit, ListAudit, VerifyAudit},
    chain::AuditVerification,
    cluster::{Cluster, CreateCluster, Member, PageQuery},
    restore::{Restore, StartRestore},
    retention::{ClusterRetention, CreateHold, Hold, Retention},
    schedule::{PutSchedule, Schedule},
    snapshot::{AbortSnapshot, ListSnapshots, Snapshot, TakeSnapshot, WaitQuery},
};

/// How long a request may take besides what it asks the coordinator to hold the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

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
    #[error("{found:?} is no coordinator URL: expected http://host:port or https://host:port; {reason}")]
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

/// A client of one coordinator URL. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    http: reqwest::Client,
}

type Result<T, E = ClientError> = std::result::Result<T, E>;

impl Client {
    /// A client of the coordinator at this URL (`http://host:port`).
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] when it is no `http` or `https` URL.
    pub fn new(url: &str) -> Result<Self> {
        let bad = |reason: String| ClientError::BadUrl { found: url.to_owned(), reason };
        let mut base: Url = url.parse().map_err(|e: url::ParseError| bad(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(bad(format!("found scheme {:?}", base.scheme())));
        }
        if !base.username().is_empty() || base.password().is_some() {
            // It would end up in every error message.
            base.set_username("").and_then(|()| base.set_password(None)).map_err(|()| bad("it holds credentials".to_owned()))?;
            return Err(ClientError::BadUrl {
                found: base.to_string(),
                reason: "a user and password in it aren't taken (left out here)".to_owned(),
            });
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .map_err(|e| bad(e.to_string()))?;
        Ok(Self { base, http })
    }

    /// The coordinator's URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.base
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let mut reason = String::new();
        let mut source: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = source {
            reason = error.to_string();
            source = error.source();
        }
        ClientError::Unreachable { url: self.base.clone(), reason }
    }

    async fn send<Q: Serialize, B: Serialize>(
        &self,
        method: Method,
        path: &[&str],
        query: Option<&Q>,
        body: Option<&B>,
        held: Duration,
    ) -> Result<Response> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url.clone()).timeout(REQUEST_TIMEOUT + held);
        if let Some(query) = query {
            request = request.query(query);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(error) => ClientError::NotStillframe { url, status, reason: error.to_string() },
        })
    }

    async fn body<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let (url, status) = (response.url().clone(), response.status().as_u16());
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::NotStillframe { url, status, reason: e.to_string() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        let response = self.send(Method::GET, path, None::<&()>, None::<&()>, Duration::ZERO).await?;
        self.body(response).await
    }

    async fn get_held<T: DeserializeOwned, Q: Serialize>(&self, path: &[&str], query: &Q, held: Duration) -> Result<T> {
        let response = self.send(Method::GET, path, Some(query), None::<&()>, held).await?;
        self.body(response).await
    }

    async fn post<T: DeserializeOwned, B: Serialize>(&self, path: &[&str], body: &B) -> Result<T> {
        let response = self.send(Method::POST, path, None::<&()>, Some(body), Duration::ZERO).await?;
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

    /// Sets a schedule.
    pub async fn put_schedule(&self, cluster: &ClusterName, name: &ScheduleName, schedule: &PutSchedule) -> Result<Schedule> {
        let path = ["v1", "clusters", cluster.as_str(), "schedules", name.as_str()];
        let response = self.send(Method::PUT, &path, None::<&()>, Some(schedule), Duration::ZERO).await?;
        self.body(response).await
    }

    /// A schedule as it is now.
    pub async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Schedule> {
        self.get(&["v1", "clusters", cluster.as_str(), "schedules", name.as_str()]).await
    }

    /// Deletes a schedule. Its snapshots stay.
    pub async fn delete_schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<()> {
        let path = ["v1", "clusters", cluster.as_str(), "schedules", name.as_str()];
        self.send(Method::DELETE, &path, None::<&()>, None::<&()>, Duration::ZERO).await.map(drop)
    }

    /// Starts a restore; it is carried out in the background.
    pub async fn start_restore(&self, cluster: &ClusterName, request: &StartRestore) -> Result<Restore> {
        self.post(&["v1", "clusters", cluster.as_str(), "restores"], request).await
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

    /// Lists rows of the audit, newest first.
    pub async fn list_audit(&self, query: &ListAudit) -> Result<Page<AuditRow>> {
        self.get_held(&["v1", "audit"], query, Duration::ZERO).await
    }

    /// Exports whole chains of the audit, a row a line.
    pub async fn export_audit(&self, query: &ExportAudit) -> Result<Lines> {
        let response = self.send(Method::GET, &["v1", "audit", "export"], Some(query), None::<&()>, EXPORT_TIMEOUT).await?;
        Ok(Lines { client: self.clone(), response, read: Vec::new() })
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

    /// Registers a process as a member. For agents.
    pub async fn register(&self, cluster: &ClusterName, request: &Register) -> Result<Registered> {
        self.post(&["v1", "clusters", cluster.as_str(), "members"], request).await
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
        self.post(&path, &Report { incarnation, event }).await
    }

    /// Whether the coordinator can serve: its database takes writes and its archive answers.
    pub async fn ready(&self) -> Result<()> {
        let response = self.http.get(self.base.join("readyz").unwrap_or_else(|_| self.base.clone())).timeout(REQUEST_TIMEOUT);
        let response = response.header(header::ACCEPT, "application/json").send().await.map_err(|e| self.unreachable(&e))?;
        let (url, status) = (response.url().clone(), response.status());
        if status.is_success() {
            return Ok(());
        }
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(error) => ClientError::NotStillframe { url, status: status.as_u16(), reason: error.to_string() },
        })
    }
}

/// An answer that comes line by line.
#[derive(Debug)]
pub struct Lines {
    client: Client,
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
            match self.response.chunk().await.map_err(|e| self.client.unreachable(&e))? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_coordinator_url_is_refused_and_no_password_is_repeated() {
        for url in ["", "127.0.0.1:7700", "ftp://host", "http://", "http://me:hunter2@host:7700"] {
            let error = Client::new(url).expect_err(url).to_string();
            assert!(error.contains("expected http://host:port") && !error.contains("hunter2"), "{error}");
        }
    }
}
