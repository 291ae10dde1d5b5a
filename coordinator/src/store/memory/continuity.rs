//! Whether transactions may have been lost. A store in memory is on one server and timeline until it is told to act as if it were on another.

use stillframe_api::snapshot::SnapshotState;
use stillframe_protocol::{ClusterName, SnapshotId};

use super::state::{Cluster, State};

impl State {
    /// Whether a cluster's last transactions may be missing.
    fn has_moved(&self, cluster: &Cluster) -> bool {
        let home = cluster.continuity.as_ref().and_then(|continuity| continuity.home.as_ref());
        home.is_some_and(|home| *home != self.identity)
    }

    /// Why the catalog may know less than the archive, as far as it is known of a cluster.
    pub(super) fn why_behind(&self, cluster: &Cluster) -> Option<String> {
        let known = cluster.continuity.as_ref().and_then(|continuity| continuity.behind.clone());
        let moved = || format!("the database server of cluster {} is another than before", cluster.facts.name);
        known.or_else(|| self.has_moved(cluster).then(moved))
    }

    pub(super) fn behind(&self) -> Vec<ClusterName> {
        let behind = self.clusters.values().filter(|cluster| self.why_behind(cluster).is_some());
        behind.map(|cluster| cluster.facts.name.clone()).collect()
    }

    pub(super) fn snapshot_states(&self, cluster: &ClusterName) -> Vec<(SnapshotId, SnapshotState)> {
        let snapshots = self.clusters.get(cluster).map(|cluster| cluster.snapshots.values());
        snapshots.into_iter().flatten().map(|snapshot| (snapshot.facts.id, snapshot.facts.state)).collect()
    }
}
