//! What is due, by the store's clock, and when the next is.

use std::time::Duration;

use jiff::Timestamp;
use stillframe_api::{cluster::ClusterPhase, restore::RestoreState, snapshot::SnapshotState};
use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::{
    clock::earlier,
    state::{Cluster, State},
};
use crate::store::Due;

/// How many are taken up at once.
const BATCH: usize = 100;

/// A slot is forgotten a day after: by then no replica can still believe that it is due.
const SLOT_KEPT: Duration = Duration::from_secs(24 * 3600);

impl State {
    pub(super) fn deadlines(&self, now: Timestamp) -> Due<ClusterName> {
        let earliest = |cluster: &Cluster| Some((earliest(cluster)?, cluster.facts.name.clone()));
        split(self.clusters.values().filter_map(earliest).collect(), now)
    }

    pub(super) fn due_schedules(&self, now: Timestamp) -> Due<(ClusterName, ScheduleName)> {
        let schedules = self.clusters.values().flat_map(|c| c.schedules.values().map(|schedule| (&c.facts.name, schedule)));
        let going = schedules.filter(|(_, schedule)| !schedule.paused);
        split(going.map(|(cluster, s)| (s.next_at, (cluster.clone(), s.name.clone()))).collect(), now)
    }

    pub(super) fn trim_slots(&mut self, now: Timestamp) {
        let since = earlier(now, SLOT_KEPT);
        for cluster in self.clusters.values_mut() {
            cluster.slots.retain(|(_, at), _| *at >= since);
        }
    }
}

fn split<T: Ord>(mut rows: Vec<(Timestamp, T)>, now: Timestamp) -> Due<T> {
    rows.sort();
    rows.truncate(BATCH);
    let next_at = rows.iter().map(|(at, _)| *at).find(|at| *at > now);
    let next_in = next_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    Due { now: rows.into_iter().filter(|(at, _)| *at <= now).map(|(_, what)| what).collect(), next_in }
}

/// The first moment at which something of a cluster is past its deadline, or may begin once a pause is over.
fn earliest(cluster: &Cluster) -> Option<Timestamp> {
    let snapshots = || cluster.snapshots.values().map(|snapshot| &snapshot.facts);
    let open = snapshots().filter(|s| matches!(s.state, SnapshotState::Pending | SnapshotState::Recording));
    let begun = cluster.restores.values().filter(|r| matches!(r.state, RestoreState::Planned | RestoreState::Preparing));
    let facts = &cluster.facts;
    // While no slot is free, the end of those under way lets the next begin.
    let may_begin = facts.phase == ClusterPhase::Running
        && facts.min_pause_ms > 0
        && facts.max_concurrent as usize > snapshots().filter(|s| s.is_under_way()).count();
    let begin = snapshots().filter(|s| may_begin && s.state == SnapshotState::Pending).filter_map(|s| s.begins_at);
    open.map(|s| s.deadline_at)
        .chain(begun.map(|r| r.deadline_at))
        .chain(cluster.restores.values().filter_map(|r| r.retry_at))
        .chain(facts.rollback_at)
        .chain(begin)
        .min()
}
