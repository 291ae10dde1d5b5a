//! Comparing what is with what the coordinator wants, and acting on the difference. Seeing the same assignment again changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use stillframe_coordinator::decide::assignment::Wanted;
use stillframe_protocol::{Epoch, Generation, Identity, RestoreId};

use super::{Preparation, Process, Recording, Stage};
use crate::{
    Checked,
    event::Event,
    plan::MS,
    words::{Assignment, Open, Report},
    world::World,
};

impl World {
    /// Acts on an assignment. False if the process has to end.
    pub(super) fn follow(&mut self, number: u64, process: &mut Process, assignment: &Assignment) -> Result<bool, String> {
        process.peers = assignment.peers.iter().map(|peer| (peer.member, *peer)).collect();
        process.left = assignment.left.iter().copied().collect();
        (process.leave_stage, process.sent_to) = (assignment.stage.clone(), assignment.sent_to.clone());
        match &assignment.wanted {
            Wanted::Wait { .. } => {
                process.holds = true;
                return Ok(true);
            }
            Wanted::End => {
                self.note(format_args!("p{}#{number} has left", process.slot));
                return Ok(false);
            }
            Wanted::Leave { why } => {
                self.note(format_args!("p{}#{number} leaves: {why}", process.slot));
                return Ok(false);
            }
            Wanted::Prepare { restore, snapshot, generation, in_force, part, attempt } => {
                process.keep(*in_force);
                self.prepare(number, process, (*restore, *generation, *attempt), (*snapshot, part.clone()));
                return Ok(true);
            }
            Wanted::Run { generation, epoch, restore } => match self.run_in(number, process, *generation, *epoch, *restore)? {
                Some(true) => {}
                Some(false) => return Ok(true),
                None => return Ok(false),
            },
        }
        // Cut first: what is done because of a member that came or left is behind the cuts of snapshots that began before.
        self.follow_snapshots(number, process, assignment)?;
        self.part_with_the_left(number, process)?;
        self.connect(number, process)?;
        self.go_on(number, process)?;
        self.look_after_leaving(number, process)?;
        Ok(true)
    }

    /// Sees to it that the member runs in this generation: whether it does, and nothing if it has to start again.
    fn run_in(
        &mut self,
        number: u64,
        process: &mut Process,
        generation: Generation,
        epoch: Epoch,
        restore: Option<RestoreId>,
    ) -> Result<Option<bool>, String> {
        let Some((member, incarnation)) = process.registered else { return Ok(Some(false)) };
        let current = process.live.as_ref().map(|live| live.participant.identity().generation);
        if current == Some(generation) {
            (process.preparation, process.in_force) = (None, None);
            process.holds = self.now >= process.lease_until;
            return Ok(Some(!process.holds));
        }
        let identity = Identity { member, incarnation, generation };
        match (restore, current) {
            (None, None) => self.start_fresh(number, process, identity, epoch)?,
            (None, Some(_)) => return Ok(None),
            (Some(restore), _) => {
                let fits = |at: &mut Preparation| at.restore == restore && at.generation == generation && at.loaded.is_some();
                let prepared = process.preparation.take_if(fits).or_else(|| process.in_force.take_if(fits));
                let Some(Preparation { loaded: Some(part), .. }) = prepared else {
                    self.note(format_args!("p{}#{number} has no part to run from in generation {generation}", process.slot));
                    return Ok(None);
                };
                self.resume(number, process, identity, epoch, part)?;
            }
        }
        Ok(Some(true))
    }

    /// Begins, names and drops snapshots as the assignment lists them.
    fn follow_snapshots(&mut self, number: u64, process: &mut Process, assignment: &Assignment) -> Checked {
        let Some(live) = &mut process.live else { return Ok(()) };
        let generation = live.participant.identity().generation;
        let mine = |open: &&Open| open.in_view && open.generation == generation;
        let listed: BTreeMap<Epoch, Open> = assignment.open.iter().filter(mine).map(|open| (open.epoch, *open)).collect();
        let ended: BTreeSet<Epoch> = live
            .recordings
            .range(..=assignment.epoch)
            .map(|(epoch, _)| *epoch)
            .filter(|epoch| !listed.contains_key(epoch))
            .collect();
        live.begun.retain(|epoch, _| listed.contains_key(epoch));
        for epoch in ended {
            live.recordings.remove(&epoch);
            live.participant.abort(epoch);
        }
        // Epochs that ended before this member heard of them are passed without recording them.
        for epoch in (live.participant.epoch().0 + 1..=assignment.epoch.0).map(Epoch) {
            if !listed.contains_key(&epoch) {
                live.participant.abort(epoch);
            }
        }
        for (epoch, open) in listed {
            let Some(live) = &mut process.live else { return Ok(()) };
            if epoch > live.participant.epoch() {
                let is_new = live.begun.insert(epoch, open.snapshot).is_none();
                live.participant.begin(epoch);
                self.settle(number, process)?;
                let waits = process.live.as_ref().is_some_and(|live| live.begun.contains_key(&epoch));
                if is_new && waits {
                    self.align_for_a_while(number, generation, epoch);
                }
            } else {
                let stage = || Stage::Failed(format!("epoch {epoch} was passed already"));
                live.recordings.entry(epoch).or_insert_with(|| Recording { snapshot: None, stage: stage() });
            }
            if let Some(recording) = process.live.as_mut().and_then(|live| live.recordings.get_mut(&epoch)) {
                recording.snapshot = Some(open.snapshot);
            }
            self.advance(number, process, epoch);
        }
        self.settle(number, process)
    }

    /// Hands on what is ready to go and has a name.
    pub(super) fn advance(&mut self, number: u64, process: &mut Process, epoch: Epoch) {
        let Some(live) = &mut process.live else { return };
        let generation = live.participant.identity().generation;
        let Some(recording) = live.recordings.get_mut(&epoch) else { return };
        let Some(snapshot) = recording.snapshot else { return };
        match std::mem::replace(&mut recording.stage, Stage::Done) {
            Stage::Sealed(mut part) => {
                part.snapshot = snapshot;
                let delay = self.rng.u64(MS..=60 * MS) * process.slowness;
                self.after(delay, Event::Uploaded { process: number, generation, part });
            }
            Stage::Failed(why) => {
                let report = process.report(Report::Failed { snapshot, why });
                self.send_report(number, process, report);
            }
            other @ (Stage::Recording(_) | Stage::Done) => recording.stage = other,
        }
    }

    /// A part is in the archive: that is reported.
    pub(crate) fn uploaded(
        &mut self,
        number: u64,
        process: &mut Process,
        generation: Generation,
        part: Box<crate::words::PartReport>,
    ) {
        let Some(live) = process.live.as_ref().filter(|live| live.participant.identity().generation == generation) else {
            return;
        };
        if !live.recordings.contains_key(&part.epoch) {
            return;
        }
        if self.archive.away_until > self.now {
            // It is tried again for as long as the snapshot is open.
            self.after(100 * MS, Event::Uploaded { process: number, generation, part });
            return;
        }
        let report = if !self.healed && self.rng.u8(..) < 3 {
            self.stats.fault("part refused by the archive");
            Report::Failed { snapshot: part.snapshot, why: "the archive refuses it".to_owned() }
        } else {
            Report::Part(part)
        };
        let report = process.report(report);
        self.send_report(number, process, report);
    }
}
