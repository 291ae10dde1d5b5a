//! Breaking things, drawn from the seed.

use std::collections::BTreeSet;

use stillframe_coordinator::decide::{member::Evidence, restore::Target, settings::Changes};

use crate::{
    Checked,
    coordinator::{command::Command, replica::replica_id},
    event::Event,
    plan::MS,
    world::World,
};

impl World {
    fn any<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.rng.usize(0..of.len())])
    }

    fn any_replica(&mut self) -> usize {
        self.rng.usize(0..self.replicas.len())
    }

    fn decide_soon(&mut self, command: Command) {
        let (replica, delay) = (self.any_replica(), self.rng.u64(0..=5 * MS));
        self.after(delay, Event::Decide { replica, command });
    }

    /// Something goes wrong, or is asked for at a bad moment.
    pub(crate) fn fault(&mut self) -> Checked {
        if self.healed {
            return Ok(());
        }
        let every = self.plan.fault_every_us;
        let pause = self.rng.u64(every / 4..=every * 7 / 4);
        self.after(pause, Event::Fault);
        let alive: Vec<u64> = self.processes.keys().copied().collect();
        let kind = match self.rng.u32(0..100) {
            0..=13 => {
                let up = self.network.of(|_| true);
                let Some(connection) = self.any(&up) else { return Ok(()) };
                self.break_connection(connection);
                "connection broken"
            }
            14..=19 => {
                let one = self.rng.usize(0..self.plan.members);
                let other = (one + self.rng.usize(1..self.plan.members)) % self.plan.members;
                let until = self.now + self.rng.u64(20..=1_200) * MS;
                self.network.cut(one, other, until);
                self.break_between(one, other);
                "members cut off from each other"
            }
            20..=25 => {
                let slot = self.rng.usize(0..self.plan.members);
                let all = self.rng.bool();
                let mut replicas = BTreeSet::new();
                for replica in 0..self.replicas.len() {
                    if all || self.rng.bool() {
                        replicas.insert(replica);
                    }
                }
                let until = self.now + self.rng.u64(50..=2_500) * MS;
                self.network.cut_control(slot, replicas, until);
                "member cut off from the coordinator"
            }
            26..=31 => {
                let Some(number) = self.any(&alive) else { return Ok(()) };
                let stays_away = self.rng.u8(..) < 40;
                self.crash(number, if stays_away { 3_000 * MS } else { 400 * MS });
                "member crashed"
            }
            32..=33 => {
                // The old process lives on, and finds out.
                let Some(number) = self.any(&alive) else { return Ok(()) };
                let Some(slot) = self.processes.get(&number).map(|process| process.slot) else { return Ok(()) };
                self.start_soon(slot, 20 * MS);
                "member started twice"
            }
            34..=38 => {
                let Some(number) = self.any(&alive) else { return Ok(()) };
                let slowness = self.rng.u64(1..=8);
                if let Some(process) = self.processes.get_mut(&number) {
                    process.slowness = slowness;
                }
                "member slow"
            }
            39..=42 => {
                let away: Vec<usize> = (0..self.plan.members).filter(|slot| self.current[*slot].is_none()).collect();
                let Some(slot) = self.any(&away) else { return Ok(()) };
                self.start_soon(slot, 20 * MS);
                "member joined"
            }
            43..=44 => {
                let (max_concurrent, min_pause_ms) = (Some(self.rng.u32(1..=4)), Some(self.rng.u64(0..=400)));
                let snapshot_timeout_ms = Some(self.rng.u64(100..=2_500));
                self.decide_soon(Command::Update(Changes {
                    max_concurrent,
                    min_pause_ms,
                    snapshot_timeout_ms,
                    ..Changes::default()
                }));
                "settings changed"
            }
            45..=73 => {
                for _ in 0..self.rng.u8(1..=3) {
                    let timeout_ms = if self.rng.bool() { None } else { Some(self.rng.u64(30..=1_500)) };
                    self.decide_soon(Command::Request { timeout_ms });
                }
                "snapshot asked for"
            }
            74..=77 => {
                let ids: Vec<_> = self.database.facts().snapshots.iter().map(|s| s.id).collect();
                let Some(snapshot) = self.any(&ids) else { return Ok(()) };
                self.decide_soon(Command::Abort { snapshot });
                "abort asked for"
            }
            78..=82 => {
                let committed = self.committed();
                let target = if self.rng.bool() { Some(Target::Latest) } else { self.any(&committed).map(Target::Snapshot) };
                let Some(target) = target else { return Ok(()) };
                let fallback = self.rng.u32(0..=2);
                self.decide_soon(Command::Restore { target, fallback });
                "restore asked for"
            }
            83 => {
                let Some(restore) = self.database.facts().restore.as_ref().map(|r| r.id) else { return Ok(()) };
                self.decide_soon(Command::Cancel { restore });
                "cancellation asked for"
            }
            84..=87 => {
                let replica = self.any_replica();
                let replica = &mut self.replicas[replica];
                (replica.remembered, replica.held) = (None, Default::default());
                "replica restarted"
            }
            88..=91 => {
                self.archive.away_until = self.now + self.rng.u64(50..=1_500) * MS;
                "archive away"
            }
            92 => {
                let committed = self.committed();
                let Some(snapshot) = self.any(&committed) else { return Ok(()) };
                self.archive.unreadable.insert(snapshot);
                "snapshot unreadable"
            }
            93 => {
                self.decide_soon(Command::Resume { fallback: 1 });
                "resume asked for"
            }
            94 => {
                let names: Vec<_> = self.database.facts().members.keys().cloned().collect();
                if names.is_empty() {
                    return Ok(());
                }
                let (member, force) = (names[self.rng.usize(0..names.len())].clone(), self.rng.u8(..) < 200);
                self.decide_soon(Command::AskToLeave { member, force });
                "member asked to leave"
            }
            95..=96 => {
                let Some(number) = self.any(&alive) else { return Ok(()) };
                let Some(live) = self.processes.get_mut(&number).and_then(|process| process.live.as_mut()) else { return Ok(()) };
                live.wants_to_leave = true;
                "member wants to leave"
            }
            97.. => {
                let names: Vec<_> = self.database.facts().members.values().map(|m| (m.name.clone(), m.incarnation)).collect();
                if names.is_empty() {
                    return Ok(());
                }
                let (member, incarnation) = names[self.rng.usize(0..names.len())].clone();
                // A connection that closes although its member is well.
                let holder = replica_id(self.any_replica());
                self.decide_soon(Command::Lost { member, incarnation, evidence: Evidence::Closed { holder } });
                "poll closed"
            }
        };
        self.stats.fault(kind);
        self.note(format_args!("fault: {kind}"));
        Ok(())
    }

    fn break_between(&mut self, one: usize, other: usize) {
        let slot = |number: u64| self.processes.get(&number).map(|process| process.slot);
        let between = self.network.connections.iter().filter(|(_, c)| {
            let ends = (slot(c.from), slot(c.to));
            c.is_up() && (ends == (Some(one), Some(other)) || ends == (Some(other), Some(one)))
        });
        let between: Vec<u64> = between.map(|(number, _)| *number).collect();
        between.into_iter().for_each(|connection| self.break_connection(connection));
    }

    /// Ends a process. The replica that held its poll sees that, and it is started again some time later.
    pub(crate) fn crash(&mut self, number: u64, within: u64) {
        let Some(process) = self.processes.get(&number) else { return };
        let (slot, registered) = (process.slot, process.registered);
        self.note(format_args!("p{slot}#{number} crashes"));
        self.end(number);
        for replica in 0..self.replicas.len() {
            if self.replicas[replica].held.remove(&number).is_some()
                && let Some((_, incarnation)) = registered
            {
                let (member, evidence) = (self.names[slot].clone(), Evidence::Closed { holder: replica_id(replica) });
                let delay = self.rng.u64(10 * MS..=80 * MS);
                self.after(delay, Event::Decide { replica, command: Command::Lost { member, incarnation, evidence } });
            }
        }
        if self.current[slot].is_none() {
            self.start_soon(slot, within);
        }
    }
}
