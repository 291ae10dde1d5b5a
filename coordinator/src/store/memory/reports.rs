//! Reports: parts, and words on what is waited for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stillframe_api::snapshot::SnapshotState;
use stillframe_archive::Part;
use stillframe_protocol::{ClusterName, Departed, Incarnation, MemberName, SnapshotId};

use super::state::{Cluster, Snapshot, State, StoredPart};
use crate::{
    decide::{
        facts::{DepartureFacts, ProgressFacts},
        part,
    },
    store::{CompleteSnapshot, PartRow, ProgressRow, Taken},
};

impl State {
    /// A snapshot that is being recorded and waits for this incarnation of a member.
    pub(super) fn wanting(
        &mut self,
        cluster: &ClusterName,
        snapshot: SnapshotId,
        member: &MemberName,
        incarnation: Incarnation,
    ) -> Option<&mut Snapshot> {
        let owner = self.owners.get(&snapshot).filter(|owner| *owner == cluster)?;
        self.clusters.get_mut(owner)?.snapshots.get_mut(&snapshot).filter(|snapshot| {
            snapshot.facts.state == SnapshotState::Recording && snapshot.facts.view.get(member) == Some(&incarnation)
        })
    }

    pub(super) fn insert_parts(&mut self, rows: &[PartRow], now: Timestamp) -> Taken {
        let mut inserted = Vec::new();
        for row in rows {
            let report = &row.report;
            let wanting = self.wanting(&row.cluster, report.snapshot, &row.member, row.incarnation);
            let of_it = |s: &&mut Snapshot| s.facts.epoch == Some(report.epoch) && s.facts.generation == report.generation;
            if let Some(snapshot) = wanting.filter(of_it)
                && !snapshot.parts.contains_key(&row.member)
            {
                let stored = StoredPart { part: row.part(), bytes: part::bytes(report), reported_at: now };
                snapshot.parts.insert(row.member.clone(), stored);
                inserted.push((report.snapshot, row.member.clone()));
            }
        }
        if inserted.len() == rows.len() {
            return Taken { there: inserted, all_new: true };
        }
        let there = rows.iter().filter(|row| self.is_there(row)).map(|row| (row.report.snapshot, row.member.clone()));
        Taken { there: there.collect(), all_new: false }
    }

    /// Whether a part is there, whoever inserted it.
    fn is_there(&self, row: &PartRow) -> bool {
        self.snapshot(row.report.snapshot).is_some_and(|(cluster, snapshot)| {
            let counts =
                matches!(snapshot.facts.state, SnapshotState::Recording | SnapshotState::Committing | SnapshotState::Committed);
            let part = snapshot.parts.get(&row.member);
            counts && cluster.facts.name == row.cluster && part.is_some_and(|part| part.part.incarnation == row.incarnation)
        })
    }

    pub(super) fn put_progress(&mut self, rows: Vec<ProgressRow>, now: Timestamp) {
        for row in rows {
            if let Some(snapshot) = self.wanting(&row.cluster, row.snapshot, &row.member, row.incarnation) {
                snapshot.progress.insert(row.member, ProgressFacts { missing: row.missing, at: now });
            }
        }
    }

    pub(super) fn complete_snapshots(&self, ids: &[SnapshotId]) -> Vec<CompleteSnapshot> {
        let ids: BTreeSet<&SnapshotId> = ids.iter().collect();
        let known = ids.into_iter().filter_map(|id| self.snapshot(*id));
        known.filter(|(_, snapshot)| is_to_be_driven(snapshot) && snapshot.is_complete()).filter_map(complete).collect()
    }

    pub(super) fn unfinished(&self, after: Option<SnapshotId>, limit: usize) -> Vec<SnapshotId> {
        let unfinished = |snapshot: &Snapshot| match snapshot.facts.state {
            SnapshotState::Committing => true,
            _ => is_to_be_driven(snapshot) && snapshot.is_complete(),
        };
        let unfinished = self.snapshots().map(|(_, snapshot)| snapshot).filter(|snapshot| unfinished(snapshot));
        let behind: BTreeSet<SnapshotId> = unfinished.map(|snapshot| snapshot.facts.id).filter(|id| Some(*id) > after).collect();
        behind.into_iter().take(limit).collect()
    }

    pub(super) fn parts(&self, id: SnapshotId) -> Vec<Part> {
        self.snapshot(id).map(|(_, snapshot)| parts(snapshot)).unwrap_or_default()
    }
}

fn is_to_be_driven(snapshot: &Snapshot) -> bool {
    matches!(snapshot.facts.state, SnapshotState::Recording | SnapshotState::Committing)
}

fn parts(snapshot: &Snapshot) -> Vec<Part> {
    snapshot.parts.values().map(|stored| stored.part.clone()).collect()
}

fn complete((cluster, snapshot): (&Cluster, &Snapshot)) -> Option<CompleteSnapshot> {
    let facts = &snapshot.facts;
    let recording_at = facts.recording_at?;
    let of_before = |gone: &&DepartureFacts| {
        let Departed { member, .. } = &gone.counters;
        gone.generation == facts.generation && gone.left_at <= recording_at && !facts.view.contains_key(member)
    };
    // By name and then by incarnation, so that of each name the newest stays.
    let departed =
        cluster.departures.values().filter(of_before).map(|gone| (gone.counters.member.clone(), gone.counters.clone()));
    let departed: BTreeMap<MemberName, Departed> = departed.collect();
    let complete = CompleteSnapshot {
        id: facts.id,
        cluster: cluster.facts.name.clone(),
        archive_prefix: cluster.facts.archive_prefix.clone(),
        epoch: facts.epoch?,
        generation: facts.generation,
        committing: facts.state == SnapshotState::Committing,
        recording_at,
        labels: facts.labels.clone(),
        view: facts.view.clone(),
        parts: parts(snapshot),
        departed: departed.into_values().collect(),
    };
    Some(complete.with_needed())
}
