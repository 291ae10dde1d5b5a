//! Reading the facts of a cluster: everything that a decision may rest on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use stillframe_api::{
    restore::RestoreState,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::ClusterName;

use super::{
    clock::earlier,
    state::{Cluster, State},
};
use crate::{
    decide::{
        Facts,
        facts::{CommittedFacts, ContinuityFacts, KeptFacts, OlderFacts, OutcomeFacts, RollbackFacts, SnapshotFacts},
        restore::mapping,
        snapshot::keep_in_sight,
    },
    store::Scope,
};

impl State {
    /// Nothing when there is no such cluster.
    pub(super) fn facts(&self, name: &ClusterName, scope: &Scope, now: Timestamp) -> Option<Facts> {
        let cluster = self.clusters.get(name)?;
        let facts = &cluster.facts;
        let restore = cluster.restore().cloned();
        let latest = facts.latest_committed.and_then(|id| cluster.snapshots.get(&id));
        let latest_view = latest.map(|latest| latest.facts.view.keys()).into_iter().flatten();
        let asked = [facts.latest_committed, scope.snapshot, restore.as_ref().map(|restore| restore.snapshot)];
        let unreadable = cluster.unreadable.iter().filter(|(id, _)| asked.contains(&Some(**id)));
        let continuity = cluster.continuity.clone().unwrap_or_default();
        Some(Facts {
            now,
            cluster: facts.clone(),
            members: cluster.members.iter().map(|(name, member)| (name.clone(), member.facts.clone())).collect(),
            snapshots: snapshots(cluster, scope),
            outcomes: outcomes(cluster),
            restore,
            ended_restore: None,
            latest_view: latest_view.map(|part| mapping::apply(&facts.latest_mapping, part).clone()).collect(),
            older: older(cluster),
            unreadable: unreadable.map(|(id, facts)| (*id, facts.clone())).collect(),
            rollbacks: rollbacks(cluster, now),
            schedule: scope.schedule.as_ref().and_then(|name| cluster.schedules.get(name)).cloned(),
            continuity: ContinuityFacts { here: Some(self.identity.clone()), ..continuity },
            kept: scope.kept.then(|| self.kept(cluster)),
            departures: Vec::new(),
        })
    }

    fn kept(&self, cluster: &Cluster) -> KeptFacts {
        let committed = cluster.snapshots.values().map(|s| &s.facts).filter(|s| s.state == SnapshotState::Committed);
        let committed = committed.filter_map(|s| Some((s.epoch?, s.id, s.recording_at?)));
        let committed: BTreeMap<_, _> =
            committed.map(|(epoch, id, recording_at)| (epoch, CommittedFacts { id, epoch, recording_at })).collect();
        let holds = cluster.holds.values().cloned().collect();
        KeptFacts { collection: self.collection_now().state, committed: committed.into_values().collect(), holds }
    }
}

/// Those that haven't ended, oldest first, and the one that was asked about.
fn snapshots(cluster: &Cluster, scope: &Scope) -> Vec<SnapshotFacts> {
    let in_sight = |s: &SnapshotFacts| !s.state.has_ended() || scope.snapshot == Some(s.id);
    let snapshots = cluster.snapshots.values().filter(|snapshot| in_sight(&snapshot.facts));
    let mut snapshots: Vec<SnapshotFacts> =
        snapshots.map(|s| s.with_reports(s.facts.state == SnapshotState::Recording)).collect();
    snapshots.sort_by_key(|s| (s.created_at, s.id));
    snapshots
}

fn outcomes(cluster: &Cluster) -> Vec<OutcomeFacts> {
    let ended = cluster.snapshots.values().map(|s| &s.facts).filter(|s| s.ended_at.is_some());
    let outcome = |s: &SnapshotFacts| {
        let was_committed =
            matches!(s.state, SnapshotState::Committed | SnapshotState::Deleting | SnapshotState::Deleted) && s.abort.is_none();
        Some(OutcomeFacts { id: s.id, epoch: s.epoch?, committed: was_committed, recording_at: s.recording_at? })
    };
    let mut outcomes: Vec<OutcomeFacts> = ended.filter_map(outcome).collect();
    keep_in_sight(&mut outcomes);
    outcomes
}

/// Where the restore that is under way, or else a rollback, may fall back to.
fn older(cluster: &Cluster) -> Option<OlderFacts> {
    let begins = |state| matches!(state, RestoreState::Planned | RestoreState::Preparing);
    let restored = cluster.restore().filter(|restore| begins(restore.state)).map(|restore| restore.snapshot);
    let latest = cluster.facts.latest_committed.filter(|id| cluster.unreadable.contains_key(id));
    let anchor = cluster.snapshots.get(&restored.or(latest)?)?.facts.epoch?;
    let fit = |s: &&SnapshotFacts| {
        s.state == SnapshotState::Committed
            && s.epoch.is_some_and(|epoch| epoch < anchor)
            && !cluster.unreadable.contains_key(&s.id)
    };
    let newest = cluster.snapshots.values().map(|s| &s.facts).filter(fit).max_by_key(|s| s.epoch)?;
    Some(OlderFacts { id: newest.id, view: newest.view.keys().cloned().collect() })
}

fn rollbacks(cluster: &Cluster, now: Timestamp) -> Vec<RollbackFacts> {
    let window = std::time::Duration::from_millis(cluster.facts.rollback_window_ms);
    let since = earlier(now, window).max(cluster.facts.rollbacks_since.unwrap_or(Timestamp::MIN));
    let automatic = cluster.restores.values().filter(|r| r.trigger == Trigger::Automatic && r.created_at > since);
    let mut rollbacks: Vec<RollbackFacts> =
        automatic.map(|r| RollbackFacts { created_at: r.created_at, went_through: r.resumed_at.is_some() }).collect();
    rollbacks.sort_by_key(|rollback| rollback.created_at);
    rollbacks
}
