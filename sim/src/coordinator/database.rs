//! What the database holds: the facts, whole, and what a store reads besides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stillframe_api::{
    cluster::ClusterPhase,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_coordinator::decide::{
    Decision, Facts,
    facts::{ClusterFacts, DepartureFacts, OlderFacts, RestoreFacts, RollbackFacts, SnapshotFacts, UnreadableFacts},
};
use stillframe_protocol::{ClusterName, Departed, Epoch, Generation, MemberName, RestoreId, SnapshotId};
use uuid::Uuid;

use crate::plan::Plan;

/// A member's lease, which is renewed without a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) expires_at: Timestamp,
    pub(crate) holder: Option<Uuid>,
}

/// The database.
#[derive(Debug)]
pub(crate) struct Database {
    /// What members counted that left.
    departures: Vec<DepartureFacts>,
    facts: Facts,
    /// Every snapshot that ever was.
    pub(crate) snapshots: BTreeMap<SnapshotId, SnapshotFacts>,
    /// Every restore that ever was.
    pub(crate) restores: BTreeMap<RestoreId, RestoreFacts>,
    unreadable: BTreeMap<SnapshotId, UnreadableFacts>,
    pub(crate) leases: BTreeMap<MemberName, Lease>,
}

/// The database's clock.
pub(crate) fn timestamp(now_us: u64) -> Timestamp {
    let us = i64::try_from(now_us).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(1_700_000_000_000_000_i64.saturating_add(us)).unwrap_or(Timestamp::MAX)
}

impl Database {
    pub(crate) fn new(plan: &Plan, name: ClusterName) -> Self {
        let now = timestamp(0);
        let cluster = ClusterFacts {
            name,
            min_members: u32::try_from(plan.initial).unwrap_or(u32::MAX),
            snapshot_timeout_ms: plan.snapshot_timeout_ms,
            on_loss: plan.on_loss,
            archive_prefix: None,
            max_concurrent: plan.max_concurrent,
            min_pause_ms: plan.min_pause_ms,
            channels: Default::default(),
            channels_in_force: Default::default(),
            phase: ClusterPhase::Forming,
            phase_reason: None,
            halt: None,
            generation: Generation(0),
            last_generation: Generation(0),
            epoch: Epoch(0),
            revision: 1,
            version: 1,
            stamp: Uuid::nil(),
            peers_revision: 1,
            last_member_id: 0,
            latest_committed: None,
            retention: None,
            latest_mapping: BTreeMap::new(),
            rollback_limit: plan.rollback_limit,
            rollback_window_ms: 10_000,
            rollback_backoff_ms: 50,
            restore_fallback: plan.restore_fallback,
            rollback_at: None,
            rollbacks_since: None,
            created_at: now,
        };
        let facts = Facts {
            now,
            cluster,
            members: BTreeMap::new(),
            snapshots: Vec::new(),
            outcomes: Vec::new(),
            restore: None,
            ended_restore: None,
            latest_view: BTreeSet::new(),
            older: None,
            unreadable: BTreeMap::new(),
            rollbacks: Vec::new(),
            schedule: None,
            continuity: Default::default(),
            kept: None,
            departures: Vec::new(),
        };
        let (snapshots, restores, unreadable) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { departures: Vec::new(), facts, snapshots, restores, unreadable, leases: BTreeMap::new() }
    }

    /// The facts, as far as they are kept.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Those that had left before a snapshot began, the newest incarnation of each: what the store gives with its parts.
    pub(crate) fn departed_before(&self, snapshot: &SnapshotFacts) -> Vec<Departed> {
        let before = |gone: &&DepartureFacts| {
            gone.generation == snapshot.generation
                && Some(gone.left_at) <= snapshot.recording_at
                && !snapshot.view.contains_key(&gone.counters.member)
        };
        let gone = self.departures.iter().filter(before).map(|gone| (gone.counters.member.clone(), gone.counters.clone()));
        gone.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Notes that a part is stored. No decision, and so no new version.
    pub(crate) fn reported(&mut self, id: SnapshotId, member: &MemberName) {
        for snapshot in self.facts.snapshots.iter_mut().filter(|snapshot| snapshot.id == id) {
            snapshot.reported.insert(member.clone());
        }
    }

    /// Everything that a decision may rest on: what a store reads, and the snapshot that is asked about.
    pub(crate) fn read(&self, now_us: u64, asked: Option<SnapshotId>) -> Facts {
        let mut facts = self.facts.clone();
        facts.now = timestamp(now_us);
        if let Some(asked) = asked.filter(|id| facts.snapshot(*id).is_none()).and_then(|id| self.snapshots.get(&id)) {
            facts.snapshots.push(asked.clone());
        }
        for (name, lease) in &self.leases {
            if let Some(member) = facts.members.get_mut(name) {
                (member.lease_expires_at, member.holder) = (lease.expires_at, lease.holder);
            }
        }
        let committed = |id: &SnapshotId| self.snapshots.get(id).filter(|s| s.state == SnapshotState::Committed);
        let latest = facts.cluster.latest_committed.filter(|id| self.unreadable.contains_key(id));
        let anchor = facts.restore.as_ref().map(|restore| restore.snapshot).or(latest);
        let epoch = anchor.and_then(|id| self.snapshots.get(&id)).and_then(|snapshot| snapshot.epoch);
        let older = self.snapshots.keys().filter_map(committed);
        let older = older.filter(|s| s.epoch < epoch && !self.unreadable.contains_key(&s.id)).max_by_key(|s| s.epoch);
        facts.older = older.map(|s| OlderFacts { id: s.id, view: s.view.keys().cloned().collect() });
        facts.unreadable = self.unreadable.clone();
        let window = SignedDuration::from_millis(i64::try_from(facts.cluster.rollback_window_ms).unwrap_or(i64::MAX));
        let since = facts.now.checked_sub(window).unwrap_or(Timestamp::MIN);
        let since = since.max(facts.cluster.rollbacks_since.unwrap_or(Timestamp::MIN));
        let rollbacks = self.restores.values().filter(|r| r.trigger == Trigger::Automatic && r.created_at > since);
        let rollback = |r: &RestoreFacts| RollbackFacts { created_at: r.created_at, went_through: r.resumed_at.is_some() };
        facts.rollbacks = rollbacks.map(rollback).collect();
        facts.rollbacks.sort_by_key(|rollback| rollback.created_at);
        facts
    }

    /// Writes what was decided on these facts. Leases and reported parts are rows of their own, which a decision on older facts doesn't overwrite.
    pub(crate) fn write(&mut self, before: &Facts, decision: Decision, reported: impl Fn(SnapshotId) -> BTreeSet<MemberName>) {
        let mut next = decision.next;
        self.departures.append(&mut next.departures);
        for snapshot in &mut next.snapshots {
            snapshot.reported = reported(snapshot.id);
            self.snapshots.insert(snapshot.id, snapshot.clone());
        }
        for restore in next.ended_restore.iter().chain(&next.restore) {
            self.restores.insert(restore.id, restore.clone());
        }
        for (name, member) in &next.members {
            let same = |known: &stillframe_coordinator::decide::facts::MemberFacts| {
                (known.lease_expires_at, known.incarnation) == (member.lease_expires_at, member.incarnation)
            };
            if !before.members.get(name).is_some_and(same) {
                self.leases.insert(name.clone(), Lease { expires_at: member.lease_expires_at, holder: member.holder });
            }
        }
        self.unreadable.retain(|id, _| !before.unreadable.contains_key(id));
        self.unreadable.append(&mut next.unreadable);
        self.facts = next.settled();
    }
}
