//! Knowing when all parts of a snapshot are there. Where they were all reported to this replica, it has seen them all being stored, and needn't
//! ask; else the store is asked, a little after the last report.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use stillframe_api::snapshot::SnapshotState;
use stillframe_archive::Part;
use stillframe_protocol::{ClusterName, Incarnation, MemberName, SnapshotId};

use super::{
    Service,
    commit::{MANY_PARTS, verify},
    lock,
};
use crate::{
    decide::{Facts, leave},
    store::{CompleteSnapshot, PartRow},
};

/// How long after a report that doesn't seem to be the last the store is asked.
const ASK_AFTER: Duration = Duration::from_millis(5);

/// The cluster of a snapshot, and the parts that are there.
type Gathered = (ClusterName, BTreeMap<MemberName, Part>);

/// What this replica has seen being stored.
#[derive(Debug, Default)]
pub struct Gathering {
    parts: Mutex<HashMap<SnapshotId, Gathered>>,
    /// The snapshots about which the store is to be asked.
    to_ask: Mutex<BTreeSet<SnapshotId>>,
}

impl Service {
    /// Notes parts that were stored just now, exactly as they are given, and commits what is complete by that.
    pub(crate) fn gather(self: &Arc<Self>, rows: Vec<PartRow>) {
        let mut snapshots: BTreeMap<SnapshotId, ClusterName> = BTreeMap::new();
        {
            let mut gathered = lock(&self.gathering.parts);
            for row in rows {
                let (id, part) = (row.report.snapshot, row.part());
                let (_, parts) = gathered.entry(id).or_insert_with(|| (row.cluster.clone(), BTreeMap::new()));
                parts.insert(row.member, part);
                snapshots.insert(id, row.cluster);
            }
        }
        let mut rest = BTreeSet::new();
        for (id, cluster) in snapshots {
            match self.complete_with(&cluster, id, &BTreeMap::new()) {
                Some(complete) if self.certifies_itself(&complete) => {
                    self.forget_gathered(id);
                    self.commit_soon(complete);
                }
                Some(_) | None => drop(rest.insert(id)),
            }
        }
        lock(&self.gathering.parts).retain(|id, (cluster, _)| self.is_recording(cluster, *id));
        self.ask_soon(rest);
    }

    /// Forgets what was gathered for a snapshot.
    pub(crate) fn forget_gathered(&self, id: SnapshotId) {
        lock(&self.gathering.parts).remove(&id);
    }

    /// Whether every snapshot that these parts are of would be complete with them, as far as is known here.
    pub(crate) fn completes_all<'a>(&self, rows: impl Iterator<Item = &'a PartRow> + Clone) -> bool {
        if !self.may_complete_all(rows.clone()) {
            return false;
        }
        let mut snapshots: BTreeMap<SnapshotId, (&ClusterName, HashSet<&MemberName>)> = BTreeMap::new();
        for row in rows {
            let (_, members) = snapshots.entry(row.report.snapshot).or_insert_with(|| (&row.cluster, HashSet::new()));
            members.insert(&row.member);
        }
        let gathered = lock(&self.gathering.parts);
        snapshots.into_iter().all(|(id, (cluster, members))| {
            let known = gathered.get(&id).map(|(_, parts)| parts);
            let there = |member: &MemberName| members.contains(member) || known.is_some_and(|parts| parts.contains_key(member));
            let complete = |facts: &Facts| facts.snapshot(id).is_some_and(|s| s.view.keys().all(there));
            self.hub.channel(cluster).peek(complete).unwrap_or(false)
        })
    }

    /// Whether they are enough in number.
    fn may_complete_all<'a>(&self, rows: impl Iterator<Item = &'a PartRow>) -> bool {
        let mut counts: BTreeMap<SnapshotId, (&ClusterName, usize)> = BTreeMap::new();
        rows.for_each(|row| counts.entry(row.report.snapshot).or_insert((&row.cluster, 0)).1 += 1);
        let gathered = lock(&self.gathering.parts);
        counts.into_iter().all(|(id, (cluster, count))| {
            let count = count + gathered.get(&id).map_or(0, |(_, parts)| parts.len());
            self.hub.channel(cluster).peek(|facts| is_enough(facts, id, count)).unwrap_or(false)
        })
    }

    /// Whether a part is one that its snapshot waits for, as far as is known here.
    fn is_wanted(&self, row: &PartRow) -> bool {
        let report = &row.report;
        let wanted = |facts: &Facts| {
            facts.snapshot(report.snapshot).is_some_and(|s| {
                s.state == SnapshotState::Recording
                    && (s.epoch, s.generation) == (Some(report.epoch), report.generation)
                    && s.view.get(&row.member) == Some(&row.incarnation)
            })
        };
        self.hub.channel(&row.cluster).peek(wanted).unwrap_or(false)
    }

    /// Takes out of the parts those that are the last of a snapshot, as far as is known here: each member's once, none that is stored already.
    pub(crate) fn take_last(&self, rows: &mut Vec<PartRow>) -> Vec<(CompleteSnapshot, Vec<PartRow>)> {
        let mut snapshots: BTreeMap<SnapshotId, BTreeMap<MemberName, PartRow>> = BTreeMap::new();
        let mut others = Vec::new();
        for row in rows.drain(..) {
            let parts = snapshots.entry(row.report.snapshot).or_default();
            if self.is_wanted(&row) && !parts.contains_key(&row.member) && !self.is_gathered(&row) {
                parts.insert(row.member.clone(), row);
            } else {
                others.push(row);
            }
        }
        let mut last = Vec::new();
        for (id, parts) in snapshots {
            let complete =
                parts.values().next().map(|row| row.cluster.clone()).and_then(|cluster| self.complete_with(&cluster, id, &parts));
            match complete {
                Some(complete) => last.push((complete, parts.into_values().collect())),
                None => others.extend(parts.into_values()),
            }
        }
        *rows = others;
        last
    }

    fn is_gathered(&self, row: &PartRow) -> bool {
        lock(&self.gathering.parts).get(&row.report.snapshot).is_some_and(|(_, parts)| parts.contains_key(&row.member))
    }

    /// The snapshot, if it is complete with these parts and those gathered before.
    fn complete_with(
        &self,
        cluster: &ClusterName,
        id: SnapshotId,
        rows: &BTreeMap<MemberName, PartRow>,
    ) -> Option<CompleteSnapshot> {
        let gathered = lock(&self.gathering.parts);
        let known = gathered.get(&id).map(|(_, parts)| parts);
        let count = rows.len() + known.map_or(0, BTreeMap::len);
        let there = |member: &MemberName| {
            let known = known.and_then(|parts| parts.get(member)).cloned();
            known.or_else(|| rows.get(member).map(PartRow::part))
        };
        // Counted before anything is copied: most looks come too early.
        let assemble = |facts: &Facts| is_enough(facts, id, count).then(|| assemble(facts, id, there)).flatten();
        self.hub.channel(cluster).peek(assemble).flatten()
    }

    /// Whether its certificate needs nothing but its parts. Where somebody has left its generation, it may need what only the store knows.
    fn certifies_itself(&self, complete: &CompleteSnapshot) -> bool {
        let somebody_left = |facts: &Facts| leave::somebody_left(facts, complete.generation);
        let none = !self.hub.channel(&complete.cluster).peek(somebody_left).unwrap_or(true);
        none || (complete.parts.len() < MANY_PARTS && verify(complete).is_ok())
    }

    /// Whether a snapshot is being recorded, or may be, as far as is known here.
    fn is_recording(&self, cluster: &ClusterName, id: SnapshotId) -> bool {
        let recording = |facts: &Facts| facts.snapshot(id).is_some_and(|s| s.state == SnapshotState::Recording);
        self.hub.channel(cluster).peek(recording).unwrap_or(false)
    }

    /// Asks the store before long whether the snapshots have all their parts: they may have been reported to several replicas. Should that
    /// fail, the commit loop finds them.
    pub(crate) fn ask_soon(self: &Arc<Self>, snapshots: BTreeSet<SnapshotId>) {
        if snapshots.is_empty() {
            return;
        }
        {
            let mut to_ask = lock(&self.gathering.to_ask);
            let asked_already = !to_ask.is_empty();
            to_ask.extend(snapshots);
            if asked_already {
                return;
            }
        }
        let service = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ASK_AFTER).await;
            let snapshots = std::mem::take(&mut *lock(&service.gathering.to_ask)).into_iter().collect();
            let snapshots = service.without_committing(snapshots);
            if snapshots.is_empty() {
                return;
            }
            match service.store.complete_snapshots(&snapshots).await {
                Ok(complete) => complete.into_iter().for_each(|snapshot| service.commit_soon(snapshot)),
                Err(error) => tracing::debug!(%error, "could not look for complete snapshots"),
            }
        });
    }
}

/// Whether so many parts may be all of a snapshot.
fn is_enough(facts: &Facts, id: SnapshotId, parts: usize) -> bool {
    facts.snapshot(id).is_some_and(|snapshot| snapshot.view.len() <= parts)
}

/// The snapshot with its parts, if they are all there.
fn assemble(facts: &Facts, id: SnapshotId, there: impl Fn(&MemberName) -> Option<Part>) -> Option<CompleteSnapshot> {
    let snapshot = facts.snapshot(id).filter(|snapshot| snapshot.state == SnapshotState::Recording)?;
    let part =
        |(member, incarnation): (&MemberName, &Incarnation)| there(member).filter(|part: &Part| part.incarnation == *incarnation);
    let parts: Vec<Part> = snapshot.view.iter().map(part).collect::<Option<_>>()?;
    Some(CompleteSnapshot {
        id,
        cluster: facts.cluster.name.clone(),
        archive_prefix: facts.cluster.archive_prefix.clone(),
        epoch: snapshot.epoch?,
        generation: snapshot.generation,
        committing: false,
        recording_at: snapshot.recording_at?,
        labels: snapshot.labels.clone(),
        view: snapshot.view.clone(),
        parts,
        departed: Vec::new(),
    })
}
