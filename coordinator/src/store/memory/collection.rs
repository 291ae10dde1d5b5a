//! What is to be swept from the archive, and whether anything may be.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use stillframe_api::snapshot::SnapshotState;
use stillframe_protocol::{ClusterName, SnapshotId};

use super::{
    audit::line,
    clock::earlier,
    state::{Cluster, Snapshot, State},
};
use crate::{
    decide::facts::CollectionState,
    store::{Collecting, CollectionRow, Leftover, Standing},
};

/// How many are taken up at once, over all clusters.
const BATCH: usize = 100;

/// How many are told of one cluster.
const MOST: usize = 1_000;

impl State {
    pub(super) fn leftovers(&self, of: Option<&ClusterName>, now: Timestamp) -> Vec<Leftover> {
        let leftover = |(cluster, snapshot): (&Cluster, &Snapshot)| {
            let (facts, state) = (&snapshot.facts, snapshot.facts.state);
            let goes = matches!(state, SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted);
            let is_asked = |sweep_at| of.map_or(sweep_at <= now, |of| *of == cluster.facts.name);
            let sweep_at = facts.sweep_at.filter(|sweep_at| goes && is_asked(*sweep_at))?;
            let (name, archive_prefix) = (cluster.facts.name.clone(), cluster.facts.archive_prefix.clone());
            Some(Leftover { cluster: name, archive_prefix, snapshot: facts.id, state, sweep_at })
        };
        let mut leftovers: Vec<Leftover> = self.snapshots().filter_map(leftover).collect();
        leftovers.sort_by_key(|leftover| (leftover.sweep_at, leftover.snapshot));
        // Of each cluster its first before the second of any: one whose archive is away takes nobody's turn.
        let mut places: BTreeMap<ClusterName, usize> = BTreeMap::new();
        leftovers.sort_by_cached_key(|leftover| {
            let place = places.entry(leftover.cluster.clone()).or_default();
            *place += 1;
            (*place, leftover.sweep_at, leftover.snapshot)
        });
        leftovers.truncate(if of.is_some() { MOST } else { BATCH });
        leftovers
    }

    pub(super) fn standings(&self, ids: &[SnapshotId]) -> Vec<Standing> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| self.snapshot(id)).map(|(_, snapshot)| standing(snapshot)).collect()
    }

    pub(super) fn claim_collecting(&mut self, what: Collecting, every: Duration, now: Timestamp) -> Vec<ClusterName> {
        let until = earlier(now, every);
        let claimed = self.clusters.values_mut().filter_map(|cluster| {
            let last = match what {
                Collecting::Retention if cluster.facts.retention.is_none() => return None,
                Collecting::Retention => &mut cluster.retention_at,
                Collecting::Orphans => &mut cluster.orphans_at,
            };
            if last.is_some_and(|last| last > until) {
                return None;
            }
            *last = Some(now);
            Some(cluster.facts.name.clone())
        });
        claimed.take(BATCH).collect()
    }

    /// Whether anything may be deleted, with what follows from what may have been lost: not as long as the catalog may know less than the archive.
    pub(super) fn collection_now(&self) -> CollectionRow {
        let CollectionRow { state, changed_at } = self.collection.clone();
        let behind = self.clusters.values().filter_map(|cluster| self.why_behind(cluster)).min();
        let state = match (state, behind) {
            (CollectionState::Confirmed, Some(reason)) => CollectionState::Suspended { reason },
            (state, _) => state,
        };
        CollectionRow { state, changed_at }
    }

    pub(super) fn set_collection(&mut self, to: &CollectionState, actor: &str, request_id: Option<&str>, now: Timestamp) -> bool {
        let is_suspended = |state: &CollectionState| matches!(state, CollectionState::Suspended { .. });
        // A suspension keeps its first reason until it is confirmed.
        if is_suspended(&self.collection.state) == is_suspended(to) {
            return false;
        }
        self.collection = CollectionRow { state: to.clone(), changed_at: now };
        let (action, reason) = match to {
            CollectionState::Confirmed => ("collection.confirmed", None),
            CollectionState::Suspended { reason } => ("collection.suspended", Some(reason.clone())),
        };
        let detail = json!({ "reason": reason });
        self.trail.add(None, now, &line(actor, action, "collection", reason, detail), request_id);
        true
    }
}

fn standing(snapshot: &Snapshot) -> Standing {
    let objects = snapshot.parts.values().flat_map(|stored| &stored.part.objects);
    let keys = objects.filter_map(|object| object.key().cloned());
    let facts = &snapshot.facts;
    Standing { snapshot: facts.id, state: facts.state, sweeps: facts.sweep_at.is_some(), keys: keys.collect() }
}
