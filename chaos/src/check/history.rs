//! What is known of every snapshot, and what it may become.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_api::{
    Client,
    snapshot::{AbortReason, ListSnapshots, Snapshot, SnapshotState},
};
use stillframe_protocol::{ClusterName, Epoch, Generation, SnapshotId};

/// What was seen of one snapshot last.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Where it is in its life.
    pub state: SnapshotState,
    /// Its epoch.
    pub epoch: Option<Epoch>,
    /// Why it was aborted.
    pub abort: Option<AbortReason>,
    /// When it was committed or aborted, in milliseconds since 1970.
    pub ended_at_ms: Option<i64>,
    /// The digest of its manifest, once it was verified.
    pub manifest: Option<blake3::Hash>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct History {
    /// By snapshot.
    pub snapshots: BTreeMap<SnapshotId, Seen>,
    /// The newest generation.
    pub generation: Generation,
    /// What mustn't be.
    pub violations: Vec<String>,
}

impl History {
    /// Looks at every snapshot of the cluster.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn update(&mut self, client: &Client, cluster: &ClusterName) -> Result<(), String> {
        let mut query = ListSnapshots { limit: Some(500), ..ListSnapshots::default() };
        let mut listed = BTreeSet::new();
        // Those that come while the pages are read aren't looked at, and those that were there must be in a page.
        let known: Vec<SnapshotId> = self.snapshots.keys().copied().collect();
        loop {
            let page = client
                .list_snapshots(cluster, &query)
                .await
                .map_err(|error| format!("the snapshots can't be listed: {error}"))?;
            for snapshot in page.items {
                if !listed.insert(snapshot.id) {
                    self.violations.push(format!("snapshot {} is listed twice", snapshot.id));
                }
                self.see(&snapshot);
            }
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        for id in known.iter().filter(|id| !listed.contains(*id)) {
            self.violations.push(format!("snapshot {id} isn't listed any more"));
        }
        self.epochs_are_unique();
        let now = client.cluster(cluster).await.map_err(|error| format!("the cluster can't be shown: {error}"))?;
        if now.generation < self.generation {
            self.violations.push(format!("the generation went from {} back to {}", self.generation, now.generation));
        }
        self.generation = now.generation;
        Ok(())
    }

    fn see(&mut self, now: &Snapshot) {
        let abort = now.abort.as_ref().map(|abort| abort.reason);
        match abort {
            // Nothing that is broken here may make the counters wrong, an application fail or a channel of TCP lose its order.
            Some(AbortReason::CertificateRejected | AbortReason::FifoViolation | AbortReason::SpoolOverflow) => {
                self.once(format!("snapshot {}: {:?}", now.id, now.abort));
            }
            Some(
                AbortReason::DeadlineExceeded
                | AbortReason::MemberLost
                | AbortReason::MemberFailed
                | AbortReason::MembershipChanged
                | AbortReason::SupersededByRestore
                | AbortReason::Requested
                | AbortReason::StoreUnavailable,
            )
            | None => {}
        }
        let ended_at_ms = now.ended_at.map(|ended| ended.as_millisecond());
        let seen = Seen { state: now.state, epoch: now.epoch, abort, ended_at_ms, manifest: None };
        let Some(before) = self.snapshots.get_mut(&now.id) else {
            self.snapshots.insert(now.id, seen);
            return;
        };
        let (was, had) = (before.state, before.epoch);
        *before = Seen { manifest: before.manifest, ..seen };
        if !may_become(was, now.state) {
            self.violations.push(format!("snapshot {} went from {was} to {}", now.id, now.state));
        }
        if had.is_some() && had != now.epoch {
            self.violations.push(format!("snapshot {} went from epoch {had:?} to {:?}", now.id, now.epoch));
        }
    }

    fn once(&mut self, violation: String) {
        if !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    fn epochs_are_unique(&mut self) {
        let mut of: BTreeMap<Epoch, SnapshotId> = BTreeMap::new();
        let mut twice = Vec::new();
        for (id, seen) in &self.snapshots {
            if let Some(epoch) = seen.epoch
                && let Some(other) = of.insert(epoch, *id)
            {
                twice.push(format!("snapshots {other} and {id} both have epoch {epoch}"));
            }
        }
        self.violations.extend(twice);
    }

    /// The snapshots that hadn't ended when they were seen last.
    #[must_use]
    pub fn open(&self) -> Vec<SnapshotId> {
        self.snapshots.iter().filter(|(_, seen)| !seen.state.has_ended()).map(|(id, _)| *id).collect()
    }

    /// How many ended in each state, aborted ones by their reason.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for seen in self.snapshots.values() {
            let name = match seen.abort {
                Some(reason) => format!("{}, {reason}", seen.state),
                None => seen.state.to_string(),
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}

/// Whether a snapshot may go from one state to another, in one step or several.
fn may_become(from: SnapshotState, to: SnapshotState) -> bool {
    use SnapshotState::{Aborted, Committed, Committing, Deleted, Deleting, Pending, Recording};
    match from {
        Pending => true,
        Recording => to != Pending,
        Committing => matches!(to, Committing | Committed | Deleting | Deleted),
        Committed => matches!(to, Committed | Deleting | Deleted),
        Aborted => matches!(to, Aborted | Deleting | Deleted),
        Deleting => matches!(to, Deleting | Deleted),
        Deleted => to == Deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_and_aborted_exclude_each_other_for_ever() {
        assert!(!may_become(SnapshotState::Committed, SnapshotState::Aborted));
        assert!(!may_become(SnapshotState::Aborted, SnapshotState::Committed));
        assert!(!may_become(SnapshotState::Committing, SnapshotState::Aborted));
        assert!(may_become(SnapshotState::Recording, SnapshotState::Aborted));
    }
}
