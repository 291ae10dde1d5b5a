//! Transitions that were decided on remembered facts: carried out only if those are still the facts.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::state::{State, StoredPart};
use crate::{
    decide::{Decision, Facts, part},
    store::{
        Outcome, PartRow, StoreError,
        difference::{self, is_only_about_snapshots},
    },
};

impl State {
    /// Says whether it was carried out.
    pub(super) fn transact_remembered(
        &mut self,
        before: &Facts,
        decision: &Decision,
        parts: &[PartRow],
        request_id: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if !is_only_about_snapshots(before, &decision.next) || !self.are_still(before) || !self.fit(before, decision, parts) {
            return Ok(false);
        }
        let made = difference::snapshots(before, &decision.next).0;
        for row in parts {
            let id = row.report.snapshot;
            if !self.owners.contains_key(&id) && !made.iter().any(|made| made.id == id) {
                return Err(StoreError::Fault { reason: format!("the snapshot {id} of a part doesn't exist") });
            }
        }
        self.write(before, &Outcome::from(decision.clone()), false, request_id, now)?;
        for row in parts {
            if let Some(snapshot) = self.snapshot_mut(row.report.snapshot) {
                let stored = StoredPart { part: row.part(), bytes: part::bytes(&row.report), reported_at: now };
                snapshot.parts.insert(row.member.clone(), stored);
            }
        }
        Ok(true)
    }

    /// Whether nobody has decided anything since, here or on a server whose transactions may be lost.
    fn are_still(&self, before: &Facts) -> bool {
        self.clusters.get(&before.cluster.name).is_some_and(|cluster| {
            let is_same = (cluster.facts.version, cluster.facts.stamp) == (before.cluster.version, before.cluster.stamp);
            let home = cluster.continuity.as_ref().and_then(|continuity| continuity.home.as_ref());
            is_same && home == Some(&self.identity)
        })
    }

    /// Whether every snapshot that changes is as it is remembered, and every part new.
    fn fit(&self, before: &Facts, decision: &Decision, parts: &[PartRow]) -> bool {
        let as_remembered =
            |was: &crate::decide::facts::SnapshotFacts| self.snapshot(was.id).is_some_and(|(_, s)| s.facts.state == was.state);
        let keys: BTreeSet<_> = parts.iter().map(|row| (row.report.snapshot, &row.member)).collect();
        let is_new = |row: &PartRow| self.snapshot(row.report.snapshot).is_none_or(|(_, s)| !s.parts.contains_key(&row.member));
        let (_, changed) = difference::snapshots(before, &decision.next);
        changed.iter().all(|(was, _)| as_remembered(was)) && keys.len() == parts.len() && parts.iter().all(is_new)
    }
}
