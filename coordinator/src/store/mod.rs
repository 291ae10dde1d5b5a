//! Where the facts are kept: the trait, and its implementations: Postgres, and one in memory. One suite runs against each
//! (`coordinator/tests/it/suite/`).
//!
//! | to find | look in |
//! | --- | --- |
//! | what can go wrong | [`error`] |
//! | what is read for answers | [`rows`], [`audit`] |
//! | requests that are carried out once | [`idempotency`] |
//! | reports in batches | [`reports`] |
//! | uploads in pieces | [`uploads`] |
//! | what a decision changes | [`difference`] |
//! | the one dialect of SQL | [`postgres`] |
//! | without a database | [`memory`] |

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use stillframe_api::{audit::AuditRow, cluster::CreateCluster, snapshot::SnapshotState};
use stillframe_archive::ObjectKey;
use stillframe_protocol::{ClusterName, Incarnation, MemberName, RestoreId, SnapshotId, name::ScheduleName};
use uuid::Uuid;

use crate::decide::{
    Decision, Facts, Refusal,
    facts::{ClusterFacts, CollectionState},
    schedule::Slot,
};

pub mod audit;
mod difference;
pub mod error;
pub mod idempotency;
pub mod memory;
pub mod postgres;
pub mod reports;
pub mod rows;
pub mod uploads;

pub use audit::{AuditEntry, AuditFilter, AuditHead};
pub use error::{StoreError, TransactError};
pub use reports::{CompleteSnapshot, PartRow, ProgressRow, Taken};
pub use rows::{ClusterRow, CollectionRow, MemberRow, RestoreRow, ScheduleRow, SnapshotRow};
pub use uploads::{UnfinishedUpload, UploadRow, Uploads};

/// What a transition reads besides the cluster's ordinary facts.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// A snapshot, ended or not.
    pub snapshot: Option<SnapshotId>,
    /// A schedule.
    pub schedule: Option<ScheduleName>,
    /// What is kept: the committed snapshots, the holds on the cluster's snapshots, and whether anything may be deleted.
    pub kept: bool,
    /// What was found in the archive, to be taken up.
    pub found: Option<Arc<Found>>,
    /// The request on whose behalf it is.
    pub request_id: Option<String>,
}

/// What was found in the archive of a cluster that may not be in the store.
#[derive(Debug, Clone)]
pub struct Found {
    /// The cluster, with the settings that it gets if it isn't there: it is made in the transition.
    pub settings: CreateCluster,
    /// The parts of the snapshot that the transition takes up.
    pub parts: Vec<stillframe_archive::Part>,
}

/// What a rule gives to the store.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What is to be written.
    pub decision: Decision,
    /// The schedule slot that this decides: written at most once, over all replicas.
    pub slot: Option<Slot>,
}

impl From<Decision> for Outcome {
    fn from(decision: Decision) -> Self {
        Self { decision, slot: None }
    }
}

/// A pure rule, called under the cluster's lock; perhaps more than once, when a race was lost.
pub type Rule = Arc<dyn Fn(&Facts) -> Result<Outcome, Refusal> + Send + Sync>;

/// A transition that was carried out.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The facts after it, what ended in it included.
    pub facts: Facts,
    /// Whether anything was written.
    pub changed: bool,
}

/// A member's lease: who, and which registration.
pub type LeaseKey = (ClusterName, MemberName, Incarnation);

/// A lease to renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Whose.
    pub lease: LeaseKey,
    /// Whether it is taken over if another replica holds it; else it is renewed only where this replica holds it already.
    pub take: bool,
}

/// A change that another replica may be waited for at: a cluster, and its revision by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The replica that made it.
    pub replica: Uuid,
    /// The cluster.
    pub cluster: ClusterName,
    /// Its revision.
    pub revision: u64,
}

/// Something that is due: its cluster, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due<T> {
    /// The clusters (or schedules) that are due now.
    pub now: Vec<T>,
    /// How long until the next is; none when nothing is in sight.
    pub next_in: Option<Duration>,
}

/// What a snapshot that is aborted, being deleted or deleted may have left in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The cluster.
    pub cluster: ClusterName,
    /// The folder of the archive.
    pub archive_prefix: Option<String>,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its state: aborted, deleting or deleted.
    pub state: SnapshotState,
    /// When it is to be swept.
    pub sweep_at: Timestamp,
}

/// A snapshot, as much as says what it owns in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its state.
    pub state: SnapshotState,
    /// Whether a sweep of its keys is still to come.
    pub sweeps: bool,
    /// The keys that its parts name; inline objects have none.
    pub keys: BTreeSet<ObjectKey>,
}

/// What is done to a cluster's archive now and then, by one replica at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collecting {
    /// Its retention is carried out. Not for clusters that keep everything.
    Retention,
    /// It is looked through for objects that nobody owns.
    Orphans,
}

/// Which snapshots to list, newest first.
#[derive(Debug, Clone)]
pub struct SnapshotFilter {
    /// Only those in this state.
    pub state: Option<SnapshotState>,
    /// Only those older than this one.
    pub before: Option<SnapshotId>,
    /// How many at most.
    pub limit: u32,
}

/// Where the facts are kept. Every method is safe to call again after an error.
#[async_trait]
pub trait Store: idempotency::Keys + Send + Sync + std::fmt::Debug + 'static {
    /// Carries out one transition: lock the cluster, read its facts, let the rule decide, write the difference and the audit, commit. Goes on
    /// to its end when the caller is dropped.
    async fn transact(&self, cluster: &ClusterName, scope: Scope, rule: Rule) -> Result<Transition, TransactError>;

    /// Carries out a transition that was decided on remembered facts, in one statement, if those are still the facts. Nothing when they
    /// aren't, or when the decision is about more than snapshots: then nothing was changed. Else the database's time. With it go parts, the last
    /// of a snapshot that the decision makes `committing`, so that both are one commit.
    async fn transact_remembered(
        &self,
        before: &Facts,
        decision: &Decision,
        parts: &[PartRow],
        request_id: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Makes a cluster; gives the one that there is and `false` when the name is taken.
    async fn create_cluster(
        &self,
        settings: &CreateCluster,
        request_id: Option<String>,
    ) -> Result<(ClusterFacts, bool), StoreError>;

    /// The cluster's facts, unlocked: for assignments.
    async fn facts(&self, cluster: &ClusterName) -> Result<Option<Facts>, StoreError>;

    /// Tells the other replicas of changes. A hint: it may get lost, so they look now and again besides.
    async fn announce(&self, hints: &[Hint]) -> Result<(), StoreError>;

    /// The next change that some replica announced, this one included. Those announced while nobody waits may be missed.
    async fn next_hint(&self) -> Result<Hint, StoreError>;

    /// The revisions of these clusters. Answers within a few seconds, or fails: it is how a replica knows that it isn't cut off.
    async fn revisions(&self, clusters: &[ClusterName]) -> Result<Vec<(ClusterName, u64)>, StoreError>;

    /// Inserts parts whose snapshot still wants them; the others change nothing. Not durable by itself: it becomes so with the transition to
    /// `committing`, at the latest. A crash of the database in between costs the snapshot, never its truth. Gives those that are there now, also those that were before.
    async fn insert_parts(&self, rows: &[PartRow]) -> Result<Taken, StoreError>;

    /// Keeps the latest word of members on what they wait for.
    async fn put_progress(&self, rows: Vec<ProgressRow>) -> Result<(), StoreError>;

    /// Those of the snapshots that have all their parts and aren't committed yet, with their parts. To be asked *after* a part was inserted:
    /// of two last parts in two transactions, neither sees the other.
    async fn complete_snapshots(&self, snapshots: &[SnapshotId]) -> Result<Vec<CompleteSnapshot>, StoreError>;

    /// Snapshots that somebody has to drive forward, complete or committing: in the order of their ids, those behind `after`, so many at most.
    async fn unfinished(&self, after: Option<SnapshotId>, limit: u32) -> Result<Vec<SnapshotId>, StoreError>;

    /// The parts of a snapshot.
    async fn parts(&self, snapshot: SnapshotId) -> Result<Vec<stillframe_archive::Part>, StoreError>;

    /// Renews leases in the name of this replica. Not durable: a lost renewal costs nothing but the next one.
    async fn renew_leases(&self, holder: Uuid, lease: Duration, renewals: &[Renewal]) -> Result<(), StoreError>;

    /// The live members whose lease ran out.
    async fn expired_leases(&self) -> Result<Vec<LeaseKey>, StoreError>;

    /// Clusters with a snapshot or restore past its deadline.
    async fn deadlines(&self) -> Result<Due<ClusterName>, StoreError>;

    /// Schedules whose slot is due.
    async fn due_schedules(&self) -> Result<Due<(ClusterName, ScheduleName)>, StoreError>;

    /// Snapshots of which nothing may stay in the archive and that are to be swept: of all clusters those that are due, 100 at most; of one
    /// cluster also those that will be, 1,000 at most. The earliest first, of each cluster as many as of the others.
    async fn leftovers(&self, cluster: Option<&ClusterName>) -> Result<Vec<Leftover>, StoreError>;

    /// What is known of these snapshots; those that aren't known are left out.
    async fn standings(&self, snapshots: &[SnapshotId]) -> Result<Vec<Standing>, StoreError>;

    /// The clusters for which this was last claimed so long ago, or never; 100 at most. Claimed with it: no other caller gets them before.
    async fn claim_collecting(&self, what: Collecting, every: Duration) -> Result<Vec<ClusterName>, StoreError>;

    /// Keeps an upload in pieces before its first piece is sent. False when its snapshot doesn't want that member's part: then it isn't kept.
    async fn put_upload(&self, upload: &UploadRow) -> Result<bool, StoreError>;

    /// Forgets an upload that was completed or aborted.
    async fn forget_upload(&self, snapshot: SnapshotId, key: &ObjectKey, upload: &str) -> Result<(), StoreError>;

    /// Uploads that may be unfinished, the oldest first, 1,000 at most.
    async fn uploads(&self, of: Uploads<'_>) -> Result<Vec<UnfinishedUpload>, StoreError>;

    /// Whether anything may be deleted from the archive.
    async fn collection(&self) -> Result<CollectionRow, StoreError>;

    /// Lets deletion go on, or suspends it. Says whether that was a change.
    async fn set_collection(&self, state: &CollectionState, actor: &str, request_id: Option<String>) -> Result<bool, StoreError>;

    /// Forgets schedule slots that are long past.
    async fn trim_slots(&self) -> Result<(), StoreError>;

    /// Whether the database takes writes.
    async fn check(&self) -> Result<(), StoreError>;

    /// A cluster.
    async fn cluster(&self, cluster: &ClusterName) -> Result<Option<ClusterRow>, StoreError>;

    /// Clusters by name, after this one.
    async fn clusters(&self, after: Option<&str>, limit: u32) -> Result<Vec<ClusterRow>, StoreError>;

    /// Members by name, after this one.
    async fn members(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<MemberRow>, StoreError>;

    /// A snapshot with everything about it.
    async fn snapshot(&self, snapshot: SnapshotId) -> Result<Option<SnapshotRow>, StoreError>;

    /// Snapshots, newest first.
    async fn snapshots(&self, cluster: &ClusterName, filter: &SnapshotFilter) -> Result<Vec<SnapshotRow>, StoreError>;

    /// A restore.
    async fn restore(&self, restore: RestoreId) -> Result<Option<RestoreRow>, StoreError>;

    /// Rows of the audit, newest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError>;

    /// The newest row of each chain of the audit, or of one: that of a cluster.
    async fn audit_heads(&self, cluster: Option<&ClusterName>) -> Result<Vec<AuditHead>, StoreError>;

    /// The rows of one chain of the audit with numbers above `after` and up to `last`, in order; so many at most.
    async fn audit_chain(
        &self,
        cluster: Option<&ClusterName>,
        after: u64,
        last: u64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError>;

    /// Schedules by name, after this one.
    async fn schedules(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<ScheduleRow>, StoreError>;

    /// Restores, newest first, older than this one.
    async fn restores(&self, cluster: &ClusterName, before: Option<RestoreId>, limit: u32)
    -> Result<Vec<RestoreRow>, StoreError>;

    /// The newest committed snapshot, by its epoch, all parts of which were there at this time.
    async fn committed_before(&self, cluster: &ClusterName, time: Timestamp) -> Result<Option<SnapshotId>, StoreError>;

    /// Every snapshot of a cluster, with its state.
    async fn snapshot_states(&self, cluster: &ClusterName) -> Result<Vec<(SnapshotId, SnapshotState)>, StoreError>;

    /// The clusters of which the store may know less than the archive, or whose transactions may have been lost since the last transition.
    async fn behind(&self) -> Result<Vec<ClusterName>, StoreError>;

    /// A schedule.
    async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Option<ScheduleRow>, StoreError>;
}
