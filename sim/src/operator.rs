//! When the faults are over: putting right what is an operator's to put right, and finding out whether everything is well.

use stillframe_api::{cluster::ClusterPhase, snapshot::SnapshotState};
use stillframe_coordinator::decide::{
    facts::{HaltCause, MemberFacts},
    restore::Target,
};
use stillframe_protocol::{Epoch, SnapshotId};

use crate::{coordinator::command::Command, event::Event, plan::MS, world::World};

/// How often the operator looks.
const LOOK_EVERY: u64 = 150 * MS;

/// Within this time after the last fault the cluster has to run, take a snapshot, and fall silent.
const WELL_WITHIN: u64 = 30_000 * MS;

/// For so long after the last fault what it has done may come to light: leases run out, calls time out.
const AFTERMATH: u64 = 5_000 * MS;

/// How far the recovery is.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    healed_at: u64,
    /// The newest epoch at that time.
    epoch: Epoch,
    looks: u64,
    /// A snapshot that was taken afterwards.
    proof: Option<SnapshotId>,
    /// A snapshot that was taken when everything was silent.
    last: Option<SnapshotId>,
    /// The process that is being looked at.
    pub(crate) acting: Option<(u64, usize)>,
}

impl World {
    /// From now on nothing fails.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.network.heal();
        self.archive.away_until = 0;
        self.archive.unreadable.clear();
        self.processes.values_mut().for_each(|process| process.slowness = 1);
        (self.recovery.healed_at, self.recovery.epoch) = (self.now, self.database.facts().cluster.epoch);
        self.note(format_args!("healed"));
        self.after(LOOK_EVERY, Event::Operator);
    }

    /// Looks whether everything is well. False when it is over.
    pub(crate) fn operate(&mut self) -> Result<bool, String> {
        self.after(LOOK_EVERY, Event::Operator);
        self.recovery.looks += 1;
        self.check_overdue()?;
        if self.now > self.recovery.healed_at + WELL_WITHIN {
            return Err(self.why_not_well());
        }
        for slot in 0..self.plan.members {
            let belongs = slot < self.plan.initial || self.slots_by_id.values().any(|known| *known == slot);
            if belongs && self.current[slot].is_none() {
                self.start_soon(slot, 50 * MS);
            }
        }
        let cluster = &self.database.facts().cluster;
        let (phase, halt, latest) = (cluster.phase, cluster.halt, cluster.latest_committed);
        match phase {
            ClusterPhase::Halted => self.put_right(halt, latest),
            ClusterPhase::Forming | ClusterPhase::Restoring => Ok(true),
            ClusterPhase::Running => self.prove(),
        }
    }

    fn put_right(&mut self, halt: Option<HaltCause>, latest: Option<SnapshotId>) -> Result<bool, String> {
        let turn = self.recovery.looks;
        if !turn.is_multiple_of(4) {
            return Ok(true);
        }
        match (halt, latest) {
            (Some(HaltCause::NoSnapshot), _) | (_, None) => {
                self.note(format_args!("the operator starts every member again"));
                let all: Vec<u64> = self.processes.keys().copied().collect();
                all.into_iter().for_each(|number| self.crash(number, 20 * MS));
            }
            (_, Some(latest)) if turn.is_multiple_of(8) => {
                self.execute_now(0, Command::Restore { target: Target::Snapshot(latest), fallback: 0 })?;
            }
            (_, Some(_)) => self.execute_now(0, Command::Resume { fallback: 3 })?,
        }
        Ok(true)
    }

    /// The cluster runs: it has to take a snapshot, and then everything has to arrive.
    fn prove(&mut self) -> Result<bool, String> {
        let (facts, since) = (self.database.facts(), self.recovery.epoch);
        if !facts.is_calm() {
            (self.quiet, self.recovery.proof, self.recovery.last) = (false, None, None);
            return Ok(true);
        }
        if self.quiet {
            return self.prove_silent();
        }
        if self.recovery.proof.is_none() {
            let all_in = self.names.iter().enumerate().all(|(slot, name)| {
                // One that has left stays until a snapshot without it is committed.
                let fits = |m: &MemberFacts| m.runs_in(facts.cluster.generation) || m.has_left(facts.cluster.generation);
                self.current[slot].is_none() || facts.members.get(name).is_some_and(fits)
            });
            if facts.snapshots.is_empty() && all_in {
                self.execute_now(0, Command::Request { timeout_ms: Some(10_000) })?;
                self.recovery.proof = self.database.facts().snapshots.last().map(|s| s.id);
            }
            return Ok(true);
        }
        let proof = self.recovery.proof.and_then(|id| self.database.snapshots.get(&id));
        match proof.map(|s| (s.state, s.epoch)) {
            Some((SnapshotState::Committed, epoch)) if epoch > Some(since) => {
                self.note(format_args!("quiet"));
                self.quiet = true;
            }
            // A loss of before may be found only now.
            Some((SnapshotState::Aborted, _)) if self.now < self.recovery.healed_at + AFTERMATH => self.recovery.proof = None,
            Some((SnapshotState::Aborted, _)) => {
                let abort = proof.and_then(|s| s.abort.clone());
                return Err(format!("the snapshot that was taken after the faults was aborted: {abort:?}"));
            }
            Some(_) | None => {}
        }
        Ok(true)
    }

    /// Nobody sends any more: everything has to arrive, and a snapshot of a silent cluster has to be taken as well, with nothing in flight.
    fn prove_silent(&mut self) -> Result<bool, String> {
        let last = self.recovery.last.and_then(|id| self.database.snapshots.get(&id));
        match last.map(|s| (s.state, s.messages_in_flight)) {
            Some((SnapshotState::Committed, Some(0))) => {
                let ended = self.is_silent()?;
                self.stats.slowest_recovery_us = self.now - self.recovery.healed_at;
                Ok(!ended)
            }
            Some((SnapshotState::Committed, in_flight)) => {
                Err(format!("the snapshot of a silent cluster holds messages in flight: {in_flight:?}"))
            }
            Some((SnapshotState::Aborted, _)) => {
                let abort = last.and_then(|s| s.abort.clone());
                Err(format!("the snapshot of a silent cluster was aborted: {abort:?}"))
            }
            Some(_) => Ok(true),
            None => {
                if self.is_silent()? {
                    self.note(format_args!("silent"));
                    self.execute_now(0, Command::Request { timeout_ms: Some(10_000) })?;
                    self.recovery.last = self.database.facts().snapshots.last().map(|s| s.id);
                }
                Ok(true)
            }
        }
    }

    fn why_not_well(&self) -> String {
        let facts = self.database.facts();
        let members: Vec<String> = facts
            .members
            .values()
            .map(|m| format!("{} {} {:?} {:?} in {}", m.name, m.incarnation, m.state, m.standing, m.generation))
            .collect();
        let processes: Vec<String> = self
            .processes
            .iter()
            .map(|(number, it)| {
                let live = it.live.as_ref().map(|live| (live.participant.identity().generation, live.participant.epoch()));
                format!("p{}#{number} {:?} holds: {} live: {live:?}", it.slot, it.registered, it.holds)
            })
            .collect();
        let snapshots: Vec<_> = facts.snapshots.iter().map(|s| (s.epoch, s.state, s.reported.clone())).collect();
        let restore = facts.restore.as_ref().map(|r| (r.state, r.generation, r.members.clone()));
        format!(
            "the cluster isn't well {} s after the last fault: it is {:?} in generation {} ({:?}); members {members:?}; processes \
             {processes:?}; snapshots {snapshots:?}; restore {restore:?}; quiet: {}; {}",
            WELL_WITHIN / 1_000_000,
            facts.cluster.phase,
            facts.cluster.generation,
            facts.cluster.phase_reason,
            self.quiet,
            self.why_not_silent(),
        )
    }
}
