//! After each decision: no number is used twice, nothing that has ended changes, and what is stale changes nothing.

use stillframe_api::{
    restore::RestoreState,
    snapshot::{AbortReason, SnapshotState},
};
use stillframe_coordinator::decide::{
    Decision, Facts,
    facts::{Presence, RestoreFacts},
    leave::Step,
    restore::Word,
};

use crate::{
    Checked,
    coordinator::{command::Command, database::timestamp},
    plan::MS,
    world::World,
};

/// How much later than due a replica may see to something: it looks ten times a second.
const SLACK: u64 = 400 * MS;

impl World {
    pub(crate) fn check_decision(&mut self, command: &Command, before: &Facts, decision: &Decision) -> Checked {
        let (old, next) = (&before.cluster, &decision.next.cluster);
        let now = &self.database.facts().cluster;
        if next.epoch < old.epoch || next.generation < old.generation || next.last_generation < old.last_generation {
            return Err(format!("{}: a number goes back: {old:?} -> {next:?}", command.name()));
        }
        if next.version < now.version || next.revision < now.revision {
            return Err(format!("{}: version {} overwrites {}", command.name(), next.version, now.version));
        }
        for (name, member) in &before.members {
            let after = decision.next.members.get(name).ok_or_else(|| format!("{name} is dropped"))?;
            if after.incarnation < member.incarnation || after.member_id != member.member_id {
                return Err(format!("{name} goes back from incarnation {} to {}", member.incarnation, after.incarnation));
            }
        }
        for (name, member) in &decision.next.members {
            let process =
                self.known.incarnations.entry((name.clone(), member.incarnation.0)).or_insert(member.instance.to_string());
            if *process != member.instance.to_string() {
                return Err(format!("incarnation {} of {name} is given to two processes", member.incarnation));
            }
        }
        self.check_stale(command, before, decision)?;
        for snapshot in &decision.next.snapshots {
            let was = self.database.snapshots.get(&snapshot.id);
            let from = was.map(|s| s.state);
            if !may_become(from, snapshot.state) {
                return Err(format!("snapshot {} goes from {from:?} to {:?}", snapshot.id, snapshot.state));
            }
            if let Some(was) = was.filter(|was| was.epoch.is_some())
                && (&was.view, was.epoch, was.generation) != (&snapshot.view, snapshot.epoch, snapshot.generation)
            {
                return Err(format!("snapshot {} isn't of the view any more that it began with", snapshot.id));
            }
            if let Some(epoch) = snapshot.epoch
                && *self.known.epochs.entry(epoch).or_insert(snapshot.id) != snapshot.id
            {
                return Err(format!("epoch {epoch} is used twice"));
            }
            let newly = from != Some(snapshot.state);
            match snapshot.state {
                SnapshotState::Aborted if newly => {
                    self.end_once(snapshot.id, false)?;
                    let whole = snapshot.view.iter().all(|(name, incarnation)| {
                        decision.next.members.get(name).is_some_and(|m| m.incarnation == *incarnation)
                    });
                    let abort = snapshot.abort.as_ref();
                    if whole && abort.is_some_and(|abort| abort.reason == AbortReason::CertificateRejected) {
                        let detail = abort.map(|abort| abort.detail.clone());
                        return Err(format!("the parts of epoch {:?} prove nothing: {detail:?}", snapshot.epoch));
                    }
                }
                SnapshotState::Committed if newly => {
                    self.end_once(snapshot.id, true)?;
                    self.check_committed(snapshot)?;
                }
                SnapshotState::Pending
                | SnapshotState::Recording
                | SnapshotState::Committing
                | SnapshotState::Committed
                | SnapshotState::Aborted
                | SnapshotState::Deleting
                | SnapshotState::Deleted => {}
            }
        }
        self.check_generations(before, decision)
    }

    fn end_once(&mut self, id: stillframe_protocol::SnapshotId, committed: bool) -> Checked {
        match self.known.ended.insert(id, committed) {
            None => Ok(()),
            Some(before) => Err(format!("snapshot {id} ends twice: committed {before}, then committed {committed}")),
        }
    }

    fn check_generations(&mut self, before: &Facts, decision: &Decision) -> Checked {
        for restore in decision.next.ended_restore.iter().chain(&decision.next.restore) {
            let known = self.known.generations.entry(restore.generation).or_insert(Some(restore.id));
            if *known != Some(restore.id) {
                return Err(format!("generation {} is used twice", restore.generation));
            }
            if restore.state == RestoreState::Resuming && !self.known.proved.contains(&restore.snapshot) {
                return Err(format!("snapshot {} is restored, but was never committed", restore.snapshot));
            }
            let was = before.restore.as_ref().filter(|known| known.id == restore.id).map(|known| known.state);
            if restore.state == RestoreState::Resuming && was != Some(RestoreState::Resuming) {
                self.check_prepared(restore, decision)?;
            }
        }
        let generation = decision.next.cluster.generation;
        if generation > before.cluster.generation && decision.next.restore.as_ref().is_none_or(|r| r.generation != generation) {
            let restored = decision.next.ended_restore.as_ref().is_some_and(|r| r.generation == generation);
            if !restored && self.known.generations.insert(generation, None).is_some() {
                return Err(format!("generation {generation} is used twice"));
            }
        }
        Ok(())
    }

    /// At the commit point of a restore everybody who is alive holds the part that it is to run from.
    fn check_prepared(&self, restore: &RestoreFacts, decision: &Decision) -> Checked {
        for (name, member) in &restore.members {
            let id = decision.next.members.get(name).map(|m| (m.member_id, m.incarnation));
            let process = self.processes.values().find(|process| process.registered.is_some() && process.registered == id);
            let holds = |process: &crate::member::Process| {
                let at = process.preparation.as_ref();
                at.is_some_and(|at| (at.restore, at.generation) == (restore.id, restore.generation) && at.loaded.is_some())
            };
            if process.is_some_and(|process| !holds(process)) {
                let (generation, incarnation) = (restore.generation, member.incarnation);
                return Err(format!("generation {generation} begins, but {name} {incarnation} hasn't loaded its part"));
            }
        }
        Ok(())
    }

    /// What comes from an incarnation, a generation or a restore of the past changes nothing.
    fn check_stale(&self, command: &Command, before: &Facts, decision: &Decision) -> Checked {
        let current = |member, incarnation| before.members.get(member).is_some_and(|m| m.incarnation == incarnation);
        let stale = match command {
            Command::Lost { member, incarnation, .. } | Command::Arrived { member, incarnation } => {
                !current(member, *incarnation)
            }
            Command::Failed { member, incarnation, .. } => !current(member, *incarnation),
            Command::Leave { member, incarnation, step } => {
                let (Step::Wants { generation } | Step::Drained { generation, .. } | Step::Ended { generation, .. }) = step;
                !current(member, *incarnation) || *generation != before.cluster.generation
            }
            Command::Heard { member, incarnation, word } => {
                let of_now = before.restore.as_ref().is_some_and(|now| match word {
                    Word::Loading { restore, generation, .. }
                    | Word::Prepared { restore, generation, .. }
                    | Word::PrepareFailed { restore, generation, .. } => (*restore, *generation) == (now.id, now.generation),
                    Word::Running { generation } => *generation == now.generation,
                });
                !of_now || !current(member, *incarnation)
            }
            Command::Register { .. }
            | Command::Request { .. }
            | Command::Abort { .. }
            | Command::Deadlines
            | Command::Certified { .. }
            | Command::HeldUp { .. }
            | Command::Committed { .. }
            | Command::AskToLeave { .. }
            | Command::Restore { .. }
            | Command::Cancel { .. }
            | Command::Resume { .. }
            | Command::Update(_) => false,
        };
        // Time goes by meanwhile: what is due by itself may happen. But nothing of what it speaks of.
        if stale
            && let Some(restore) = &before.restore
            && let Some(next) = &decision.next.restore
        {
            let phases = |r: &RestoreFacts| r.members.values().map(|m| (m.phase, m.attempt)).collect::<Vec<_>>();
            let retried = restore.retry_at.is_some();
            if restore.generation == next.generation && !retried && phases(restore) != phases(next) {
                return Err(format!("{command:?} is of the past, and changed a restore"));
            }
        }
        let members = |facts: &Facts| facts.members.values().map(|m| (m.incarnation, m.state)).collect::<Vec<(_, Presence)>>();
        if stale && members(before) != members(&decision.next) {
            return Err(format!("{command:?} is of the past, and changed a member"));
        }
        Ok(())
    }

    /// Every snapshot that isn't committing has ended by its deadline.
    pub(crate) fn check_overdue(&self) -> Checked {
        let latest = timestamp(self.now.saturating_sub(SLACK));
        for snapshot in &self.database.facts().snapshots {
            let open = matches!(snapshot.state, SnapshotState::Pending | SnapshotState::Recording);
            if open && snapshot.deadline_at < latest {
                return Err(format!(
                    "snapshot {} is {:?} after its deadline {}",
                    snapshot.id, snapshot.state, snapshot.deadline_at
                ));
            }
        }
        Ok(())
    }

    /// What must hold of the facts at any time.
    pub(crate) fn check_database(&self) -> Checked {
        use stillframe_api::cluster::ClusterPhase;
        let facts = self.database.facts();
        let cluster = &facts.cluster;
        if facts.restore.is_some() != (cluster.phase == ClusterPhase::Restoring) {
            return Err(format!(
                "the cluster is {:?}, and its restore {:?}",
                cluster.phase,
                facts.restore.as_ref().map(|r| r.state)
            ));
        }
        if let Some(latest) = cluster.latest_committed
            && !self.known.proved.contains(&latest)
        {
            return Err(format!("the cluster would go back to snapshot {latest}, which was never committed"));
        }
        let under_way = self.database.restores.values().filter(|restore| !restore.state.has_ended()).count();
        if under_way > 1 {
            return Err("two restores are under way at once".to_owned());
        }
        for snapshot in facts.snapshots.iter().filter(|s| s.state == SnapshotState::Recording) {
            let gone = snapshot.view.iter().find(|(name, incarnation)| {
                !snapshot.reported.contains(*name) && facts.members.get(*name).is_none_or(|m| m.incarnation != **incarnation)
            });
            if let Some((name, _)) = gone {
                return Err(format!("snapshot {} waits for an incarnation of {name} that is no more", snapshot.id));
            }
        }
        Ok(())
    }
}

fn may_become(old: Option<SnapshotState>, new: SnapshotState) -> bool {
    use SnapshotState::{Aborted, Committed, Committing, Deleted, Deleting, Pending, Recording};
    match old {
        None | Some(Pending) => matches!(new, Pending | Recording | Aborted),
        Some(Recording) => matches!(new, Recording | Committing | Aborted),
        Some(Committing) => matches!(new, Committing | Committed),
        Some(Committed) => matches!(new, Committed | Deleting),
        Some(Aborted) => matches!(new, Aborted | Deleting),
        Some(Deleting) => matches!(new, Deleting | Deleted),
        Some(Deleted) => new == Deleted,
    }
}
