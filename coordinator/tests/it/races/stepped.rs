//! The store on Postgres, each call of which is a step that passes a gate: before it, within it (where a rule is called under the cluster's
//! lock), and after it where it wrote. Here mutants take the place of what they replace.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use stillframe_api::{audit::AuditRow, cluster::CreateCluster, snapshot::SnapshotState};
use stillframe_archive::{ObjectKey, Part};
use stillframe_coordinator::{
    decide::{
        Decision, Facts,
        facts::{ClusterFacts, CollectionState},
    },
    store::{
        AuditEntry, AuditFilter, AuditHead, ClusterRow, Collecting, CollectionRow, CompleteSnapshot, Due, Hint, LeaseKey,
        Leftover, MemberRow, PartRow, ProgressRow, Renewal, RestoreRow, Rule, ScheduleRow, Scope, SnapshotFilter, SnapshotRow,
        Standing, Store, StoreError, Taken, TransactError, Transition, UnfinishedUpload, UploadRow, Uploads,
        idempotency::{Claim, KeptAnswer, KeyedRequest, Keys},
        postgres::PostgresStore,
    },
};
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId, name::ScheduleName};
use uuid::Uuid;

use super::{gate::Gate, mutants::Mutation};

/// One replica's way to the database.
#[derive(Debug)]
pub(super) struct Stepped {
    pub(super) inner: PostgresStore,
    pub(super) gate: Arc<Gate>,
    pub(super) mutation: Mutation,
}

/// A call that only reads.
macro_rules! read {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        let _busy = $self.gate.busy();
        $self.gate.pass(concat!("before ", stringify!($method))).await;
        $self.inner.$method($($argument),*).await
    }};
}

/// A call that writes.
macro_rules! write {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        let _busy = $self.gate.busy();
        $self.gate.pass(concat!("before ", stringify!($method))).await;
        let done = $self.inner.$method($($argument),*).await;
        $self.gate.pass(concat!("after ", stringify!($method))).await;
        done
    }};
}

#[async_trait]
impl Keys for Stepped {
    async fn claim(&self, request: &KeyedRequest, seed: Uuid, hold: Duration) -> Result<Claim, StoreError> {
        write!(self.claim(request, seed, hold))
    }

    async fn keep_claim(&self, key: &str, attempt: u32, hold: Duration) -> Result<bool, StoreError> {
        write!(self.keep_claim(key, attempt, hold))
    }

    async fn settle_claim(&self, key: &str, attempt: u32, answer: Option<KeptAnswer>) -> Result<(), StoreError> {
        write!(self.settle_claim(key, attempt, answer))
    }

    async fn trim_keys(&self, older: Duration) -> Result<u64, StoreError> {
        write!(self.trim_keys(older))
    }
}

#[async_trait]
impl Store for Stepped {
    async fn transact(&self, cluster: &ClusterName, scope: Scope, rule: Rule) -> Result<Transition, TransactError> {
        let _busy = self.gate.busy();
        self.gate.pass("before transact").await;
        self.mutation.before_transact(self, cluster, &scope).await;
        let gate = self.gate.clone();
        let rule: Rule = Arc::new(move |facts: &Facts| {
            gate.pass_blocking("within transact, under the lock");
            rule(facts)
        });
        let done = self.inner.transact(cluster, scope, rule).await;
        self.gate.pass("after transact").await;
        done
    }

    async fn transact_remembered(
        &self,
        before: &Facts,
        decision: &Decision,
        parts: &[PartRow],
        request_id: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError> {
        write!(self.transact_remembered(before, decision, parts, request_id))
    }

    async fn create_cluster(
        &self,
        settings: &CreateCluster,
        request_id: Option<String>,
    ) -> Result<(ClusterFacts, bool), StoreError> {
        write!(self.create_cluster(settings, request_id))
    }

    async fn facts(&self, cluster: &ClusterName) -> Result<Option<Facts>, StoreError> {
        read!(self.facts(cluster))
    }

    async fn announce(&self, hints: &[Hint]) -> Result<(), StoreError> {
        write!(self.announce(hints))
    }

    async fn next_hint(&self) -> Result<Hint, StoreError> {
        self.inner.next_hint().await
    }

    async fn revisions(&self, clusters: &[ClusterName]) -> Result<Vec<(ClusterName, u64)>, StoreError> {
        read!(self.revisions(clusters))
    }

    async fn insert_parts(&self, rows: &[PartRow]) -> Result<Taken, StoreError> {
        let _busy = self.gate.busy();
        self.gate.pass("before insert_parts").await;
        let taken = self.mutation.insert_parts(self, rows).await;
        self.gate.pass("after insert_parts").await;
        taken
    }

    async fn put_progress(&self, rows: Vec<ProgressRow>) -> Result<(), StoreError> {
        write!(self.put_progress(rows))
    }

    async fn complete_snapshots(&self, snapshots: &[SnapshotId]) -> Result<Vec<CompleteSnapshot>, StoreError> {
        let _busy = self.gate.busy();
        self.gate.pass("before complete_snapshots").await;
        self.mutation.complete_snapshots(self, snapshots).await
    }

    async fn unfinished(&self, after: Option<SnapshotId>, limit: u32) -> Result<Vec<SnapshotId>, StoreError> {
        read!(self.unfinished(after, limit))
    }

    async fn parts(&self, snapshot: SnapshotId) -> Result<Vec<Part>, StoreError> {
        read!(self.parts(snapshot))
    }

    async fn renew_leases(&self, holder: Uuid, lease: Duration, renewals: &[Renewal]) -> Result<(), StoreError> {
        write!(self.renew_leases(holder, lease, renewals))
    }

    async fn expired_leases(&self) -> Result<Vec<LeaseKey>, StoreError> {
        read!(self.expired_leases())
    }

    async fn deadlines(&self) -> Result<Due<ClusterName>, StoreError> {
        read!(self.deadlines())
    }

    async fn due_schedules(&self) -> Result<Due<(ClusterName, ScheduleName)>, StoreError> {
        read!(self.due_schedules())
    }

    async fn leftovers(&self, cluster: Option<&ClusterName>) -> Result<Vec<Leftover>, StoreError> {
        read!(self.leftovers(cluster))
    }

    async fn standings(&self, snapshots: &[SnapshotId]) -> Result<Vec<Standing>, StoreError> {
        read!(self.standings(snapshots))
    }

    async fn claim_collecting(&self, what: Collecting, every: Duration) -> Result<Vec<ClusterName>, StoreError> {
        write!(self.claim_collecting(what, every))
    }

    async fn put_upload(&self, upload: &UploadRow) -> Result<bool, StoreError> {
        write!(self.put_upload(upload))
    }

    async fn forget_upload(&self, snapshot: SnapshotId, key: &ObjectKey, upload: &str) -> Result<(), StoreError> {
        write!(self.forget_upload(snapshot, key, upload))
    }

    async fn uploads(&self, of: Uploads<'_>) -> Result<Vec<UnfinishedUpload>, StoreError> {
        read!(self.uploads(of))
    }

    async fn collection(&self) -> Result<CollectionRow, StoreError> {
        read!(self.collection())
    }

    async fn set_collection(&self, state: &CollectionState, actor: &str, request_id: Option<String>) -> Result<bool, StoreError> {
        write!(self.set_collection(state, actor, request_id))
    }

    async fn trim_slots(&self) -> Result<(), StoreError> {
        write!(self.trim_slots())
    }

    async fn check(&self) -> Result<(), StoreError> {
        read!(self.check())
    }

    async fn cluster(&self, cluster: &ClusterName) -> Result<Option<ClusterRow>, StoreError> {
        read!(self.cluster(cluster))
    }

    async fn clusters(&self, after: Option<&str>, limit: u32) -> Result<Vec<ClusterRow>, StoreError> {
        read!(self.clusters(after, limit))
    }

    async fn members(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<MemberRow>, StoreError> {
        read!(self.members(cluster, after, limit))
    }

    async fn snapshot(&self, snapshot: SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
        read!(self.snapshot(snapshot))
    }

    async fn snapshots(&self, cluster: &ClusterName, filter: &SnapshotFilter) -> Result<Vec<SnapshotRow>, StoreError> {
        read!(self.snapshots(cluster, filter))
    }

    async fn restore(&self, restore: RestoreId) -> Result<Option<RestoreRow>, StoreError> {
        read!(self.restore(restore))
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        read!(self.audit(filter))
    }

    async fn audit_heads(&self, cluster: Option<&ClusterName>) -> Result<Vec<AuditHead>, StoreError> {
        read!(self.audit_heads(cluster))
    }

    async fn audit_chain(
        &self,
        cluster: Option<&ClusterName>,
        after: u64,
        last: u64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        read!(self.audit_chain(cluster, after, last, limit))
    }

    async fn schedules(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Result<Vec<ScheduleRow>, StoreError> {
        read!(self.schedules(cluster, after, limit))
    }

    async fn restores(
        &self,
        cluster: &ClusterName,
        before: Option<RestoreId>,
        limit: u32,
    ) -> Result<Vec<RestoreRow>, StoreError> {
        read!(self.restores(cluster, before, limit))
    }

    async fn committed_before(&self, cluster: &ClusterName, time: Timestamp) -> Result<Option<SnapshotId>, StoreError> {
        read!(self.committed_before(cluster, time))
    }

    async fn snapshot_states(&self, cluster: &ClusterName) -> Result<Vec<(SnapshotId, SnapshotState)>, StoreError> {
        read!(self.snapshot_states(cluster))
    }

    async fn behind(&self) -> Result<Vec<ClusterName>, StoreError> {
        read!(self.behind())
    }

    async fn schedule(&self, cluster: &ClusterName, name: &ScheduleName) -> Result<Option<ScheduleRow>, StoreError> {
        read!(self.schedule(cluster, name))
    }
}
