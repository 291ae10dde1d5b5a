//! What is kept, under one lock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use stillframe_archive::{ObjectKey, Part};
use stillframe_protocol::{ClusterName, HoldId, Incarnation, MemberName, RestoreId, SnapshotId, name::ScheduleName};

use super::{audit::Trail, idempotency::Key};
use crate::{
    decide::facts::{
        ClusterFacts, CollectionState, ContinuityFacts, DepartureFacts, HoldFacts, MemberFacts, ProgressFacts, RestoreFacts,
        ScheduleFacts, SnapshotFacts, UnreadableFacts,
    },
    store::CollectionRow,
};

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    /// What stands for the server and its timeline.
    pub(super) identity: String,
    pub(super) clusters: BTreeMap<ClusterName, Cluster>,
    /// Whose each snapshot is.
    pub(super) owners: BTreeMap<SnapshotId, ClusterName>,
    pub(super) collection: CollectionRow,
    pub(super) trail: Trail,
    pub(super) keys: BTreeMap<String, Key>,
}

/// A cluster and everything of it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) facts: ClusterFacts,
    pub(super) members: BTreeMap<MemberName, Member>,
    /// What those that left counted at their end.
    pub(super) departures: BTreeMap<(MemberName, Incarnation), DepartureFacts>,
    pub(super) snapshots: BTreeMap<SnapshotId, Snapshot>,
    pub(super) restores: BTreeMap<RestoreId, RestoreFacts>,
    pub(super) unreadable: BTreeMap<SnapshotId, UnreadableFacts>,
    pub(super) holds: BTreeMap<HoldId, HoldFacts>,
    pub(super) schedules: BTreeMap<ScheduleName, ScheduleFacts>,
    /// The slots that were decided. They outlive their schedule, so that one that is made again doesn't decide them again.
    pub(super) slots: BTreeMap<(ScheduleName, Timestamp), Option<SnapshotId>>,
    /// Nothing until the first transition.
    pub(super) continuity: Option<ContinuityFacts>,
    /// When its retention was last claimed.
    pub(super) retention_at: Option<Timestamp>,
    /// When its orphans were.
    pub(super) orphans_at: Option<Timestamp>,
}

/// A member with its lease.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) facts: MemberFacts,
    pub(super) seen_at: Timestamp,
}

/// A snapshot with what its members reported. `reported` and `progress` of the facts stay empty: they follow from the rest.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) facts: SnapshotFacts,
    pub(super) parts: BTreeMap<MemberName, StoredPart>,
    pub(super) progress: BTreeMap<MemberName, ProgressFacts>,
    /// When each upload that may be unfinished was begun, by key and the archive's id of it.
    pub(super) uploads: BTreeMap<(ObjectKey, String), Timestamp>,
}

#[derive(Debug)]
pub(super) struct StoredPart {
    pub(super) part: Part,
    pub(super) bytes: u64,
    pub(super) reported_at: Timestamp,
}

impl State {
    pub(super) fn new(identity: String, now: Timestamp) -> Self {
        Self {
            identity,
            clusters: BTreeMap::new(),
            owners: BTreeMap::new(),
            collection: CollectionRow { state: CollectionState::Confirmed, changed_at: now },
            trail: Trail::default(),
            keys: BTreeMap::new(),
        }
    }

    /// A snapshot with its cluster.
    pub(super) fn snapshot(&self, id: SnapshotId) -> Option<(&Cluster, &Snapshot)> {
        let cluster = self.clusters.get(self.owners.get(&id)?)?;
        Some((cluster, cluster.snapshots.get(&id)?))
    }

    pub(super) fn snapshot_mut(&mut self, id: SnapshotId) -> Option<&mut Snapshot> {
        self.clusters.get_mut(self.owners.get(&id)?)?.snapshots.get_mut(&id)
    }

    /// Every snapshot of every cluster.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = (&Cluster, &Snapshot)> {
        self.clusters.values().flat_map(|cluster| cluster.snapshots.values().map(move |snapshot| (cluster, snapshot)))
    }
}

impl Cluster {
    pub(super) fn new(facts: ClusterFacts) -> Self {
        Self {
            facts,
            members: BTreeMap::new(),
            departures: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            restores: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            holds: BTreeMap::new(),
            schedules: BTreeMap::new(),
            slots: BTreeMap::new(),
            continuity: None,
            retention_at: None,
            orphans_at: None,
        }
    }

    /// The restore that is under way.
    pub(super) fn restore(&self) -> Option<&RestoreFacts> {
        self.restores.values().find(|restore| !restore.state.has_ended())
    }
}

impl Snapshot {
    pub(super) fn new(facts: SnapshotFacts) -> Self {
        Self { facts, parts: BTreeMap::new(), progress: BTreeMap::new(), uploads: BTreeMap::new() }
    }

    /// The facts with what was reported; with the words on what is waited for, if told.
    pub(super) fn with_reports(&self, with_progress: bool) -> SnapshotFacts {
        let mut facts = self.facts.clone();
        facts.reported = self.parts.keys().cloned().collect();
        if with_progress {
            facts.progress.clone_from(&self.progress);
        }
        facts
    }

    /// Whether there are as many parts as members.
    pub(super) fn is_complete(&self) -> bool {
        self.parts.len() == self.facts.view_members as usize
    }

    /// The bytes of all its parts.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.values().map(|part| part.bytes).fold(0, u64::saturating_add)
    }
}
