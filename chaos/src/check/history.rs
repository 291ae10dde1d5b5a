//! What is known of every snapshot, and what it may become.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_api::{
    Client,
    snapshot::{AbortReason, ListSnapshots, Snapshot, SnapshotState},
};
use stillframe_protocol::{ClusterName, Epoch, Generation, SnapshotId};

use crate::workload::ASKED_AS;

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
    /// Those that were lost with their database and that no manifest proves.
    pub forgotten: BTreeMap<SnapshotId, Seen>,
    /// The snapshot that each request took.
    asked: BTreeMap<String, SnapshotId>,
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
        if let Some(label) = now.labels.get(ASKED_AS)
            && let Some(other) = self.asked.insert(label.clone(), now.id)
            && other != now.id
        {
            self.once(format!("one request has taken two snapshots, {other} and {}", now.id));
        }
        let abort = now.abort.as_ref().map(|abort| abort.reason);
        match abort {
            // Nothing that is broken here may make the counters wrong, an application fail or a channel of TCP lose its order.
            Some(
                AbortReason::CertificateRejected
                | AbortReason::FifoViolation
                | AbortReason::SpoolOverflow
                | AbortReason::AlignmentCycle,
            ) => {
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

    /// The database was lost, and rebuilt from the bucket: what it knows is looked at afresh. `proved` are the snapshots whose manifests are in
    /// the bucket: each of them that had been committed must be known again.
    ///
    /// # Errors
    /// When the snapshots can't be listed.
    pub async fn rebuilt(&mut self, client: &Client, cluster: &ClusterName, proved: &BTreeSet<SnapshotId>) -> Result<(), String> {
        let before = std::mem::take(&mut self.snapshots);
        // Up to its first restore, a rebuilt cluster is in the generation of its newest snapshot.
        self.generation = Generation::default();
        self.update(client, cluster).await?;
        self.compare(before, proved);
        Ok(())
    }

    fn compare(&mut self, before: BTreeMap<SnapshotId, Seen>, proved: &BTreeSet<SnapshotId>) {
        for (id, was) in before {
            match self.snapshots.get_mut(&id) {
                Some(now) => {
                    now.manifest = was.manifest;
                    if matches!(was.state, SnapshotState::Aborted | SnapshotState::Deleted) {
                        self.violations
                            .push(format!("snapshot {id} was {} and is {} in the rebuilt database", was.state, now.state));
                    } else if was.epoch.is_some() && was.epoch != now.epoch {
                        self.violations
                            .push(format!("snapshot {id} had {:?} and has {:?} in the rebuilt database", was.epoch, now.epoch));
                    }
                }
                None => {
                    if was.state == SnapshotState::Committed && proved.contains(&id) {
                        self.violations.push(format!("committed snapshot {id} is in the bucket and not in the rebuilt database"));
                    }
                    self.forgotten.insert(id, was);
                }
            }
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
        for seen in self.snapshots.values().chain(self.forgotten.values()) {
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
    use serde_json::json;

    use super::*;

    fn id(number: u8) -> SnapshotId {
        format!("00000000-0000-7000-8000-0000000000{number:02x}").parse().expect("an id")
    }

    fn snapshot(number: u8, state: &str, epoch: u64, more: serde_json::Value) -> Snapshot {
        let mut snapshot = json!({
            "id": id(number), "cluster": "bank", "epoch": epoch, "generation": 0, "state": state, "abort": null,
            "trigger": { "kind": "request" }, "labels": {}, "created_at": "2026-01-01T00:00:00Z", "recording_at": null, "committing_at": null,
            "ended_at": null, "timeout": "10s", "deadline_at": "2026-01-01T00:00:10Z", "position": null, "waits_for": null,
            "archive_error": null, "bytes": 0, "messages_in_flight": null, "members": []
        });
        let (Some(all), serde_json::Value::Object(more)) = (snapshot.as_object_mut(), more) else { panic!("objects") };
        all.extend(more);
        serde_json::from_value(snapshot).expect("a snapshot")
    }

    fn found(snapshots: &[Snapshot]) -> Vec<String> {
        let mut history = History::default();
        for snapshot in snapshots {
            history.see(snapshot);
        }
        history.epochs_are_unique();
        history.violations
    }

    #[test]
    fn committed_and_aborted_exclude_each_other_for_ever() {
        assert!(!may_become(SnapshotState::Committed, SnapshotState::Aborted));
        assert!(!may_become(SnapshotState::Aborted, SnapshotState::Committed));
        assert!(!may_become(SnapshotState::Committing, SnapshotState::Aborted));
        assert!(may_become(SnapshotState::Recording, SnapshotState::Aborted));
        let none = || json!({});
        assert_eq!(found(&[snapshot(1, "recording", 1, none()), snapshot(1, "committed", 1, none())]).len(), 0);
        assert_eq!(found(&[snapshot(1, "aborted", 1, none()), snapshot(1, "committed", 1, none())]).len(), 1);
    }

    #[test]
    fn an_epoch_that_two_snapshots_have_or_that_changes_is_found() {
        assert_eq!(found(&[snapshot(1, "committed", 1, json!({})), snapshot(2, "committed", 1, json!({}))]).len(), 1);
        assert_eq!(found(&[snapshot(1, "committed", 1, json!({})), snapshot(1, "committed", 2, json!({}))]).len(), 1);
    }

    #[test]
    fn a_request_that_was_carried_out_twice_is_found() {
        let asked = |number, label: &str| snapshot(number, "committed", number.into(), json!({ "labels": { ASKED_AS: label } }));
        assert_eq!(found(&[asked(1, "a"), asked(2, "b"), asked(1, "a")]).len(), 0);
        assert_eq!(found(&[asked(1, "a"), asked(2, "a")]).len(), 1);
    }

    #[test]
    fn an_abort_for_a_reason_that_nothing_here_can_cause_is_found() {
        let abort = |reason: &str| json!({ "abort": { "reason": reason, "detail": "", "missing": [] } });
        assert_eq!(found(&[snapshot(1, "aborted", 1, abort("member_lost"))]).len(), 0);
        assert_eq!(found(&[snapshot(1, "aborted", 1, abort("certificate_rejected"))]).len(), 1);
    }

    #[test]
    fn a_rebuilt_database_that_lacks_what_the_bucket_proves_or_has_what_had_ended_is_found() {
        let seen = |state, epoch| Seen { state, epoch: Some(Epoch(epoch)), abort: None, ended_at_ms: None, manifest: None };
        let found = |was: SnapshotState, now: Option<u64>, proved: &[SnapshotId]| {
            let mut history = History::default();
            history.snapshots.extend(now.map(|epoch| (id(1), seen(SnapshotState::Committed, epoch))));
            history.compare(BTreeMap::from([(id(1), seen(was, 7))]), &proved.iter().copied().collect());
            history.violations.len()
        };
        assert_eq!(found(SnapshotState::Committed, Some(7), &[id(1)]), 0);
        assert_eq!(found(SnapshotState::Recording, Some(7), &[id(1)]), 0);
        assert_eq!(found(SnapshotState::Committed, None, &[]), 0, "deleted meanwhile");
        assert_eq!(found(SnapshotState::Committed, None, &[id(1)]), 1);
        assert_eq!(found(SnapshotState::Committed, Some(8), &[id(1)]), 1);
        assert_eq!(found(SnapshotState::Aborted, Some(7), &[id(1)]), 1);
    }
}
