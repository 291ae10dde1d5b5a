//! What a member does, and what is checked of it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use stillframe_protocol::{
    ChannelOrdering, ChannelState, Epoch, Frame, FrameBody, Generation, Identity, Incarnation, MemberId, Output, Participant,
    ReceiveError, SealedCounters, Seq, SeqRanges, participant::BrokenRule,
};

use super::{
    actions::Cluster,
    bounds::Sight,
    state::{Captured, Member, Peer, Phase, Promise, Snapshot, State, Wrong, newest},
};

/// The number of a member in frames.
pub fn id(member: usize) -> MemberId {
    MemberId(member as u32)
}

/// What a message says: of which history it is, and the how manyeth of its application to this peer.
fn payload(from: Identity, to: usize, to_incarnation: Incarnation, number: u64) -> Bytes {
    let Identity { member, incarnation, generation } = from;
    let words = [u64::from(member.0), incarnation.0, generation.0, to as u64, to_incarnation.0, number];
    words.map(|word| word as u8).to_vec().into()
}

/// The how manyeth a message is. As long as nothing was put back, that is its number on the channel.
fn number_of(found: &Bytes, generation: Generation, seq: Seq) -> u64 {
    if generation == Generation(1) { seq.0 } else { found.last().map_or(0, |number| u64::from(*number)) }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was taken, or dropped.
    Taken,
    /// It has to be brought again later.
    Held,
}

impl Member {
    /// Becomes acquainted with an incarnation of a peer. What was exchanged with an older one was another channel's.
    fn meet(&mut self, peer: usize, incarnation: Incarnation) {
        self.seen.sent.entry((peer, incarnation)).or_default();
        self.seen.received.entry((peer, incarnation)).or_default();
    }
}

impl Cluster {
    /// A member that begins with what `seen` says.
    pub fn begin_member(
        &self,
        member: usize,
        incarnation: Incarnation,
        generation: Generation,
        base: Epoch,
        seen: Captured,
    ) -> Member {
        let identity = Identity { member: id(member), incarnation, generation };
        let counters = stillframe_protocol::ChannelCounters {
            sent: seen.sent.iter().map(|(&(to, _), &sent)| (id(to), sent)).collect(),
            received: seen.received.iter().map(|(&(from, _), received)| (id(from), received.clone())).collect(),
        };
        let mut participant = Participant::restored(identity, base, counters).with_channel_state(self.bounds.channel_state);
        if let Some(rule) = self.bounds.broken {
            participant = participant.with_broken_rule(rule);
        }
        Member {
            participant,
            base,
            seen,
            captured: BTreeMap::new(),
            aborted: Default::default(),
            holds: false,
            told: base,
            unaligned: false,
        }
    }

    /// Lets a member do something and carries out what it wants.
    pub fn with(&self, state: &mut State, member: usize, act: impl FnOnce(&mut Member)) -> Result<(), Wrong> {
        if state.members[member].holds {
            return Ok(());
        }
        act(Arc::make_mut(&mut state.members[member]));
        self.settle(state, member)
    }

    /// Carries out what a member wants, and sends what waits.
    fn settle(&self, state: &mut State, member: usize) -> Result<(), Wrong> {
        self.drain(state, member)?;
        loop {
            let process = &state.members[member];
            let is_ready = |peer: &Peer| !process.holds && process.participant.is_open(id(peer.0));
            let Some(peer) = process.seen.unsent.keys().copied().find(is_ready) else { return Ok(()) };
            let process = Arc::make_mut(&mut state.members[member]);
            for number in process.seen.unsent.remove(&peer).unwrap_or_default() {
                self.transmit(process, peer, number)?;
            }
            self.drain(state, member)?;
        }
    }

    /// Sends a message, if the channel is open. False if it isn't.
    fn transmit(&self, process: &mut Member, (to, incarnation): Peer, number: u64) -> Result<bool, Wrong> {
        let payload = payload(process.participant.identity(), to, incarnation, number);
        let Ok(seq) = process.participant.send(id(to), payload) else { return Ok(false) };
        let sent = process.seen.sent.entry((to, incarnation)).or_default();
        *sent += 1;
        if seq.0 != *sent {
            return Err(Promise::Delivery.broken(format!("-> {to}: number {seq} for message {sent}")));
        }
        Ok(true)
    }

    pub fn open(&self, state: &mut State, channel: usize) -> Result<(), Wrong> {
        let ends = self.bounds.channels[channel];
        let incarnation = state.incarnations[ends.to];
        Arc::make_mut(&mut state.network).links[channel].up = true;
        self.with(state, ends.from, |process| process.participant.open(id(ends.to), incarnation, ends.ordering))?;
        Arc::make_mut(&mut state.members[ends.from]).meet(ends.to, incarnation);
        Ok(())
    }

    pub fn disconnect(&self, state: &mut State, channel: usize) {
        let ends = self.bounds.channels[channel];
        if state.network.links[channel].up {
            Arc::make_mut(&mut state.network).disconnect(channel);
            Arc::make_mut(&mut state.members[ends.from]).participant.disconnected(id(ends.to));
        }
    }

    pub fn send(&self, state: &mut State, channel: usize) -> Result<(), Wrong> {
        let ends = self.bounds.channels[channel];
        let process = Arc::make_mut(&mut state.members[ends.from]);
        let Some((incarnation, _)) = newest(&process.seen.sent).remove(&ends.to) else { return Ok(()) };
        let peer = (ends.to, incarnation);
        let number = process.seen.given.get(&peer).copied().unwrap_or(0) + 1;
        if self.transmit(process, peer, number)? {
            process.seen.given.insert(peer, number);
            state.left.messages[channel] -= 1;
        }
        self.settle(state, ends.from)
    }

    /// A frame arrives where it is for, or somewhere else.
    pub fn arrive(&self, state: &mut State, frame: Option<Frame>, misrouted: Option<usize>) -> Result<Arrival, Wrong> {
        let Some(frame) = frame else { return Ok(Arrival::Taken) };
        let to = misrouted.unwrap_or(frame.to.0 as usize);
        if state.members[to].holds {
            return Ok(Arrival::Taken);
        }
        let process = Arc::make_mut(&mut state.members[to]);
        let me = process.participant.identity();
        let foreign = (frame.generation, frame.to, frame.to_incarnation) != (me.generation, me.member, me.incarnation);
        let before = process.participant.clone();
        let result = process.participant.receive(frame.clone());
        let unchanged = process.participant == before;
        self.note_arrival(&before, &frame, process);
        match result {
            // A frame that is for somebody else has to do harm, or the broken rule isn't needed. Only that of a newer generation can do none: the answer to
            // it is fenced in its turn, so that the channel is never used.
            Ok(()) if foreign && self.bounds.broken.is_none_or(|rule| rule == BrokenRule::NewerGenerationAccepted) => {
                return Err(Promise::Fence.broken(format!("{to} took {frame:?}")));
            }
            Ok(()) | Err(ReceiveError::Held { .. }) => {}
            Err(ReceiveError::NewerGeneration { .. }) => {
                self.seen.note(Sight::HeldByNewerGeneration);
                process.holds = true;
            }
            Err(
                ReceiveError::OldGeneration { .. }
                | ReceiveError::WrongIncarnation { .. }
                | ReceiveError::NotForMe { .. }
                | ReceiveError::UnknownChannel { .. }
                | ReceiveError::OrderingChanged { .. }
                | ReceiveError::NotFifo { .. }
                | ReceiveError::NotSent { .. },
            ) => {
                if !unchanged {
                    return Err(Promise::Fence.broken(format!("{to} was changed by the fenced {frame:?}")));
                }
            }
            Err(
                error @ (ReceiveError::Fifo { .. } | ReceiveError::MarkerContradicts { .. } | ReceiveError::TooScattered { .. }),
            ) => {
                let lied = state.left.lies < self.bounds.lies;
                if !lied && !foreign {
                    return Err(Promise::Transport.broken(error.to_string()));
                }
            }
        }
        match &result {
            Err(ReceiveError::OldGeneration { .. }) => self.seen.note(Sight::OldGenerationFenced),
            Err(ReceiveError::WrongIncarnation { .. }) => self.seen.note(Sight::OldIncarnationFenced),
            Err(ReceiveError::NotForMe { .. }) => self.seen.note(Sight::ForeignMemberFenced),
            Err(ReceiveError::Fifo { .. }) => self.seen.note(Sight::FifoViolated),
            Err(ReceiveError::Held { .. }) => self.seen.note(Sight::HeldForAlignment),
            _ => {}
        }
        let held = matches!(result, Err(ReceiveError::Held { .. }));
        let opened = result.is_ok() && matches!(frame.body, FrameBody::Open { .. });
        self.settle(state, to)?;
        if opened {
            Arc::make_mut(&mut state.members[to]).meet(frame.from.0 as usize, frame.from_incarnation);
        }
        Ok(if held { Arrival::Held } else { Arrival::Taken })
    }

    /// Remembers that something interesting happens.
    fn note_arrival(&self, before: &Participant, frame: &Frame, process: &Member) {
        let cuts = process.participant.epoch() > before.epoch();
        let sight = match &frame.body {
            FrameBody::Data { .. } if cuts => Some(Sight::CutByMessage),
            FrameBody::Ack { .. } if cuts => Some(Sight::CutByAcknowledgement),
            FrameBody::Open { .. } | FrameBody::Accept { .. } if cuts => Some(Sight::CutByHandshake),
            FrameBody::Data { .. } if frame.markers.last().is_some_and(|marker| marker.epoch > frame.epoch) => {
                Some(Sight::RetransmittedAfterCut)
            }
            FrameBody::Marker
                if frame.markers.iter().any(|marker| {
                    before
                        .missing(marker.epoch)
                        .iter()
                        .any(|channel| channel.from == frame.from && channel.received < marker.sent)
                }) =>
            {
                Some(Sight::MarkerOvertook)
            }
            _ => None,
        };
        sight.into_iter().for_each(|sight| self.seen.note(sight));
    }

    pub fn drain(&self, state: &mut State, member: usize) -> Result<(), Wrong> {
        while let Some(output) = Arc::make_mut(&mut state.members[member]).participant.poll() {
            let process = Arc::make_mut(&mut state.members[member]);
            match output {
                Output::Capture { first, last } => {
                    if last > first {
                        self.seen.note(Sight::Leapt);
                    }
                    for epoch in (first.0..=last.0).map(Epoch).filter(|epoch| !process.aborted.contains(epoch)) {
                        if process.captured.insert(epoch, process.seen.clone()).is_some() {
                            return Err(Promise::Part.broken(format!("{member} captured {epoch} twice")));
                        }
                    }
                }
                Output::Record { epochs, from, seq, .. } => {
                    self.seen.note(Sight::Recorded);
                    if self.bounds.channel_state == ChannelState::Aligned && !process.unaligned {
                        return Err(Promise::Aligned.broken(format!("{member} records {seq}, but is aligned")));
                    }
                    let peer = newest(&process.seen.received).get(&(from.0 as usize)).map(|peer| (from.0 as usize, peer.0));
                    for epoch in epochs {
                        let recorded = process
                            .captured
                            .get_mut(&epoch)
                            .and_then(|captured| Some(captured.recorded.entry(peer?).or_default().insert(seq)));
                        if recorded != Some(true) {
                            return Err(Promise::Part.broken(format!("{member} records {seq} for {epoch}: {recorded:?}")));
                        }
                    }
                }
                Output::Resume { from } => {
                    let network = Arc::make_mut(&mut state.network);
                    network.resume(&self.bounds.channels, from.0 as usize, member);
                }
                Output::Log { epochs, to, messages } => {
                    self.seen.note(Sight::Logged);
                    self.logged(process, &epochs, to, &messages)?;
                }
                Output::Deliver { from, seq, payload } => self.delivered(process, from, seq, &payload)?,
                Output::Transmit { frame, .. } => {
                    if let Some(marker) = frame.markers.iter().find(|marker| process.aborted.contains(&marker.epoch)) {
                        return Err(Promise::Aborted.broken(format!("{member} transmits the aborted {marker:?}")));
                    }
                    let network = Arc::make_mut(&mut state.network);
                    network.transmit(&self.bounds.channels, frame, self.bounds.datagrams_stay);
                }
                Output::Sealed { epoch, counters } => self.sealed(state, member, epoch, *counters)?,
                Output::Violated { epochs, .. } => self.given_up(state, member, &epochs),
                Output::Replaced { from, incarnation, epochs } => {
                    if !epochs.is_empty() {
                        self.seen.note(Sight::ReplacedPeerAborted);
                    }
                    process.meet(from.0 as usize, incarnation);
                    self.given_up(state, member, &epochs);
                }
                Output::Opened { .. } | Output::Acknowledged { .. } | Output::NewerGeneration { .. } => {}
            }
        }
        let process = &state.members[member];
        if let Some(epoch) = process.participant.open_epochs().find(|epoch| process.aborted.contains(epoch)) {
            return Err(Promise::Aborted.broken(format!("{member} still records the aborted {epoch}")));
        }
        if process.participant.open_epochs().nth(1).is_some() {
            self.seen.note(Sight::TwoEpochsOpen);
        }
        Ok(())
    }

    /// A member can't complete its part of these epochs, and says so.
    fn given_up(&self, state: &mut State, member: usize, epochs: &[Epoch]) {
        let process = Arc::make_mut(&mut state.members[member]);
        for epoch in epochs {
            process.captured.remove(epoch);
            process.aborted.insert(*epoch);
        }
        let identity = process.participant.identity();
        for &epoch in epochs {
            let theirs = |snapshot: &Snapshot| {
                (snapshot.phase, snapshot.generation, snapshot.view[member])
                    == (Phase::Recording, identity.generation, identity.incarnation)
            };
            if state.snapshots.get(&epoch).is_some_and(theirs) {
                self.end(state, epoch);
            }
        }
    }

    /// Each message arrives once, as it was sent, and in order on a fifo channel.
    fn delivered(&self, process: &mut Member, from: MemberId, seq: Seq, found: &Bytes) -> Result<(), Wrong> {
        let Identity { member: me, incarnation, generation } = process.participant.identity();
        let (sender, receiver) = (from.0 as usize, me.0 as usize);
        let ends = self.bounds.channels.iter().find(|channel| (channel.from, channel.to) == (sender, receiver));
        let peer = newest(&process.seen.received).get(&sender).map(|peer| peer.0);
        let (Some(ends), Some(peer)) = (ends, peer) else {
            return Err(Promise::Delivery.broken(format!("{from} -> {me}: {seq} came on a channel that isn't open")));
        };
        let received = process.seen.received.entry((sender, peer)).or_default();
        let taken = process.seen.taken.entry((sender, peer)).or_default();
        let number = number_of(found, generation, seq);
        let sent = payload(Identity { member: from, incarnation: peer, generation }, receiver, incarnation, number);
        if *found != sent {
            return Err(Promise::Delivery.broken(format!("{ends}: {found:?} came as {seq}: expected {sent:?}")));
        }
        let in_order = seq.0 == received.contiguous() + 1 && number == taken.contiguous() + 1;
        if ends.ordering == ChannelOrdering::Fifo && !in_order {
            return Err(Promise::Delivery.broken(format!("{ends}: {number} came as {seq} after {taken:?}, {received:?}")));
        }
        if !received.insert(seq) || !taken.insert(Seq(number)) {
            return Err(Promise::Delivery.broken(format!("{ends}: {seq} came twice")));
        }
        Ok(())
    }

    /// What is logged was sent, and is what was sent.
    fn logged(&self, process: &mut Member, epochs: &[Epoch], to: MemberId, messages: &[(Seq, Bytes)]) -> Result<(), Wrong> {
        let (identity, receiver) = (process.participant.identity(), to.0 as usize);
        for epoch in epochs {
            let Some(captured) = process.captured.get_mut(epoch) else {
                return Err(Promise::Part.broken(format!("{identity:?} logs for {epoch}, which it didn't capture")));
            };
            let Some(incarnation) = newest(&captured.sent).get(&receiver).map(|peer| peer.0) else {
                return Err(Promise::Part.broken(format!("{identity:?} logs for {to}, to which it sent nothing")));
            };
            let logged = captured.logged.entry((receiver, incarnation)).or_default();
            for (seq, found) in messages {
                let sent = payload(identity, receiver, incarnation, number_of(found, identity.generation, *seq));
                if *found != sent || !logged.insert(*seq) {
                    return Err(Promise::Part.broken(format!("{identity:?} logs {found:?} as {seq} to {to}: expected {sent:?}")));
                }
            }
        }
        Ok(())
    }

    /// A part says what the application saw.
    fn sealed(&self, state: &mut State, member: usize, epoch: Epoch, counters: SealedCounters) -> Result<(), Wrong> {
        let process = Arc::make_mut(&mut state.members[member]);
        let Some(captured) = process.captured.remove(&epoch) else {
            return Err(Promise::Part.broken(format!("{member} sealed {epoch}, which it didn't capture")));
        };
        // It counts the channels with the newest incarnation of each peer.
        let sent: BTreeMap<_, _> =
            newest(&captured.sent).iter().filter(|(_, sent)| *sent.1 > 0).map(|(&to, sent)| (id(to), *sent.1)).collect();
        let ranges = |sets| -> BTreeMap<MemberId, SeqRanges> {
            let sets = newest(sets).into_iter().filter(|(_, (_, set))| !SeqRanges::is_empty(set));
            sets.map(|(peer, (_, set))| (id(peer), set.clone())).collect()
        };
        let (received, recorded, logged) = (ranges(&captured.received), ranges(&captured.recorded), ranges(&captured.logged));
        let reported: BTreeMap<_, _> = counters.recorded.iter().map(|(&from, (ranges, _))| (from, ranges.clone())).collect();
        let logs: BTreeMap<_, _> = counters.logged.iter().map(|(&to, (ranges, _))| (to, ranges.clone())).collect();
        if (&counters.sent, &counters.received, &reported, &logs) != (&sent, &received, &recorded, &logged) {
            return Err(Promise::Part.broken(format!("{member} reports {counters:?} for {captured:?}")));
        }
        if process.captured.keys().next().is_some_and(|&older| older < epoch) {
            self.seen.note(Sight::SealedBeforeAnOlder);
        }
        self.report(state, member, epoch, (counters, captured))
    }
}
