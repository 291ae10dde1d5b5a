//! Reading for answers.

use std::{collections::BTreeMap, ops::Bound};

use jiff::Timestamp;
use stillframe_api::snapshot::SnapshotState;
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId, name::ScheduleName};

use super::state::{Cluster, Snapshot, State};
use crate::{
    decide::facts::{Presence, RestoreFacts, ScheduleFacts, SnapshotFacts, Standing},
    store::{ClusterRow, MemberRow, RestoreRow, ScheduleRow, SnapshotFilter, SnapshotRow, rows::PartSummary},
};

/// The items of a page: after a name, so many at most.
fn page<'a, N: Ord + AsRef<str>, T>(items: &'a BTreeMap<N, T>, after: Option<&str>, limit: u32) -> impl Iterator<Item = &'a T> {
    let after = after.unwrap_or("").to_owned();
    items.iter().filter(move |(name, _)| (*name).as_ref() > after.as_str()).map(|(_, item)| item).take(limit as usize)
}

impl State {
    pub(super) fn revisions(&self, clusters: &[ClusterName]) -> Vec<(ClusterName, u64)> {
        let asked = self.clusters.iter().filter(|(name, _)| clusters.contains(name));
        asked.map(|(name, cluster)| (name.clone(), cluster.facts.revision)).collect()
    }

    pub(super) fn cluster(&self, name: &ClusterName) -> Option<ClusterRow> {
        self.clusters.get(name).map(cluster_row)
    }

    pub(super) fn cluster_list(&self, after: Option<&str>, limit: u32) -> Vec<ClusterRow> {
        page(&self.clusters, after, limit).map(cluster_row).collect()
    }

    pub(super) fn members(&self, cluster: &ClusterName, after: Option<&str>, limit: u32) -> Vec<MemberRow> {
        let Some(cluster) = self.clusters.get(cluster) else { return Vec::new() };
        let belonging = page(&cluster.members, after, u32::MAX).filter(|member| member.facts.standing != Standing::Excluded);
        let row = |member: &super::state::Member| MemberRow {
            name: member.facts.name.clone(),
            member_id: member.facts.member_id,
            incarnation: member.facts.incarnation,
            state: member.facts.state,
            address: member.facts.address.clone(),
            registered_at: member.facts.registered_at,
            last_seen_at: member.seen_at,
            lease_expires_at: member.facts.lease_expires_at,
            standing: member.facts.standing,
            leave_wish: member.facts.leave_wish,
            leaving: member.facts.leaving.clone(),
        };
        belonging.map(row).take(limit as usize).collect()
    }

    pub(super) fn snapshot_row(&self, id: SnapshotId, now: Timestamp) -> Option<SnapshotRow> {
        let (cluster, snapshot) = self.snapshot(id)?;
        let summary = |part: &super::state::StoredPart| PartSummary { bytes: part.bytes, reported_at: part.reported_at };
        Some(SnapshotRow {
            now,
            cluster: cluster.facts.name.clone(),
            facts: snapshot.with_reports(true),
            bytes: snapshot.bytes(),
            parts: snapshot.parts.iter().map(|(member, part)| (member.clone(), summary(part))).collect(),
        })
    }

    pub(super) fn snapshot_list(&self, cluster: &ClusterName, filter: &SnapshotFilter, now: Timestamp) -> Vec<SnapshotRow> {
        let Some(cluster) = self.clusters.get(cluster) else { return Vec::new() };
        let fits = |s: &SnapshotFacts| {
            filter.state.is_none_or(|state| s.state == state) && filter.before.is_none_or(|before| s.id < before)
        };
        let row = |snapshot: &Snapshot| SnapshotRow {
            now,
            cluster: cluster.facts.name.clone(),
            facts: snapshot.facts.clone(),
            bytes: snapshot.bytes(),
            parts: BTreeMap::new(),
        };
        let newest_first = cluster.snapshots.values().rev().filter(|snapshot| fits(&snapshot.facts));
        newest_first.take(filter.limit as usize).map(row).collect()
    }

    pub(super) fn restore_row(&self, id: RestoreId) -> Option<RestoreRow> {
        self.clusters.values().find_map(|cluster| Some(restore_row(cluster, cluster.restores.get(&id)?)))
    }

    pub(super) fn restore_list(&self, cluster: &ClusterName, before: Option<RestoreId>, limit: u32) -> Vec<RestoreRow> {
        let Some(cluster) = self.clusters.get(cluster) else { return Vec::new() };
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let newest_first = cluster.restores.range((Bound::Unbounded, end)).rev();
        newest_first.take(limit as usize).map(|(_, restore)| restore_row(cluster, restore)).collect()
    }

    pub(super) fn committed_before(&self, cluster: &ClusterName, time: Timestamp) -> Option<SnapshotId> {
        let snapshots = self.clusters.get(cluster)?.snapshots.values().map(|snapshot| &snapshot.facts);
        let fits = |s: &&SnapshotFacts| s.state == SnapshotState::Committed && s.committing_at.is_some_and(|at| at <= time);
        snapshots.filter(fits).max_by_key(|s| s.epoch).map(|s| s.id)
    }

    pub(super) fn schedule(&self, cluster: &ClusterName, name: &ScheduleName, now: Timestamp) -> Option<ScheduleRow> {
        let facts = self.clusters.get(cluster)?.schedules.get(name)?;
        Some(ScheduleRow { cluster: cluster.clone(), now, facts: facts.clone() })
    }

    pub(super) fn schedule_list(&self, of: &ClusterName, after: Option<&str>, limit: u32, now: Timestamp) -> Vec<ScheduleRow> {
        let Some(cluster) = self.clusters.get(of) else { return Vec::new() };
        let row = |facts: &ScheduleFacts| ScheduleRow { cluster: of.clone(), now, facts: facts.clone() };
        page(&cluster.schedules, after, limit).map(row).collect()
    }
}

fn cluster_row(cluster: &Cluster) -> ClusterRow {
    let snapshots = || cluster.snapshots.values().map(|snapshot| &snapshot.facts);
    let mut under_way: Vec<&SnapshotFacts> = snapshots().filter(|s| s.is_under_way()).collect();
    under_way.sort_by_key(|s| s.epoch);
    let count = |state| {
        let belonging =
            cluster.members.values().map(|m| &m.facts).filter(|m| !matches!(m.standing, Standing::Excluded | Standing::Left));
        u32::try_from(belonging.filter(|m| m.state == state).count()).unwrap_or(u32::MAX)
    };
    let pending = snapshots().filter(|s| s.state == SnapshotState::Pending).count();
    ClusterRow {
        facts: cluster.facts.clone(),
        live_members: count(Presence::Live),
        lost_members: count(Presence::Lost),
        under_way: under_way.into_iter().filter_map(SnapshotFacts::under_way).collect(),
        pending: u32::try_from(pending).unwrap_or(u32::MAX),
        restore: cluster.restore().map(|restore| restore.id),
    }
}

fn restore_row(cluster: &Cluster, restore: &RestoreFacts) -> RestoreRow {
    let parts = cluster.snapshots.get(&restore.snapshot).map(|snapshot| &snapshot.parts);
    let part_bytes = parts.into_iter().flatten().map(|(member, part)| (member.clone(), part.bytes)).collect();
    RestoreRow { cluster: cluster.facts.name.clone(), part_bytes, facts: restore.clone() }
}
