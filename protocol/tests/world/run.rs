//! The run of a plan: what happens.

use std::collections::BTreeMap;

use stillframe_protocol::{
    ChannelState, Epoch, Generation, Incarnation, MemberId, Output, ReceiveError, SealedCounters, participant::BrokenRule,
};

use super::{
    BrokenRestore, Channel, Checked, Plan, ensure,
    network::Network,
    plan::Step,
    process::{Captured, Message, Process, TOKENS, Word},
};

/// The most messages that an application sends ahead of their acknowledgement.
const WINDOW: u64 = 20;

/// What is broken on purpose in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Broken {
    Rule(BrokenRule),
    Restore(BrokenRestore),
}

/// How often interesting things happened in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reached {
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) recorded: u64,
    pub(crate) logged: u64,
    pub(crate) sent_again: u64,
    pub(crate) held: u64,
    pub(crate) unaligned: u64,
    pub(crate) restores: u64,
    pub(crate) fenced: u64,
    pub(crate) newer_generation: u64,
    pub(crate) reconnects: u64,
    pub(crate) joins: u64,
    pub(crate) most_open_epochs: u64,
    pub(crate) epochs_cut_together: u64,
}

#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) generation: Generation,
    pub(super) view: Vec<usize>,
    pub(super) parts: BTreeMap<usize, (SealedCounters, Captured)>,
    pub(super) ended: bool,
}

pub(super) struct World<'a> {
    pub(super) plan: &'a Plan,
    pub(super) broken: Option<Broken>,
    pub(super) network: Network,
    pub(super) processes: Vec<Option<Process>>,
    pub(super) incarnations: Vec<Incarnation>,
    pub(super) generation: Generation,
    /// What members that haven't gone over to the newest generation have to begin from, with the newest epoch of that moment.
    pub(super) restoring: BTreeMap<usize, (Epoch, Captured)>,
    pub(super) newest_epoch: Epoch,
    pub(super) snapshots: BTreeMap<Epoch, Snapshot>,
    pub(super) committed: Vec<Epoch>,
    pub(super) unique: u64,
    pub(super) reached: Reached,
}

/// Carries a plan out. Fails as soon as something is wrong.
pub(crate) fn run(plan: &Plan, broken: Option<Broken>) -> Result<Reached, String> {
    let mut world = World {
        plan,
        broken,
        network: Network::new(plan),
        processes: (0..plan.members).map(|_| None).collect(),
        incarnations: vec![Incarnation(1); plan.members],
        generation: Generation(1),
        restoring: BTreeMap::new(),
        newest_epoch: Epoch(0),
        snapshots: BTreeMap::new(),
        committed: Vec::new(),
        unique: 0,
        reached: Reached::default(),
    };
    for member in 0..plan.first {
        world.start(member, Epoch(0), Captured { tokens: TOKENS, ..Captured::default() });
    }
    for (n, &step) in plan.steps.iter().enumerate() {
        world.step(step).and_then(|()| world.check()).map_err(|why| format!("step {n} {step:?}: {why}"))?;
    }
    world.finish().map_err(|why| format!("at the end: {why}"))?;
    world.begin(true);
    world.finish().map_err(|why| format!("after the last snapshot: {why}"))?;
    Ok(world.reached)
}

impl World<'_> {
    fn start(&mut self, member: usize, base: Epoch, from: Captured) {
        let mut process = Process::new(member, self.incarnations[member], self.generation, base, from);
        process.participant = process.participant.with_channel_state(self.plan.channel_state);
        if let Some(Broken::Rule(rule)) = self.broken {
            process.participant = process.participant.with_broken_rule(rule);
        }
        self.processes[member] = Some(process);
    }

    fn step(&mut self, Step { what, which, how }: Step) -> Checked {
        let plan = self.plan;
        let channel = plan.channels[usize::from(which) % plan.channels.len()];
        let member = usize::from(which) % plan.members;
        match what {
            0..=89 => self.deliver(which),
            90..=139 => (0..=how % 3).try_for_each(|_| self.send(channel, how)),
            140..=159 => self.obey(member, how),
            160..=179 => self.with(member, |process| process.participant.acknowledge()),
            180..=199 => self.connect(channel, false),
            200..=206 if plan.channel_state == ChannelState::Aligned => self.unalign(member),
            200..=206 => self.with(channel.from, |process| process.participant.retransmit(id(channel.to))),
            207..=213 => {
                self.network.lose(which);
                Ok(())
            }
            214..=220 => {
                self.network.repeat(which);
                Ok(())
            }
            221..=229 => self.disconnect(channel, how),
            230..=231 => self.connect(channel, true),
            232..=239 => {
                self.begin(false);
                Ok(())
            }
            240..=243 => {
                self.abort(how);
                Ok(())
            }
            244..=248 => {
                self.join(member);
                Ok(())
            }
            249 => {
                self.restore(which, how);
                Ok(())
            }
            250..=255 => self.go_over(member, how),
        }
    }

    /// Lets a member do something and carries out what it wants.
    fn with(&mut self, member: usize, act: impl FnOnce(&mut Process)) -> Checked {
        let Some(process) = self.processes[member].as_mut().filter(|process| !process.holds) else { return Ok(()) };
        act(process);
        self.settle(member)
    }

    /// Carries out what a member wants, then sends what waits.
    fn settle(&mut self, member: usize) -> Checked {
        self.drain(member)?;
        loop {
            let Some(process) = self.processes[member].as_mut().filter(|process| !process.holds) else { return Ok(()) };
            let is_ready =
                |to: usize| process.participant.is_open(id(to)) && process.participant.unacknowledged(id(to)).messages < WINDOW;
            let next = process.unsent.iter().find(|(to, waits)| !waits.is_empty() && is_ready(**to)).map(|(&to, _)| to);
            let Some(message) = next.and_then(|to| Some((to, process.unsent.get_mut(&to)?.pop_front()?))) else { return Ok(()) };
            process.send(message.0, message.1)?;
            self.reached.sent_again += 1;
            self.drain(member)?;
        }
    }

    fn send(&mut self, Channel { from, to, .. }: Channel, how: u16) -> Checked {
        let unique = self.unique + 1;
        self.unique = unique;
        let mut sent = Ok(());
        self.with(from, |process| {
            let waits = process.unsent.get(&to).is_some_and(|waits| !waits.is_empty());
            let full = process.participant.unacknowledged(id(to)).messages >= WINDOW;
            if waits || full {
                return;
            }
            let message = Message { unique, tokens: (u64::from(how) % 10).min(process.tokens) };
            match process.send(to, message) {
                Ok(true) => process.tokens -= message.tokens,
                Ok(false) => {}
                Err(why) => sent = Err(why),
            }
        })?;
        sent
    }

    /// A member goes over to recording for the newest epoch that its channels have reached, if some haven't.
    fn unalign(&mut self, member: usize) -> Checked {
        let newest = self.newest_epoch;
        let reached = &mut self.reached;
        let Some(process) = self.processes[member].as_mut().filter(|process| !process.holds) else { return Ok(()) };
        let epoch = process.participant.epoch().next();
        // Only what was begun in its generation, and isn't under way as a word.
        let begun = epoch <= newest && self.snapshots[&epoch].generation == process.generation();
        if begun && !process.participant.missing(epoch).is_empty() {
            reached.unaligned += 1;
            process.participant.unalign(epoch);
        }
        self.settle(member)
    }

    fn connect(&mut self, Channel { from, to, ordering }: Channel, again: bool) -> Checked {
        if self.processes[to].is_none() || self.network.is_up(from, to) != again {
            return Ok(());
        }
        let incarnation = self.incarnations[to];
        let network = &mut self.network;
        let reached = &mut self.reached;
        let Some(process) = self.processes[from].as_mut().filter(|process| !process.holds) else { return Ok(()) };
        network.connect(from, to);
        reached.reconnects += u64::from(process.opened_in.contains_key(&to));
        process.opened_in.entry(to).or_insert(process.participant.epoch());
        process.participant.open(id(to), incarnation, ordering);
        self.settle(from)
    }

    fn disconnect(&mut self, Channel { from, to, .. }: Channel, how: u16) -> Checked {
        if self.network.is_up(from, to) {
            self.network.disconnect(from, to, how);
            if let Some(process) = &mut self.processes[from] {
                process.participant.disconnected(id(to));
            }
        }
        Ok(())
    }

    fn obey(&mut self, member: usize, how: u16) -> Checked {
        let snapshots = &self.snapshots;
        let Some(process) = self.processes[member].as_mut().filter(|process| !process.holds) else { return Ok(()) };
        // A member that hasn't gone over yet isn't told of the new generation's snapshots.
        let generation = process.generation();
        let of = |word: &Word| match word {
            Word::Begin(epoch) | Word::Abort(epoch) => snapshots[epoch].generation,
        };
        if process.inbox.iter().any(|word| of(word) > generation) {
            return Ok(());
        }
        self.with(member, |process| {
            if process.inbox.is_empty() {
                return;
            }
            match process.inbox.swap_remove(usize::from(how) % process.inbox.len()) {
                Word::Begin(epoch) => process.participant.begin(epoch),
                Word::Abort(epoch) => {
                    process.participant.abort(epoch);
                    process.aborted.insert(epoch);
                    process.captured.remove(&epoch);
                }
            }
        })
    }

    /// The coordinator allocates an epoch. The words about it travel on their own, in any order.
    fn begin(&mut self, surely: bool) {
        let open = self.snapshots.values().filter(|snapshot| !snapshot.ended).count();
        if open >= 4 && !surely {
            return;
        }
        self.newest_epoch = self.newest_epoch.next();
        let epoch = self.newest_epoch;
        let members = (0..self.plan.members).filter(|&member| self.processes[member].is_some());
        let view: Vec<usize> = members.collect();
        for &member in &view {
            self.processes[member].as_mut().unwrap().inbox.push(Word::Begin(epoch));
        }
        self.snapshots.insert(epoch, Snapshot { generation: self.generation, view, parts: BTreeMap::new(), ended: false });
    }

    fn abort(&mut self, how: u16) {
        let open: Vec<Epoch> = self.snapshots.iter().filter(|(_, snapshot)| !snapshot.ended).map(|(&epoch, _)| epoch).collect();
        if let Some(&epoch) = open.get(usize::from(how) % open.len().max(1)) {
            self.end(epoch);
        }
    }

    fn end(&mut self, epoch: Epoch) {
        self.snapshots.get_mut(&epoch).unwrap().ended = true;
        self.reached.aborted += 1;
        self.processes.iter_mut().flatten().for_each(|process| process.inbox.push(Word::Abort(epoch)));
    }

    fn join(&mut self, member: usize) {
        if self.processes[member].is_none() {
            self.reached.joins += 1;
            self.start(member, self.newest_epoch, Captured { tokens: TOKENS, ..Captured::default() });
        }
    }

    /// Restores a committed snapshot into a new generation. The members go over one by one; meanwhile the others go on in the old one.
    fn restore(&mut self, which: u16, how: u16) {
        let Some(&epoch) = self.committed.get(usize::from(which) % self.committed.len().max(1)) else { return };
        if !self.restoring.is_empty() {
            return;
        }
        self.reached.restores += 1;
        let broken = match self.broken {
            Some(Broken::Restore(broken)) => Some(broken),
            Some(Broken::Rule(_)) | None => None,
        };
        let open: Vec<Epoch> = self.snapshots.iter().filter(|(_, snapshot)| !snapshot.ended).map(|(&epoch, _)| epoch).collect();
        open.into_iter().for_each(|epoch| self.end(epoch));
        self.generation = self.generation.next();
        for member in 0..self.plan.members {
            if self.processes[member].is_none() {
                continue;
            }
            if how >> member & 1 == 1 {
                self.incarnations[member] = self.incarnations[member].next();
            }
            let fresh = || Captured { tokens: TOKENS, ..Captured::default() };
            let parts = &self.snapshots[&epoch].parts;
            let of = |member: usize| parts.get(&member).map(|(_, captured)| captured.clone());
            let part = of(member).unwrap_or_else(fresh).restored(member, broken, of);
            self.restoring.insert(member, (self.newest_epoch, part));
        }
    }

    fn go_over(&mut self, member: usize, how: u16) -> Checked {
        let Some((base, part)) = self.restoring.remove(&member) else { return Ok(()) };
        for channel in self.plan.channels.iter().filter(|channel| channel.from == member || channel.to == member) {
            self.disconnect(*channel, how)?;
        }
        let inbox = std::mem::take(&mut self.processes[member].as_mut().unwrap().inbox);
        self.start(member, base, part);
        let process = self.processes[member].as_mut().unwrap();
        process.inbox = inbox;
        process.inbox.retain(|word| matches!(word, Word::Begin(epoch) | Word::Abort(epoch) if *epoch > base));
        Ok(())
    }

    fn deliver(&mut self, which: u16) -> Checked {
        let Some((place, frame)) = self.network.take(which) else { return Ok(()) };
        let to = frame.to.0 as usize;
        let Some(process) = self.processes[to].as_mut() else { return Err(format!("{frame:?} is for nobody")) };
        if process.holds {
            self.network.put_back(place, frame);
            return Ok(());
        }
        let fenced = (frame.generation != process.generation()
            || frame.to_incarnation != process.participant.identity().incarnation)
            .then(|| (process.participant.epoch(), format!("{:?}", process.participant)));
        let result = process.participant.receive(frame.clone());
        let fenced = fenced.filter(|_| self.broken.is_none());
        match result {
            Ok(()) => {}
            Err(ReceiveError::Held { .. }) => {
                self.reached.held += 1;
                self.network.hold(place, frame);
            }
            Err(ReceiveError::NewerGeneration { .. }) => {
                self.reached.newer_generation += 1;
                process.holds = true;
                self.network.put_back(place, frame);
            }
            Err(ReceiveError::OldGeneration { .. } | ReceiveError::WrongIncarnation { .. }) => {
                self.reached.fenced += 1;
                if let Some((_, before)) = fenced {
                    ensure!(format!("{:?}", process.participant) == before, "the fenced {frame:?} changed something");
                }
            }
            // What a participant without its fence doesn't take of the past isn't what is wrong with it.
            Err(_) if frame.generation < process.generation() => {}
            Err(error) => return Err(format!("{frame:?}: {error}")),
        }
        self.settle(to)
    }

    fn drain(&mut self, member: usize) -> Checked {
        let mut recorded: Option<(Vec<Epoch>, MemberId, u64)> = None;
        while let Some(output) = self.processes[member].as_mut().and_then(|process| process.participant.poll()) {
            let process = self.processes[member].as_mut().unwrap();
            match output {
                Output::Capture { first, last } => {
                    self.reached.epochs_cut_together += u64::from(last > first);
                    let now = Captured {
                        tokens: process.tokens,
                        sent: process.sent.clone(),
                        received: process.received.clone(),
                        recorded: BTreeMap::new(),
                        logged: BTreeMap::new(),
                        unsent: process.unsent.clone(),
                    };
                    for epoch in (first.0..=last.0).map(Epoch).filter(|epoch| !process.aborted.contains(epoch)) {
                        ensure!(process.captured.insert(epoch, now.clone()).is_none(), "{member} captured {epoch} twice");
                    }
                }
                Output::Record { epochs, from, seq, payload } => {
                    ensure!(!epochs.is_empty(), "{member} records for nothing");
                    for epoch in &epochs {
                        let captured = process.captured.get_mut(epoch).ok_or(format!("{member} records for {epoch}, not cut"))?;
                        let twice = captured.recorded.insert((from.0 as usize, seq.0), Message::decode(&payload));
                        ensure!(twice.is_none(), "{member} recorded {from} {seq} twice for {epoch}");
                    }
                    recorded = Some((epochs, from, seq.0));
                    self.reached.recorded += 1;
                }
                Output::Resume { from } => self.network.resume(from.0 as usize, member),
                Output::Log { epochs, to, messages } => {
                    ensure!(!epochs.is_empty() && !messages.is_empty(), "{member} logs nothing, or for nothing");
                    self.reached.logged += messages.len() as u64;
                    for epoch in &epochs {
                        let captured = process.captured.get_mut(epoch).ok_or(format!("{member} logs for {epoch}, not cut"))?;
                        for (seq, payload) in &messages {
                            let twice = captured.logged.insert((to.0 as usize, seq.0), Message::decode(payload));
                            ensure!(twice.is_none(), "{member} logged {to} {seq} twice for {epoch}");
                        }
                    }
                }
                Output::Deliver { from, seq, payload } => {
                    if let Some((_, record_from, record_seq)) = recorded.take() {
                        ensure!((record_from, record_seq) == (from, seq.0), "a record stands before another message");
                    }
                    self.delivered(from.0 as usize, member, seq.0, Message::decode(&payload))?;
                }
                Output::Transmit { to, frame } => {
                    ensure!(to == frame.to, "{frame:?} goes to {to}");
                    self.transmitted(member, &frame)?;
                    self.network.transmit(frame)?;
                }
                Output::Sealed { epoch, counters } => self.sealed(member, epoch, *counters)?,
                Output::Violated { from, epochs, .. } => return Err(format!("{from} -> {member}: violated in {epochs:?}")),
                Output::Replaced { epochs, .. } => {
                    process.aborted.extend(epochs);
                    let old = process.generation() < self.generation;
                    ensure!(old, "{member} was told of a new incarnation without a restore");
                }
                Output::NewerGeneration { generation } => {
                    ensure!(generation > process.generation(), "generation {generation} isn't newer");
                }
                Output::Opened { to } => ensure!(process.participant.is_open(to), "{member} -> {to} isn't open"),
                Output::Acknowledged { .. } => {}
            }
        }
        Ok(())
    }

    /// Lets everything arrive, and checks that then everything is there.
    fn finish(&mut self) -> Checked {
        for member in 0..self.plan.members {
            self.go_over(member, 0xffff)?;
        }
        for _ in 0..8 {
            for channel in &self.plan.channels {
                self.connect(*channel, false)?;
            }
            for member in 0..self.plan.members {
                while self.processes[member].as_ref().is_some_and(|process| !process.inbox.is_empty()) {
                    self.obey(member, 0)?;
                }
            }
            let mut budget = 100_000;
            while self.network.moves() {
                self.deliver(0)?;
                self.check()?;
                budget -= 1;
                ensure!(budget > 0, "the network never falls silent");
            }
            for channel in &self.plan.channels {
                self.with(channel.from, |process| process.participant.retransmit(id(channel.to)))?;
            }
            for member in 0..self.plan.members {
                self.with(member, |process| process.participant.acknowledge())?;
            }
        }
        self.check_silence()
    }
}

pub(super) fn id(member: usize) -> MemberId {
    MemberId(member as u32)
}
