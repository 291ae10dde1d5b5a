//! From parts to a committed snapshot.

use stillframe_api::snapshot::SnapshotState;
use stillframe_coordinator::decide::{Facts, snapshot::Verdict};
use stillframe_protocol::{Incarnation, MemberName, PartCounters, SnapshotId, ViewMember, certificate};

use super::command::Command;
use crate::{
    Checked,
    archive::StoredPart,
    event::Event,
    mutant::{BrokenCoordinator, Mutant},
    plan::MS,
    words::PartReport,
    world::World,
};

impl World {
    /// Takes a part while it is wanted, as the store does under its lock: no decision.
    pub(crate) fn take_part(&mut self, replica: usize, member: &MemberName, incarnation: Incarnation, part: PartReport) {
        let PartReport { snapshot, epoch, generation, counters, content } = part;
        let wanted = |s: &stillframe_coordinator::decide::facts::SnapshotFacts| {
            s.state == SnapshotState::Recording
                && (s.epoch, s.generation) == (Some(epoch), generation)
                && s.view.get(member) == Some(&incarnation)
        };
        if !self.database.facts().snapshot(snapshot).is_some_and(wanted) {
            self.note(format_args!("r{replica} the part of {member} of epoch {epoch} isn't wanted"));
            return;
        }
        let parts = self.archive.parts.entry(snapshot).or_default();
        // Said twice, the first counts.
        parts.entry(member.clone()).or_insert(StoredPart { counters, content });
        self.database.reported(snapshot, member);
        self.note(format_args!("r{replica} takes the part of {member} of epoch {epoch}"));
        if self.is_ready(snapshot) {
            let delay = self.rng.u64(0..=10 * MS);
            self.after(delay, Event::Certify { replica, snapshot });
        }
    }

    fn is_ready(&self, id: SnapshotId) -> bool {
        let Some(snapshot) = self.database.facts().snapshot(id).filter(|s| s.state == SnapshotState::Recording) else {
            return false;
        };
        let lax = self.mutant == Some(Mutant::Coordinator(BrokenCoordinator::CommitsIncomplete));
        snapshot.is_complete() || (lax && snapshot.reported.len() + 1 >= snapshot.view.len() && !snapshot.reported.is_empty())
    }

    /// Verifies the certificate of a snapshot whose parts are all there.
    pub(crate) fn certify(&mut self, replica: usize, id: SnapshotId) -> Checked {
        if !self.is_ready(id) {
            return Ok(());
        }
        let mut facts = self.database.read(self.now, None);
        let verdict = self.verdict(&facts, id);
        if let Some(Mutant::CommitsUnproved | Mutant::Coordinator(BrokenCoordinator::CommitsIncomplete)) = self.mutant {
            facts.know_complete(id);
            // The store's own idea of what is there, so that the rule goes on.
            let members: Vec<MemberName> = facts.snapshot(id).map(|s| s.view.keys().cloned().collect()).unwrap_or_default();
            members.iter().for_each(|member| self.database.reported(id, member));
            let nothing = certificate::verify(stillframe_protocol::Generation(0), &[], &[]);
            return self.execute(replica, Command::Certified { snapshot: id, verdict: nothing });
        }
        self.execute(replica, Command::Certified { snapshot: id, verdict })
    }

    /// What the product's verifier says of the parts that are stored.
    pub(crate) fn verdict(&self, facts: &Facts, id: SnapshotId) -> Verdict {
        let Some(snapshot) = facts.snapshot(id) else { return certificate::verify(Default::default(), &[], &[]) };
        let view: Vec<ViewMember> = snapshot
            .view
            .iter()
            .map(|(member, incarnation)| ViewMember { member: member.clone(), incarnation: *incarnation })
            .collect();
        let parts = self.archive.parts.get(&id).into_iter().flat_map(|parts| parts.values());
        let counters: Vec<PartCounters> = parts.map(|part| part.counters.clone()).collect();
        let departed = certificate::needed(&view, &counters, self.database.departed_before(snapshot));
        certificate::verify_with(snapshot.generation, &view, &counters, &departed)
    }

    /// Finds what is complete, or committing, whoever began it.
    pub(crate) fn look_for_complete(&mut self, replica: usize) {
        let open: Vec<(SnapshotId, SnapshotState)> = self.database.facts().snapshots.iter().map(|s| (s.id, s.state)).collect();
        for (snapshot, state) in open {
            let delay = self.rng.u64(0..=5 * MS);
            match state {
                SnapshotState::Recording if self.is_ready(snapshot) => self.after(delay, Event::Certify { replica, snapshot }),
                SnapshotState::Committing => self.after(delay, Event::Manifest { replica, snapshot }),
                SnapshotState::Recording
                | SnapshotState::Pending
                | SnapshotState::Committed
                | SnapshotState::Aborted
                | SnapshotState::Deleting
                | SnapshotState::Deleted => {}
            }
        }
    }

    /// Writes a manifest, and says so when it knows that it is there.
    pub(crate) fn put_manifest(&mut self, replica: usize, snapshot: SnapshotId) -> Checked {
        let committing = self.database.facts().snapshot(snapshot).is_some_and(|s| s.state == SnapshotState::Committing);
        if !committing {
            return Ok(());
        }
        if self.archive.away_until > self.now {
            return self.execute(replica, Command::HeldUp { snapshot, why: "the archive is away" });
        }
        self.archive.manifests.insert(snapshot);
        if !self.healed && self.rng.u8(..) < 30 {
            self.stats.fault("manifest written, answer lost");
            return Ok(());
        }
        self.execute(replica, Command::Committed { snapshot })
    }
}
