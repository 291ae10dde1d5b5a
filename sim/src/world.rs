//! The world of one run: virtual time, and everything in it.

use std::{collections::BTreeMap, fmt};

use fastrand::Rng;
use stillframe_protocol::{ChannelOrdering, ClusterName, MemberId, MemberName, SnapshotId};

use crate::{
    Checked,
    archive::Archive,
    check::Known,
    coordinator::{database::Database, replica::Replica},
    event::Event,
    member::{Process, Waiting, links::Call},
    mutant::Mutant,
    network::Network,
    operator::Recovery,
    plan::{MS, Plan},
    stats::Stats,
    trace::Trace,
};

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) rng: Rng,
    /// Virtual time, in microseconds.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    /// The processes that live, by number.
    pub(crate) processes: BTreeMap<u64, Process>,
    /// The slot of each process that ever was; the first has number 1.
    slots: Vec<usize>,
    /// The members' names, by slot.
    pub(crate) names: Vec<MemberName>,
    pub(crate) slots_by_id: BTreeMap<MemberId, usize>,
    /// The newest process of each slot; none where nobody is meant to be.
    pub(crate) current: Vec<Option<u64>>,
    /// Slots that are to start before long.
    pub(crate) starting: Vec<bool>,
    orderings: BTreeMap<(usize, usize), ChannelOrdering>,
    pub(crate) network: Network,
    pub(crate) database: Database,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) archive: Archive,
    pub(crate) ids: u128,
    /// There are no faults any more.
    pub(crate) healed: bool,
    /// Applications send nothing any more.
    pub(crate) quiet: bool,
    pub(crate) recovery: Recovery,
    pub(crate) known: Known,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, print: bool) -> Result<Self, String> {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::of_seed(&mut rng);
        let name = ClusterName::new("sim").map_err(|error| error.to_string())?;
        let names = (0..plan.members).map(|slot| MemberName::new(format!("p{slot}")).map_err(|error| error.to_string()));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let mut world = Self {
            mutant,
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            processes: BTreeMap::new(),
            slots: Vec::new(),
            names,
            slots_by_id: BTreeMap::new(),
            current: vec![None; plan.members],
            starting: vec![false; plan.members],
            orderings: plan.channels.iter().map(|channel| ((channel.from, channel.to), channel.ordering)).collect(),
            network: Network::default(),
            database: Database::new(&plan, name),
            replicas: (0..plan.replicas).map(|_| Replica::default()).collect(),
            archive: Archive::default(),
            ids: 0,
            healed: false,
            quiet: false,
            recovery: Recovery::default(),
            known: Known::default(),
            trace: Trace::new(print),
            stats: Stats { seeds: 1, ..Stats::default() },
            rng,
            plan,
        };
        world.note(format_args!("seed {seed}: {:?}", world.plan.clone()));
        for slot in 0..world.plan.initial {
            world.start_soon(slot, 200 * MS);
        }
        for replica in 0..world.plan.replicas {
            let delay = world.rng.u64(0..=100 * MS);
            world.after(delay, Event::Look { replica });
        }
        let (every, until) = (world.plan.fault_every_us, world.plan.faults_for_us);
        world.after(500 * MS + every, Event::Fault);
        world.after(until, Event::Heal);
        Ok(world)
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.line(self.now, what);
    }

    /// Has something happen so many microseconds from now.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    /// The ordering of a channel, if there is one.
    pub(crate) fn ordering(&self, from: usize, to: usize) -> Option<ChannelOrdering> {
        self.orderings.get(&(from, to)).copied()
    }

    pub(crate) fn ordering_from(&self, from: MemberId, to: usize) -> ChannelOrdering {
        let from = self.slots_by_id.get(&from).copied().unwrap_or(usize::MAX);
        self.ordering(from, to).unwrap_or(ChannelOrdering::Fifo)
    }

    /// Whether what one process sends reaches the other, as far as the network goes.
    pub(crate) fn reach(&self, from: u64, to: u64) -> bool {
        let slot = |number| self.processes.get(&number).map(|process: &Process| process.slot);
        // Whoever is being looked at now isn't among the processes.
        let slot = |number| slot(number).or_else(|| self.recovery.acting.filter(|(n, _)| *n == number).map(|(_, slot)| slot));
        match (slot(from), slot(to)) {
            (Some(from), Some(to)) => !self.network.is_cut(from, to, self.now),
            (Some(_) | None, None) | (None, Some(_)) => false,
        }
    }

    /// The process that has this address by now: the one of this number, or what was started in its place.
    pub(crate) fn at_address(&self, number: u64) -> u64 {
        let is_there = self.processes.contains_key(&number) || self.recovery.acting.is_some_and(|(acting, _)| acting == number);
        if is_there || !self.plan.addresses_reused {
            return number;
        }
        let slot = usize::try_from(number).ok().and_then(|number| self.slots.get(number.checked_sub(1)?));
        slot.and_then(|slot| self.current[*slot]).unwrap_or(number)
    }

    /// Starts a process in a slot before long, unless one is about to be.
    pub(crate) fn start_soon(&mut self, slot: usize, within: u64) {
        if !std::mem::replace(&mut self.starting[slot], true) {
            let delay = self.rng.u64(MS..=within.max(2 * MS));
            self.after(delay, Event::Start { slot });
        }
    }

    fn start(&mut self, slot: usize) {
        self.starting[slot] = false;
        self.slots.push(slot);
        let number = self.slots.len() as u64;
        self.ids += 1;
        let instance = uuid::Uuid::from_u128(self.ids);
        let replica = self.rng.usize(0..self.replicas.len());
        self.processes.insert(number, Process::new(slot, instance, replica, 1));
        self.current[slot] = Some(number);
        self.note(format_args!("p{slot}#{number} starts"));
        for event in [
            Event::Poll { process: number },
            Event::Send { process: number },
            Event::Acknowledge { process: number },
            Event::Retransmit { process: number },
        ] {
            let delay = self.rng.u64(0..=20 * MS);
            self.after(delay, event);
        }
    }

    /// Ends a process, as a kill does.
    pub(crate) fn end(&mut self, number: u64) {
        let Some(process) = self.processes.remove(&number) else { return };
        for connection in self.network.of(|end| end == number) {
            self.break_connection(connection);
        }
        if self.current[process.slot] == Some(number) {
            self.current[process.slot] = None;
        }
    }

    /// Lets a process that lives do something.
    fn with(&mut self, number: u64, act: impl FnOnce(&mut Self, &mut Process) -> Result<bool, String>) -> Checked {
        let Some(mut process) = self.processes.remove(&number) else { return Ok(()) };
        self.recovery.acting = Some((number, process.slot));
        let result = act(self, &mut process);
        self.recovery.acting = None;
        let slot = process.slot;
        self.processes.insert(number, process);
        if !result? {
            self.end(number);
            if self.current[slot].is_none() {
                self.start_soon(slot, 300 * MS);
            }
        }
        Ok(())
    }

    /// What happens next happens. False when it is over.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        let Some(((at, _), event)) = self.queue.pop_first() else { return Err("nothing happens any more".to_owned()) };
        self.now = at;
        self.stats.events += 1;
        if self.stats.events.is_multiple_of(1_024) {
            self.network.tidy(self.now);
            self.check_overdue()?;
        }
        let stays = |result: Checked| result.map(|()| true);
        match event {
            Event::Start { slot } => self.start(slot),
            Event::Send { process } => self.with(process, |world, it| stays(world.send(process, it)))?,
            Event::Acknowledge { process } => self.with(process, |world, it| stays(world.acknowledge(process, it)))?,
            Event::Retransmit { process } => self.with(process, |world, it| stays(world.retransmit(process, it)))?,
            Event::Poll { process } => self.with(process, |world, it| stays(world.poll(process, it)))?,
            Event::Redial { process, peer } => self.with(process, |world, it| {
                world.redial(process, it, peer);
                Ok(true)
            })?,
            Event::Dial { connection, peer, from, from_incarnation, to_incarnation, generation } => {
                let to = self.at_address(self.network.connections.get(&connection).map_or(0, |c| c.to));
                if let Some(known) = self.network.connections.get_mut(&connection) {
                    known.to = to;
                }
                self.dialled(to, &Call { connection, peer, from, from_incarnation, to_incarnation, generation })?;
            }
            Event::Dialed { process, peer, connection, taken } => {
                self.with(process, |world, it| stays(world.answered(process, it, peer, connection, taken)))?;
            }
            Event::Broken { process, connection } => self.with(process, |world, it| {
                world.broken(process, it, connection);
                Ok(true)
            })?,
            Event::Frame { process, source, via, frame } => {
                let process = if via.is_none() { self.at_address(process) } else { process };
                let waiting = Waiting { source, via, frame: *frame };
                self.with(process, |world, it| stays(world.frame(process, it, waiting)))?;
            }
            Event::Resume { process, from } => self.with(process, |world, it| stays(world.resume_held(process, it, from)))?,
            Event::Unalign { process, generation, epoch } => {
                self.with(process, |world, it| stays(world.unalign(process, it, generation, epoch)))?;
            }
            Event::Uploaded { process, generation, part } => self.with(process, |world, it| {
                world.uploaded(process, it, generation, part);
                Ok(true)
            })?,
            Event::Loaded { process, restore, generation, attempt, snapshot, part } => {
                self.with(process, |world, it| {
                    stays(world.loaded(process, it, (restore, generation, attempt), (snapshot, &part)))
                })?;
            }
            Event::Told { process, asked_at, tell } => self.with(process, |world, it| world.told(process, it, asked_at, tell))?,
            Event::Asked { replica, process, slot, asked_at, ask } => {
                if !self.network.is_control_cut(slot, replica, self.now) {
                    self.asked(replica, process, slot, asked_at, ask)?;
                }
            }
            Event::News { replica } => self.news(replica),
            Event::Look { replica } => self.look(replica)?,
            Event::Write { replica, command, occasion, before, decision } => {
                self.write(replica, command, &occasion, &before, *decision)?;
            }
            Event::Certify { replica, snapshot } => self.certify(replica, snapshot)?,
            Event::Manifest { replica, snapshot } => self.put_manifest(replica, snapshot)?,
            Event::Decide { replica, command } => self.execute(replica, command)?,
            Event::Fault => self.fault()?,
            Event::Heal => self.heal(),
            Event::Operator => return self.operate(),
        }
        Ok(true)
    }

    /// The committed snapshots, by id.
    pub(crate) fn committed(&self) -> Vec<SnapshotId> {
        use stillframe_api::snapshot::SnapshotState::Committed;
        self.database.snapshots.values().filter(|s| s.state == Committed).map(|s| s.id).collect()
    }
}
