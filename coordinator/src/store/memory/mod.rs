//! A store in memory: the same promises as Postgres', by the same suite (`tests/it/suite/`), without a database. For tests and simulation, with a
//! [`Clock`] that stands still until it is advanced; and for embedding a coordinator's rules where nothing has to outlive the process.
//!
//! What it doesn't give: anything after the process has ended, and several processes. Two handles of one store ([`MemoryStore::replica`]) act as
//! two replicas on one database do: they share everything but their ear for hints. Everything is under one lock, so no race is ever lost, and
//! nothing is ever [`Unavailable`](StoreError::Unavailable) or [`Contended`](StoreError::Contended). A rule is called under that lock, and must
//! not wait for anything; one that panics has changed nothing. Reading a cluster takes time in proportion to the snapshots that it ever had.
//!
//! | to find | look in |
//! | --- | --- |
//! | what time it is | [`clock`] |
//! | what is kept | [`state`] |
//! | a transition: reading facts, what must hold, writing the difference | [`facts`], [`constraints`], [`write`] |
//! | a transition on remembered facts | [`remembered`] |
//! | the audit's chains | [`audit`] |
//! | whether transactions may have been lost | [`continuity`] |
//! | reports, uploads in pieces | [`reports`], [`uploads`] |
//! | leases, deadlines, schedules | [`leases`], [`due`] |
//! | what is to be swept, and whether it may be | [`collection`] |
//! | telling other replicas of changes | [`hints`] |
//! | requests that are carried out once | [`idempotency`] |
//! | answers | [`read`] |

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use stillframe_api::{audit::AuditRow, cluster::CreateCluster, snapshot::SnapshotState};
use stillframe_archive::{ObjectKey, Part};
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId, name::ScheduleName};
use tokio::sync::broadcast;
use uuid::Uuid;

use self::{hints::Listener, state::State};
use super::{
    AuditEntry, AuditFilter, AuditHead, ClusterRow, Collecting, CollectionRow, CompleteSnapshot, Due, Hint, LeaseKey, Leftover,
    MemberRow, PartRow, ProgressRow, Renewal, RestoreRow, Rule, ScheduleRow, Scope, SnapshotFilter, SnapshotRow, Standing, Store,
    StoreError, Taken, TransactError, Transition, UnfinishedUpload, UploadRow, Uploads,
};
use crate::decide::{
    Decision, Facts,
    facts::{ClusterFacts, CollectionState},
};

mod audit;
mod clock;
mod collection;
mod constraints;
mod continuity;
mod due;
mod facts;
mod hints;
mod idempotency;
mod leases;
mod read;
mod remembered;
mod reports;
mod state;
mod uploads;
mod write;

pub use clock::Clock;

/// A replica's handle of a store in memory. Clones are the same replica.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
}

/// What all replicas share.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    hints: broadcast::Sender<Hint>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl MemoryStore {
    /// An empty store that goes by this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let hints = broadcast::Sender::new(hints::CAPACITY);
        let listener = Arc::new(Listener::new(&hints));
        let state = Mutex::new(State::new("memory/1".to_owned(), clock.now()));
        Self { shared: Arc::new(Shared { clock, state, hints }), listener }
    }

    /// One more replica on the same store.
    #[must_use]
    pub fn replica(&self) -> Self {
        Self { shared: self.shared.clone(), listener: Arc::new(Listener::new(&self.shared.hints)) }
    }

    /// The clock that it goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Acts from now on as if it were another server or timeline, `memory/1` unless told: as a standby does that was promoted and may lack the last
    /// transactions.
    pub fn fail_over(&self, identity: &str) {
        identity.clone_into(&mut self.lock().identity);
    }

    /// Every change is checked before it is made, so a state that a panic has left is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, and what time it is once it is locked: in the order of the transactions, time doesn't go back on a clock that doesn't.
    fn now(&self) -> (MutexGuard<'_, State>, Timestamp) {
        let state = self.lock();
        let now = self.shared.clock.now();
        (state, now)
    }
}

/// The trait's methods, each in its file.
#[async_trait]
impl Store for MemoryStore {
    async fn transact(&self, cluster: &ClusterName, scope: Scope, rule: Rule) -> Result<Transition, TransactError> {
        let (mut state, now) = self.now();
        state.transact(cluster, &scope, &rule, now)
    }

    async fn transact_remembered(
        &self,
        before: &Facts,
        decision: &Decision,
        parts: &[PartRow],
        request_id: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (mut state, now) = self.now();
        Ok(state.transact_remembered(before, decision, parts, request_id, now)?.then_some(now))
    }

    async fn create_cluster(
        &self,
        settings: &CreateCluster,
        request_id: Option<String>,
    ) -> Result<(ClusterFacts, bool), StoreError> {
        let (mut state, now) = self.now();
        state.create_cluster(settings, request_id.as_deref(), now)
    }

    async fn facts(&self, cluster: &ClusterName) -> Result<Option<Facts>, StoreError> {
        let (state, now) = self.now();
        Ok(state.facts(cluster, &Scope::default(), now))
    }

    async fn announce(&self, hints: &[Hint]) -> Result<(), StoreError> {
        for hint in hints {
            // Nobody listens: nobody has to be told.
            let _ = self.shared.hints.send(hint.clone());
        }
        Ok(())
    }

    async fn next_hint(&self) -> Result<Hint, StoreError> {
        self.listener.next().await
    }

    async fn revisions(&self, clusters: &[ClusterName]) -> Result<Vec<(ClusterName, u64)>, StoreError> {
        Ok(self.lock().revisions(clusters))
    }

    async fn insert_parts(&self, rows: &[PartRow]) -> Result<Taken, StoreError> {
        let (mut state, now) = self.now();
        Ok(state.insert_parts(rows, now))
    }

    async fn put_progress(&self, rows: Vec<ProgressRow>) -> Result<(), StoreError> {
        let (mut state, now) = self.now();
        state.put_progress(rows, now);
        Ok(())
    }

    async fn complete_snapshots(&self, snapshots: &[SnapshotId]) -> Result<Vec<CompleteSnapshot>, StoreError> {
        Ok(self.lock().complete_snapshots(snapshots))
    }

    async fn unfinished(&self, after: Option<SnapshotId>, limit: u32) -> Result<Vec<SnapshotId>, StoreError> {
        Ok(self.lock().unfinished(after, limit as usize))
    }

    async fn parts(&self, snapshot: SnapshotId) -> Result<Vec<Part>, StoreError> {
        Ok(self.lock().parts(snapshot))
    }

    async fn renew_leases(&self, holder: Uuid, lease: Duration, renewals: &[Renewal]) -> Result<(), StoreError> {
        let (mut state, now) = self.now();
        state.renew_leases(holder, lease, renewals, now);
        Ok(())
    }

    async fn expired_leases(&self) -> Result<Vec<LeaseKey>, StoreError> {
        let (state, now) = self.now();
        Ok(state.expired_leases(now))
    }

    async fn deadlines(&self) -> Result<Due<ClusterName>, StoreError> {
        let (state, now) = self.now();
        Ok(state.deadlines(now))
    }

    async fn due_schedules(&self) -> Result<Due<(ClusterName, ScheduleName)>, StoreError> {
        let (state, now) = self.now();
        Ok(state.due_schedules(now))
    }

    async fn leftovers(&self, cluster: Option<&ClusterName>) -> Result<Vec<Leftover>, StoreError> {
        let (state, now) = self.now();
        Ok(state.leftovers(cluster, now))
    }

    async fn standings(&self, snapshots: &[SnapshotId]) -> Result<Vec<Standing>, StoreError> {
        Ok(self.lock().standings(snapshots))
    }

    async fn claim_collecting(&self, what: Collecting, every: Duration) -> Result<Vec<ClusterName>, StoreError> {
        let (mut state, now) = self.now();
        Ok(state.claim_collecting(what, every, now))
    }

    async fn put_upload(&self, upload: &UploadRow) -> Result<bool, StoreError> {
        let (mut state, now) = self.now();
        Ok(state.put_upload(upload, now))
    }

    async fn forget_upload(&self, snapshot: SnapshotId, key: &ObjectKey, upload: &str) -> Result<(), StoreError> {
        self.lock().forget_upload(snapshot, key, upload);
        Ok(())
    }

    async fn uploads(&self, of: Uploads<'_>) -> Result<Vec<UnfinishedUpload>, StoreError> {
        let (state, now) = self.now();
        Ok(state.uploads(of, now))
    }

    async fn collection(&self) -> Result<CollectionRow, StoreError> {
        Ok(self.lock().collection_now())
    }

    async fn set_collection(&self, to: &CollectionState, actor: &str, request_id: Option<String>) -> Result<bool, StoreError> {
        let (mut state, now) = self.now();
        Ok(state.set_collection(to, actor, request_id.as_deref(), now))
    }

    async fn trim_slots(&self) -> Result<(), StoreError> {
        let (mut state, now) = self.now();
        state.trim_slots(now);
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn cluster(&self, cluster: &ClusterName) -> Result<Option<ClusterRow>, StoreError> {
        Ok(self.lock().cluster(cluster))
    }

    async fn clusters(&self, after: Option<&str>, limit: u32) -> Result<Vec<ClusterRow>, StoreError> {
        Ok(self.lock().cluster_list(after, limit))
    }

    async fn members(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<MemberRow>, StoreError> {
        Ok(self.lock().members(cluster, after, limit))
    }

    async fn snapshot(&self, snapshot: SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
        let (state, now) = self.now();
        Ok(state.snapshot_row(snapshot, now))
    }

    async fn snapshots(&self, cluster: &ClusterName, filter: &SnapshotFilter) -> Result<Vec<SnapshotRow>, StoreError> {
        let (state, now) = self.now();
        Ok(state.snapshot_list(cluster, filter, now))
    }

    async fn restore(&self, restore: RestoreId) -> Result<Option<RestoreRow>, StoreError> {
        Ok(self.lock().restore_row(restore))
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self.lock().trail.list(filter))
    }

    async fn audit_heads(&self, cluster: Option<&ClusterName>) -> Result<Vec<AuditHead>, StoreError> {
        Ok(self.lock().trail.heads(cluster))
    }

    async fn audit_chain(
        &self,
        cluster: Option<&ClusterName>,
        after: u64,
        last: u64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        Ok(self.lock().trail.chain(cluster, after, last, limit))
    }

    async fn schedules(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<ScheduleRow>, StoreError> {
        let (state, now) = self.now();
        Ok(state.schedule_list(cluster, after, limit, now))
    }

    async fn restores(
        &self,
        cluster: &ClusterName,
        before: Option<RestoreId>,
        limit: u32,
    ) -> Result<Vec<RestoreRow>, StoreError> {
        Ok(self.lock().restore_list(cluster, before, limit))
    }

    async fn committed_before(&self, cluster: &ClusterName, time: Timestamp) -> Result<Option<SnapshotId>, StoreError> {
        Ok(self.lock().committed_before(cluster, time))
    }

    async fn snapshot_states(&self, cluster: &ClusterName) -> Result<Vec<(SnapshotId, SnapshotState)>, StoreError> {
        Ok(self.lock().snapshot_states(cluster))
    }

    async fn behind(&self) -> Result<Vec<ClusterName>, StoreError> {
        Ok(self.lock().behind())
    }

    async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Option<ScheduleRow>, StoreError> {
        let (state, now) = self.now();
        Ok(state.schedule(cluster, name, now))
    }
}
