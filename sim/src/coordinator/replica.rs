//! A replica: the facts that it remembers, decisions that race with those of others, and answers to members.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use stillframe_coordinator::decide::{
    Decision, Facts, Occasion, Refusal,
    assignment::{Wanted, wanted},
    facts::Presence,
    leave,
    member::Evidence,
    restore::Word,
};
use stillframe_protocol::{Incarnation, MemberName, RestoreId, SnapshotId};
use uuid::Uuid;

use super::{
    command::Command,
    database::{Lease, timestamp},
};
use crate::{
    Checked,
    event::Event,
    mutant::{BrokenCoordinator, Mutant},
    plan::MS,
    stats::count,
    words::{Ask, Assignment, Open, Peer, Report, Tell},
    world::World,
};

/// How often a replica looks for what is due.
const LOOK_EVERY: u64 = 100 * MS;

/// How long a restore may take to its commit point.
const RESTORE_TIMEOUT: SignedDuration = SignedDuration::from_millis(2_500);

/// A poll that is answered when there is news.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) member: MemberName,
    pub(crate) incarnation: Incarnation,
    pub(crate) after: u64,
    pub(crate) asked_at: u64,
}

/// A coordinator process.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    /// What it remembers, perhaps overtaken.
    pub(crate) remembered: Option<Facts>,
    /// Polls by process.
    pub(crate) held: BTreeMap<u64, Held>,
}

/// The id that a replica signs with.
pub(crate) fn replica_id(replica: usize) -> Uuid {
    Uuid::from_u128(u128::MAX - replica as u128)
}

impl World {
    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn occasion(&mut self) -> Occasion {
        Occasion {
            snapshot: SnapshotId(self.id()),
            automatic: SnapshotId(self.id()),
            restore: RestoreId(self.id()),
            actor: "sim".to_owned(),
            request_id: None,
            restore_timeout: RESTORE_TIMEOUT,
        }
    }

    fn is_broken(&self, broken: BrokenCoordinator) -> bool {
        self.mutant == Some(Mutant::Coordinator(broken))
    }

    /// Decides something: on the facts that the replica remembers, to be written a little later if nobody was there first; else under the lock.
    pub(crate) fn execute(&mut self, replica: usize, command: Command) -> Checked {
        let occasion = self.occasion();
        let remembered = self.replicas[replica].remembered.as_ref().filter(|facts| facts.is_calm());
        let quick = command.may_be_quick() && remembered.is_some() && self.rng.u8(..) < 200;
        let Some(mut before) = remembered.filter(|_| quick).cloned() else { return self.transact(replica, command, &occasion) };
        // The database's time as well as a replica can tell it.
        let behind = self.rng.u64(0..=20 * MS);
        before.now = timestamp(self.now.saturating_sub(behind));
        match command.asked() {
            Some(asked) if before.snapshot(asked).is_none() => return self.transact(replica, command, &occasion),
            Some(asked) if matches!(command, Command::Certified { .. }) => before.know_complete(asked),
            Some(_) | None => {}
        }
        let Ok(decision) = command.decide(&before, &occasion, &self.database.restores) else {
            return self.transact(replica, command, &occasion);
        };
        // That there is nothing to do has to be true, not only remembered.
        if decision.next.cluster.version == before.cluster.version {
            return self.transact(replica, command, &occasion);
        }
        let delay = self.rng.u64(0..=25 * MS);
        self.after(
            delay,
            Event::Write {
                replica,
                command,
                occasion: Box::new(occasion),
                before: Box::new(before),
                decision: Box::new(decision),
            },
        );
        Ok(())
    }

    /// Decides something under the lock, at once.
    pub(crate) fn execute_now(&mut self, replica: usize, command: Command) -> Checked {
        let occasion = self.occasion();
        self.transact(replica, command, &occasion)
    }

    /// Writes a decision, if the facts that it rests on are still the newest; else it is taken again.
    pub(crate) fn write(
        &mut self,
        replica: usize,
        command: Command,
        occasion: &Occasion,
        before: &Facts,
        decision: Decision,
    ) -> Checked {
        let (found, expected) = (self.database.facts().cluster.version, before.cluster.version);
        if found != expected && !self.is_broken(BrokenCoordinator::IgnoresVersions) {
            self.stats.overtaken_decisions += 1;
            self.note(format_args!("r{replica} {} on version {expected} is overtaken by {found}", command.name()));
            return self.transact(replica, command, occasion);
        }
        self.apply(replica, &command, before, decision)
    }

    /// Decides on the newest facts and writes at once.
    fn transact(&mut self, replica: usize, command: Command, occasion: &Occasion) -> Checked {
        let before = self.database.read(self.now, command.asked());
        match command.decide(&before, occasion, &self.database.restores) {
            Ok(decision) => self.apply(replica, &command, &before, decision),
            Err(refusal) => {
                self.note(format_args!("r{replica} {} is refused: {refusal}", command.name()));
                Ok(())
            }
        }
    }

    fn apply(&mut self, replica: usize, command: &Command, before: &Facts, mut decision: Decision) -> Checked {
        if self.is_broken(BrokenCoordinator::ReusesEpochs)
            && let Some(aborted) = newly_aborted(before, &decision)
        {
            decision.next.cluster.epoch.0 = aborted - 1;
        }
        let changed = decision.next.cluster.version != before.cluster.version;
        self.check_decision(command, before, &decision)?;
        if changed {
            self.stats.decisions += 1;
            for line in &decision.audit {
                self.note(format_args!("r{replica} {} {} {}", line.action, line.subject, line.reason.as_deref().unwrap_or("")));
                match line.action {
                    "member.joined" => self.stats.joins += 1,
                    "member.left" => self.stats.leaves += 1,
                    "restore.resuming" => self.stats.restores += 1,
                    _ => {}
                }
            }
            self.count_ends(before, &decision);
        }
        let parts = &self.archive.parts;
        let reported = |id| parts.get(&id).map(|parts| parts.keys().cloned().collect()).unwrap_or_default();
        let revision = self.database.facts().cluster.revision;
        self.database.write(before, decision, reported);
        self.check_database()?;
        if changed {
            self.replicas[replica].remembered = Some(self.database.read(self.now, None));
        }
        if self.database.facts().cluster.revision > revision {
            self.answer_held(replica);
            for other in (0..self.replicas.len()).filter(|other| *other != replica) {
                // Now and then the news is lost, and found at the next look.
                if self.healed || self.rng.u8(..) > 20 {
                    let delay = self.rng.u64(MS / 2..=40 * MS);
                    self.after(delay, Event::News { replica: other });
                }
            }
        }
        Ok(())
    }

    fn count_ends(&mut self, before: &Facts, decision: &Decision) {
        use stillframe_api::{restore::RestoreState, snapshot::SnapshotState};
        for snapshot in &decision.next.snapshots {
            let was = before.snapshot(snapshot.id).map(|s| s.state);
            if snapshot.state == SnapshotState::Aborted && was != Some(SnapshotState::Aborted) {
                let reason = snapshot.abort.as_ref().map_or("unknown", |abort| abort.reason.as_str());
                count(&mut self.stats.aborted, reason, 1);
            }
            if snapshot.state == SnapshotState::Committed && was == Some(SnapshotState::Committing) {
                self.stats.committed += 1;
                self.stats.committed_in_flight += u64::from(snapshot.messages_in_flight > Some(0));
            }
        }
        let under_way = decision.next.snapshots.iter().filter(|s| s.is_under_way()).count() as u64;
        self.stats.most_at_once = self.stats.most_at_once.max(under_way);
        for restore in decision.next.ended_restore.iter().chain(&decision.next.restore) {
            let was = before.restore.as_ref().filter(|known| known.id == restore.id).map(|known| known.state);
            if restore.state == RestoreState::Failed && was != Some(RestoreState::Failed) {
                let reason = format!("{:?}", restore.failure_reason);
                count(&mut self.stats.failed_restores, reason.trim_start_matches("Some(").trim_end_matches(')'), 1);
            }
            let resumed = restore.state == RestoreState::Resuming && was != Some(RestoreState::Resuming);
            if resumed && before.cluster.latest_committed != Some(restore.snapshot) {
                self.stats.restores_to_older += 1;
            }
        }
    }

    /// News of another replica's decision.
    pub(crate) fn news(&mut self, replica: usize) {
        self.replicas[replica].remembered = Some(self.database.read(self.now, None));
        self.answer_held(replica);
    }

    fn answer_held(&mut self, replica: usize) {
        let Some(facts) = &self.replicas[replica].remembered else { return };
        let revision = facts.cluster.revision;
        let ready: Vec<u64> =
            self.replicas[replica].held.iter().filter(|(_, held)| held.after < revision).map(|(process, _)| *process).collect();
        for process in ready {
            if let Some(held) = self.replicas[replica].held.remove(&process) {
                self.answer(replica, process, &held);
            }
        }
    }

    fn answer(&mut self, replica: usize, process: u64, held: &Held) {
        let Some(facts) = &self.replicas[replica].remembered else { return };
        let tell = match compose(facts, &held.member, held.incarnation) {
            Ok(assignment) => Tell::Assigned(Box::new(assignment)),
            Err(_) => Tell::Fenced,
        };
        self.tell(replica, process, held.asked_at, tell);
    }

    /// A member asks.
    pub(crate) fn asked(&mut self, replica: usize, process: u64, slot: usize, asked_at: u64, ask: Ask) -> Checked {
        let member = self.names[slot].clone();
        match ask {
            Ask::Register { instance } => self.register(replica, process, slot, asked_at, instance),
            Ask::Poll { incarnation, after } => self.polled(replica, process, Held { member, incarnation, after, asked_at }),
            Ask::Report { number, incarnation, report } => {
                match self.database.facts().members.get(&member).map(|m| m.incarnation) {
                    Some(known) if known == incarnation => {}
                    Some(_) if self.is_broken(BrokenCoordinator::AcceptsStaleWords) => {}
                    Some(_) | None => {
                        self.tell(replica, process, asked_at, Tell::Fenced);
                        return Ok(());
                    }
                }
                match report {
                    Report::Part(part) => self.take_part(replica, &member, incarnation, *part),
                    Report::Failed { snapshot, why } => {
                        self.execute(replica, Command::Failed { snapshot, member, incarnation, why })?;
                    }
                    Report::Leave(step) => self.execute(replica, Command::Leave { member, incarnation, step })?,
                    Report::Word(word) => {
                        let (incarnation, word) = self.as_taken(&member, incarnation, word);
                        self.execute(replica, Command::Heard { member, incarnation, word })?;
                    }
                }
                self.tell(replica, process, asked_at, Tell::Taken { number });
                Ok(())
            }
        }
    }

    /// A member's word; a broken coordinator takes it for one of now.
    fn as_taken(&self, member: &MemberName, incarnation: Incarnation, word: Word) -> (Incarnation, Word) {
        let facts = self.database.facts();
        let (Some(now), Some(known)) = (&facts.restore, facts.members.get(member)) else { return (incarnation, word) };
        if !self.is_broken(BrokenCoordinator::AcceptsStaleWords) {
            return (incarnation, word);
        }
        let word = match word {
            Word::Prepared { bytes, .. } => Word::Prepared { restore: now.id, generation: now.generation, bytes },
            Word::Running { .. } => Word::Running { generation: now.generation },
            other @ (Word::Loading { .. } | Word::PrepareFailed { .. }) => other,
        };
        (known.incarnation, word)
    }

    fn register(&mut self, replica: usize, process: u64, slot: usize, asked_at: u64, instance: Uuid) -> Checked {
        let member = self.names[slot].clone();
        let old = self.database.facts().members.get(&member).map(|m| m.instance);
        let instance = old.filter(|_| self.is_broken(BrokenCoordinator::AcceptsOtherIncarnation)).unwrap_or(instance);
        let lease = SignedDuration::from_micros(i64::try_from(self.plan.lease_us).unwrap_or(i64::MAX));
        // A registration that was on its way for long doesn't come from a process that is there no more: its connection is closed.
        if !self.processes.contains_key(&process) {
            return Ok(());
        }
        self.execute(replica, Command::Register { member: member.clone(), instance, process, lease })?;
        let registered = self.database.facts().members.get(&member).filter(|m| m.instance == instance);
        if let Some((id, incarnation)) = registered.map(|m| (m.member_id, m.incarnation)) {
            self.slots_by_id.insert(id, slot);
            self.tell(replica, process, asked_at, Tell::Registered { member: id, incarnation });
        }
        Ok(())
    }

    fn polled(&mut self, replica: usize, process: u64, held: Held) -> Checked {
        let kept = &self.replicas[replica].remembered;
        let fits = kept.as_ref().is_some_and(|facts| {
            let known = facts.members.get(&held.member).is_some_and(|m| m.incarnation >= held.incarnation);
            known && facts.cluster.revision >= held.after
        });
        if !fits {
            self.replicas[replica].remembered = Some(self.database.read(self.now, None));
        }
        let facts = self.database.facts().members.get(&held.member);
        let Some((is_news, incarnation)) = facts.map(|m| (m.state == Presence::Lost || !m.seen, m.incarnation)) else {
            self.tell(replica, process, held.asked_at, Tell::Fenced);
            return Ok(());
        };
        if incarnation == held.incarnation && self.processes.contains_key(&process) {
            let lease = SignedDuration::from_micros(i64::try_from(self.plan.lease_us).unwrap_or(i64::MAX));
            let expires_at = timestamp(self.now).checked_add(lease).unwrap_or(jiff::Timestamp::MAX);
            self.database.leases.insert(held.member.clone(), Lease { expires_at, holder: Some(replica_id(replica)) });
            if is_news {
                let (member, incarnation) = (held.member.clone(), held.incarnation);
                self.execute(replica, Command::Arrived { member, incarnation })?;
            }
        }
        self.answer(replica, process, &held);
        if let Some(facts) = &self.replicas[replica].remembered {
            let after = facts.cluster.revision;
            self.replicas[replica].held.insert(process, Held { after, ..held });
        }
        Ok(())
    }

    /// Looks for what is due.
    pub(crate) fn look(&mut self, replica: usize) -> Checked {
        let jitter = self.rng.u64(0..=LOOK_EVERY / 4);
        self.after(LOOK_EVERY + jitter, Event::Look { replica });
        let now = timestamp(self.now);
        let facts = self.database.facts();
        let expired = facts.members.values().filter(|m| m.state == Presence::Live);
        let expired = expired.filter(|m| self.database.leases.get(&m.name).is_none_or(|lease| lease.expires_at <= now));
        let expired: Vec<_> = expired.map(|m| (m.name.clone(), m.incarnation)).collect();
        for (member, incarnation) in expired {
            self.execute(replica, Command::Lost { member, incarnation, evidence: Evidence::LeaseExpired })?;
        }
        if !self.is_broken(BrokenCoordinator::ForgetsDeadlines) {
            self.execute(replica, Command::Deadlines)?;
        }
        self.look_for_complete(replica);
        if self.rng.bool() || self.healed {
            self.news(replica);
        }
        Ok(())
    }
}

fn newly_aborted(before: &Facts, decision: &Decision) -> Option<u64> {
    use stillframe_api::snapshot::SnapshotState::{Aborted, Recording};
    let was = |id| before.snapshot(id).map(|s| s.state);
    let aborted = decision.next.snapshots.iter().filter(|s| s.state == Aborted && was(s.id) == Some(Recording));
    aborted.filter_map(|s| s.epoch).map(|epoch| epoch.0).max()
}

/// A member's assignment.
fn compose(facts: &Facts, member: &MemberName, incarnation: Incarnation) -> Result<Assignment, Refusal> {
    let wanted: Wanted = wanted(facts, member, incarnation)?;
    let peer = |m: &stillframe_coordinator::decide::facts::MemberFacts| {
        let slot = m.name.as_str().strip_prefix('p')?.parse().ok()?;
        Some(Peer {
            slot,
            member: m.member_id,
            incarnation: m.incarnation,
            process: m.address.parse().ok()?,
            leaving: m.leaving.is_some(),
        })
    };
    let open = facts.snapshots.iter().filter(|s| s.is_under_way());
    let of_now = facts.members.get(member).filter(|known| known.incarnation == incarnation);
    Ok(Assignment {
        stage: of_now.and_then(|known| leave::stage(facts, known)),
        sent_to: of_now.map(leave::sent_to).unwrap_or_default(),
        left: leave::departed(facts).map(|(member, left)| (member.member_id, left.incarnation)).collect(),
        revision: facts.cluster.revision,
        epoch: facts.cluster.epoch,
        wanted,
        peers: facts.peers().filter_map(peer).collect(),
        open: open
            .map(|s| Open {
                snapshot: s.id,
                epoch: s.epoch.unwrap_or_default(),
                generation: s.generation,
                in_view: s.view.get(member) == Some(&incarnation),
            })
            .collect(),
    })
}
