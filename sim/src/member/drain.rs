//! Frames, and carrying out what the participant asks for, strictly in order.

use bytes::BytesMut;
use stillframe_protocol::{
    ChannelOrdering, ChannelState, Epoch, Frame, FrameBody, MemberId, MemberName, Output, PartCounters, ReceiveError,
    SealedCounters, Seq, SnapshotId,
};

use super::{LinkState, Live, Process, Recording, Source, Stage, Waiting};
use crate::{
    Checked,
    archive::Content,
    event::Event,
    ledger::Transfer,
    network::Way,
    plan::{MS, Plan},
    words::{PartReport, decode, encode},
    world::World,
};

/// The most messages that are sent ahead of their acknowledgement.
const WINDOW: u64 = 12;

/// How long a late datagram takes at most: it may arrive in another generation than it was sent in.
const LATE: u64 = 2_500 * MS;

/// The most that waits to be sent to one member.
const OUTBOX: usize = 30;

impl World {
    /// A frame arrives, if it does.
    pub(crate) fn frame(&mut self, number: u64, process: &mut Process, waiting: Waiting) -> Checked {
        let Waiting { source, via, frame } = waiting;
        if let Some((connection, way, ordinal)) = via
            && !self.network.connections.get(&connection).is_some_and(|c| c.carries(way, ordinal))
        {
            return Ok(());
        }
        if process.holds || process.live.is_none() {
            // While it holds still, a member takes nothing in. Datagrams get lost.
            if via.is_some() && process.waiting.len() < 1_000 {
                process.waiting.push_back(Waiting { source, via, frame });
            }
            return Ok(());
        }
        let Some(Waiting { source, via, frame }) = Self::waits_behind(process, Waiting { source, via, frame }) else {
            return Ok(());
        };
        let Some(live) = &mut process.live else { return Ok(()) };
        let from = frame.from;
        if process.left.get(&from).is_some_and(|left| frame.from_incarnation <= *left) {
            // What one that left says is of the past, and nobody waits for it.
            return Ok(());
        }
        let answers = matches!(frame.body, FrameBody::Ack { .. } | FrameBody::Accept { .. });
        match via {
            // What isn't known was replaced; what it still brings is repeated on the new one.
            Some((connection, Way::There, _)) if live.incoming.get(&from) != Some(&Source::Connection(connection)) => {
                return Ok(());
            }
            Some((connection, Way::Back, _)) => {
                let is_up = |link: &super::Link| link.state == LinkState::Up { connection };
                if !live.outgoing.get(&from).is_some_and(is_up) {
                    return Ok(());
                }
            }
            Some((_, Way::There, _)) => {}
            None if !answers => drop(live.incoming.insert(from, Source::Process(source))),
            None => {}
        }
        let me = live.participant.identity();
        let stale =
            frame.generation < me.generation || (frame.generation == me.generation && frame.to_incarnation != me.incarnation);
        let before = stale.then(|| format!("{:?}", live.participant));
        let (generation, is_fifo) = (frame.generation, via.is_some());
        let kept = (self.plan.channel_state == ChannelState::Aligned).then(|| frame.clone());
        let result = live.participant.receive(frame);
        if let (Err(ReceiveError::Held { .. }), Some(frame), Some((connection, ..))) = (&result, kept, via) {
            self.stats.held_frames += 1;
            live.held.entry(connection).or_default().push_front(Waiting { source, via, frame });
            return self.settle(number, process);
        }
        if let Err(error) = result {
            self.stats.refused_frames += 1;
            match error {
                ReceiveError::OldGeneration { .. }
                | ReceiveError::WrongIncarnation { .. }
                | ReceiveError::NewerGeneration { .. } => {
                    self.stats.fenced_frames += 1;
                }
                ReceiveError::NotForMe { .. } | ReceiveError::UnknownChannel { .. } | ReceiveError::TooScattered { .. } => {}
                ReceiveError::OrderingChanged { .. }
                | ReceiveError::NotSent { .. }
                | ReceiveError::NotFifo { .. }
                | ReceiveError::Held { .. }
                | ReceiveError::Fifo { .. }
                | ReceiveError::MarkerContradicts { .. } => {
                    return Err(format!(
                        "p{}#{number} in generation {}: a frame of generation {generation} from {from}: {error}",
                        process.slot, me.generation
                    ));
                }
            }
            if is_fifo && !answers {
                live.to_break.push(from);
            }
        } else if stale {
            return Err(format!("p{}#{number} took a frame of generation {generation} from {from}: it is {me:?}", process.slot));
        }
        if before.is_some_and(|before| before != format!("{:?}", live.participant)) {
            return Err(format!("p{}#{number}: a fenced frame of {from} changed something", process.slot));
        }
        self.settle(number, process)?;
        let Some(live) = &mut process.live else { return Ok(()) };
        for peer in std::mem::take(&mut live.to_break) {
            if let Some(Source::Connection(connection)) = live.incoming.remove(&peer) {
                self.break_connection(connection);
            }
        }
        if std::mem::take(&mut live.newer) {
            self.note(format_args!("p{}#{number} holds: a peer is in a newer generation", process.slot));
            process.holds = true;
        }
        Ok(())
    }

    /// Takes in what came while it held still.
    pub(super) fn go_on(&mut self, number: u64, process: &mut Process) -> Checked {
        let mut waiting = std::mem::take(&mut process.waiting);
        while let Some(one) = waiting.pop_front() {
            if process.holds {
                waiting.push_front(one);
                break;
            }
            self.frame(number, process, one)?;
        }
        waiting.append(&mut process.waiting);
        process.waiting = waiting;
        Ok(())
    }

    /// Carries out everything that the participant asks for, then sends what can be sent.
    pub(super) fn settle(&mut self, number: u64, process: &mut Process) -> Checked {
        loop {
            self.drain(number, process)?;
            // Only now: had a cut been among the outputs, what is in an outbox belongs to the capture.
            let Some(live) = &mut process.live else { return Ok(()) };
            if !pump(live, &self.plan)? {
                return Ok(());
            }
        }
    }

    fn drain(&mut self, number: u64, process: &mut Process) -> Checked {
        while let Some(output) = process.live.as_mut().and_then(|live| live.participant.poll()) {
            let Some(live) = &mut process.live else { return Ok(()) };
            let slot = process.slot;
            match output {
                Output::Deliver { from, seq, payload } => self.deliver(number, process, from, seq, &payload)?,
                Output::Transmit { to, frame } => self.transmit(number, process, to, recoded(frame)?),
                Output::Acknowledged { .. } | Output::Opened { .. } => {}
                Output::Capture { first, last } => {
                    self.trace.line(self.now, format_args!("p{slot}#{number} cuts {first} to {last}"));
                    let unsent = live.outbox.iter().flat_map(|(to, waits)| waits.iter().map(|transfer| (*to, *transfer)));
                    let content = Content::new(live.participant.identity().member, live.ledger.clone(), unsent.collect());
                    for epoch in (first.0..=last.0).map(Epoch) {
                        let (stage, snapshot) = (Stage::Recording(content.clone()), live.begun.remove(&epoch));
                        if live.recordings.insert(epoch, Recording { snapshot, stage }).is_some() {
                            return Err(format!("p{slot}#{number} captured epoch {epoch} twice"));
                        }
                    }
                }
                Output::Record { epochs, from, seq, payload } => {
                    let transfer = decode(&payload)?;
                    self.stats.recorded += 1;
                    if self.plan.channel_state == ChannelState::Aligned && self.plan.aligned_timeout_us.is_none() {
                        return Err(format!("p{slot}#{number} records a message of {from}: its channels are aligned"));
                    }
                    for epoch in epochs {
                        if let Some(Recording { stage: Stage::Recording(content), .. }) = live.recordings.get_mut(&epoch) {
                            content.recorded.push((from, seq, transfer));
                        }
                    }
                }
                Output::Sealed { epoch, counters } => self.sealed(number, process, epoch, &counters)?,
                Output::Violated { from, epochs, expected, found } => {
                    return Err(format!(
                        "p{slot}#{number}: the channel from {from} is violated in {epochs:?}: expected {expected}, found {found}"
                    ));
                }
                Output::Replaced { from, epochs, .. } => {
                    // Another process: what is exchanged with it is counted anew.
                    live.ledger.forget(from);
                    live.outbox.remove(&from);
                    for epoch in epochs {
                        let stage = Stage::Failed("a peer was replaced".to_owned());
                        let snapshot = live.recordings.get(&epoch).and_then(|recording| recording.snapshot);
                        live.recordings.insert(epoch, Recording { snapshot, stage });
                    }
                }
                Output::NewerGeneration { .. } => live.newer = true,
                Output::Log { epochs, to, messages } => {
                    self.stats.logged += messages.len() as u64;
                    for (seq, payload) in messages {
                        let transfer = decode(&payload)?;
                        for epoch in &epochs {
                            if let Some(Recording { stage: Stage::Recording(content), .. }) = live.recordings.get_mut(epoch) {
                                content.logged.push((to, seq, transfer));
                            }
                        }
                    }
                }
                Output::Resume { from } => self.resume_soon(number, from),
            }
        }
        Ok(())
    }

    fn deliver(&mut self, number: u64, process: &mut Process, from: MemberId, seq: Seq, payload: &[u8]) -> Checked {
        let slot = process.slot;
        let transfer = decode(payload)?;
        let ordering = self.ordering_from(from, slot);
        let numbers_stay = self.plan.numbers_stay(ordering);
        let Some(live) = &mut process.live else { return Ok(()) };
        if numbers_stay && transfer.number != seq.0 {
            return Err(format!("p{slot}#{number}: transfer {} of {from} came as message {seq}", transfer.number));
        }
        live.ledger.take(from, transfer, ordering).map_err(|why| format!("p{slot}#{number}: {why}"))?;
        self.stats.delivered += 1;
        self.trace.line(self.now, format_args!("p{slot}#{number} takes {seq} of {from}"));
        if !self.quiet && self.rng.u8(..) < 60 {
            self.give(process)?;
        }
        Ok(())
    }

    /// The application sends something to somebody.
    pub(crate) fn give(&mut self, process: &mut Process) -> Checked {
        let slot = process.slot;
        let Some(live) = process.live.as_mut().filter(|_| !process.holds) else { return Ok(()) };
        let targets: Vec<MemberId> = process
            .peers
            .values()
            .filter(|peer| !peer.leaving && self.plan.channels.iter().any(|c| (c.from, c.to) == (slot, peer.slot)))
            .map(|peer| peer.member)
            .collect();
        if targets.is_empty() || live.silent {
            return Ok(());
        }
        let to = targets[self.rng.usize(0..targets.len())];
        let waits = live.outbox.entry(to).or_default();
        if waits.len() >= OUTBOX {
            return Ok(());
        }
        let amount = self.rng.u64(0..=20);
        waits.push_back(live.ledger.give(to, amount));
        // What can be sent goes at once, in the middle of whatever is being carried out: so do applications.
        pump_to(live, to, &self.plan).map(drop)
    }

    /// The application's time to send has come.
    pub(crate) fn send(&mut self, number: u64, process: &mut Process) -> Checked {
        if self.quiet {
            return Ok(());
        }
        let mean = self.plan.send_every_us * process.slowness;
        let delay = self.rng.u64(mean / 3..=mean * 5 / 3);
        self.after(delay, Event::Send { process: number });
        for _ in 0..self.rng.u8(0..=3) {
            self.give(process)?;
        }
        self.settle(number, process)
    }

    pub(crate) fn acknowledge(&mut self, number: u64, process: &mut Process) -> Checked {
        let delay = self.rng.u64(15 * MS..=60 * MS) * process.slowness;
        self.after(delay, Event::Acknowledge { process: number });
        match process.live.as_mut().filter(|_| !process.holds) {
            Some(live) => live.participant.acknowledge(),
            None => return Ok(()),
        }
        self.settle(number, process)
    }

    pub(crate) fn retransmit(&mut self, number: u64, process: &mut Process) -> Checked {
        let delay = self.rng.u64(100 * MS..=200 * MS) * process.slowness;
        self.after(delay, Event::Retransmit { process: number });
        let Some(live) = process.live.as_mut().filter(|_| !process.holds) else { return Ok(()) };
        let unordered = live.outgoing.iter().filter(|(_, link)| link.ordering == ChannelOrdering::Unordered);
        let peers: Vec<MemberId> = unordered.map(|(peer, _)| *peer).collect();
        peers.into_iter().for_each(|peer| live.participant.retransmit(peer));
        self.settle(number, process)
    }

    fn transmit(&mut self, number: u64, process: &Process, to: MemberId, frame: Frame) {
        let Some(live) = &process.live else { return };
        let answers = matches!(frame.body, FrameBody::Ack { .. } | FrameBody::Accept { .. });
        let (target, way) = if answers {
            let source = live.incoming.get(&to).copied();
            (source, Way::Back)
        } else {
            let source = live.outgoing.get(&to).and_then(|link| match link.state {
                LinkState::Up { connection } => Some(Source::Connection(connection)),
                LinkState::Datagrams { process } => Some(Source::Process(process)),
                LinkState::Dialing { .. } | LinkState::Down => None,
            });
            (source, Way::There)
        };
        let delay = self.rng.u64(MS / 5..=self.plan.frame_delay_us);
        match target {
            None => {}
            Some(Source::Connection(connection)) => {
                let now = self.now;
                let Some(known) = self.network.connections.get_mut(&connection).filter(|c| c.is_up()) else { return };
                let (at, ordinal) = known.give(way, now, delay);
                let process = if way == Way::There { known.to } else { known.from };
                let via = Some((connection, way, ordinal));
                self.at(at, Event::Frame { process, source: number, via, frame: Box::new(frame) });
            }
            Some(Source::Process(target)) => self.datagram(number, target, delay, frame),
        }
    }

    fn datagram(&mut self, number: u64, target: u64, delay: u64, frame: Frame) {
        if !self.reach(number, self.at_address(target)) {
            return;
        }
        let draw = if self.healed { 1_000 } else { self.rng.u32(0..1_000) };
        let (lost, repeated) = (self.plan.frames_lost, self.plan.frames_lost + self.plan.frames_repeated);
        if draw < lost {
            self.stats.fault("frame lost");
            return;
        }
        if draw < repeated {
            self.stats.fault("frame repeated");
            let again = self.rng.u64(MS..=LATE);
            self.after(again, Event::Frame { process: target, source: number, via: None, frame: Box::new(frame.clone()) });
        }
        let late = !self.healed && self.rng.u32(0..1_000) < self.plan.frames_late;
        let delay = if late { self.rng.u64(MS..=LATE) } else { delay };
        if late {
            self.stats.fault("frame late");
        }
        self.after(delay, Event::Frame { process: target, source: number, via: None, frame: Box::new(frame) });
    }

    fn sealed(&mut self, number: u64, process: &mut Process, epoch: Epoch, counters: &SealedCounters) -> Checked {
        let slots = &self.slots_by_id;
        let names = &self.names;
        let name = |id: MemberId| -> Option<MemberName> { slots.get(&id).and_then(|slot| names.get(*slot)).cloned() };
        let Some(live) = &mut process.live else { return Ok(()) };
        let me = live.participant.identity();
        let counters = PartCounters::from_sealed(names[process.slot].clone(), me.incarnation, me.generation, counters, name);
        let Some(recording) = live.recordings.get_mut(&epoch) else { return Ok(()) };
        let counters = counters.ok_or_else(|| format!("p{}#{number}: a part names members that nobody knows", process.slot))?;
        let stage = std::mem::replace(&mut recording.stage, Stage::Done);
        let Stage::Recording(content) = stage else {
            return Err(format!("p{}#{number} sealed epoch {epoch}, which it doesn't record: {stage:?}", process.slot));
        };
        let snapshot = SnapshotId(uuid::Uuid::nil());
        let part = PartReport { snapshot, epoch, generation: me.generation, counters, content };
        recording.stage = Stage::Sealed(Box::new(part));
        self.advance(number, process, epoch);
        Ok(())
    }
}

/// The frame as it comes out of its bytes.
fn recoded(frame: Frame) -> Result<Frame, String> {
    let mut bytes = BytesMut::with_capacity(frame.encoded_len());
    frame.encode(&mut bytes);
    let found = Frame::decode(bytes.freeze()).map_err(|error| format!("{frame:?} can't be read: {error}"))?;
    if found == frame { Ok(found) } else { Err(format!("{frame:?} was written, and {found:?} read")) }
}

/// Sends what waits, as far as it goes. True if anything was sent.
fn pump(live: &mut Live, plan: &Plan) -> Result<bool, String> {
    let waiting: Vec<MemberId> = live.outbox.iter().filter(|(_, waits)| !waits.is_empty()).map(|(to, _)| *to).collect();
    let mut any = false;
    for to in waiting {
        any |= pump_to(live, to, plan)?;
    }
    Ok(any)
}

fn pump_to(live: &mut Live, to: MemberId, plan: &Plan) -> Result<bool, String> {
    let mut any = false;
    let numbers_stay = live.outgoing.get(&to).is_some_and(|link| plan.numbers_stay(link.ordering));
    let Some(waits) = live.outbox.get_mut(&to) else { return Ok(false) };
    while live.participant.is_open(to) && live.participant.unacknowledged(to).messages < WINDOW {
        let Some(transfer) = waits.pop_front() else { break };
        let Transfer { number, .. } = transfer;
        let seq = live.participant.send(to, encode(transfer)).map_err(|error| error.to_string())?;
        if numbers_stay && seq.0 != number {
            return Err(format!("transfer {number} to {to} was given number {seq}"));
        }
        any = true;
    }
    Ok(any)
}
