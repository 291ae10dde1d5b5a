//! The receiver's side: fencing, delivering, recording, closing, answering.

use std::ops::Bound;

use bytes::Bytes;

use super::{
    ChannelOrdering, Output, Participant, ReceiveError,
    incoming::{Arrival, Incoming, Order},
    outgoing::Link,
    rules::BrokenRule,
};
use crate::{
    frame::{Frame, FrameBody, Marker},
    ids::{Epoch, Incarnation, MemberId, Seq},
    ranges::SeqRanges,
};

impl Participant {
    /// Takes in a frame that the transport brought.
    ///
    /// # Errors
    /// [`ReceiveError`] if it wasn't taken; each variant says what was changed nevertheless. A repeated message of an unordered channel, or one that a
    /// broken connection repeats, is no error: it is dropped.
    pub fn receive(&mut self, frame: Frame) -> Result<(), ReceiveError> {
        self.fence(&frame)?;
        let Frame { from, from_incarnation: incarnation, epoch, markers, body, .. } = frame;
        // Markers tell of cuts as the epoch does: a retransmitted message is older than the markers that ride on it.
        let newest = markers.last().map_or(epoch, |marker| marker.epoch.max(epoch));
        match body {
            FrameBody::Data { seq, payload } => {
                self.fence_incoming(from, incarnation)?;
                self.hold_message(from, seq, epoch)?;
                if self.rules.breaks(BrokenRule::DeliverBeforeCut) {
                    self.take_message(from, seq, epoch, payload)?;
                    self.cut(newest);
                    self.take_markers(from, &markers)
                } else {
                    if !self.is_aligned() {
                        self.cut(newest);
                    }
                    self.take_markers(from, &markers)?;
                    self.take_message(from, seq, epoch, payload)
                }
            }
            FrameBody::Marker => {
                self.fence_incoming(from, incarnation)?;
                self.cut_unless(BrokenRule::MarkerDoesNotCut, newest);
                self.take_markers(from, &markers)?;
                // Not the frame's epoch: a marker that is transmitted again stands before messages that are older than its frame.
                let marker = markers.last().map_or(Epoch(0), |marker| marker.epoch);
                self.reached(from, if self.rules.breaks(BrokenRule::AlignsByFrame) { newest } else { marker });
                self.align();
                Ok(())
            }
            FrameBody::Ack { received, markers_through } => {
                self.fence_outgoing(from, incarnation, &received)?;
                self.cut_with_acknowledgement(BrokenRule::AcknowledgementDoesNotCut, newest, from, &received);
                self.take_acknowledgement(from, &received, markers_through);
                Ok(())
            }
            FrameBody::Open { ordering } => {
                self.fence_open(from, incarnation, ordering)?;
                self.cut_unless(BrokenRule::HandshakeDoesNotCut, newest);
                self.accept(from, incarnation, ordering, newest);
                self.align();
                Ok(())
            }
            FrameBody::Accept { received, markers_through } => {
                self.fence_outgoing(from, incarnation, &received)?;
                if self.is_aligned() && !self.rules.breaks(BrokenRule::AlignedOpensEarly) {
                    // The receiver didn't wait for a channel that opens behind its cut: it is used only behind ours.
                    self.hold(from, newest)?;
                }
                self.cut_with_acknowledgement(BrokenRule::HandshakeDoesNotCut, newest, from, &received);
                self.take_acknowledgement(from, &received, markers_through);
                self.opened(from);
                Ok(())
            }
        }
    }

    fn cut_unless(&mut self, broken: BrokenRule, newest: Epoch) {
        if !self.is_aligned() && !self.rules.breaks(broken) {
            self.cut(newest);
        }
    }

    /// Cuts before what is acknowledged is dropped: it may have been received behind the peer's cut.
    fn cut_with_acknowledgement(&mut self, broken: BrokenRule, newest: Epoch, from: MemberId, received: &SeqRanges) {
        if self.rules.breaks(BrokenRule::AcknowledgedBeforeCut) {
            self.take_acknowledgement(from, received, Epoch(0));
        }
        self.cut_unless(broken, newest);
    }

    /// Emits one acknowledgement for each incoming channel on which something arrived since the last one.
    pub fn acknowledge(&mut self) {
        for to in std::mem::take(&mut self.acks_due) {
            if let Some(channel) = self.incoming.get_mut(&to) {
                channel.ack_due = false;
                let body = FrameBody::Ack { received: channel.received.clone(), markers_through: channel.markers_through };
                let incarnation = channel.peer_incarnation;
                self.transmit(to, incarnation, self.epoch, Vec::new(), body);
            }
        }
    }

    /// Lets only frames pass that this incarnation in this generation is meant to get.
    fn fence(&mut self, frame: &Frame) -> Result<(), ReceiveError> {
        let (me, from) = (self.identity, frame.from);
        if frame.to != me.member && !self.rules.breaks(BrokenRule::ForeignMemberAccepted) {
            return Err(ReceiveError::NotForMe { from, expected: me.member, found: frame.to });
        }
        if frame.generation < me.generation && !self.rules.breaks(BrokenRule::OldGenerationAccepted) {
            return Err(ReceiveError::OldGeneration { from, expected: me.generation, found: frame.generation });
        }
        if frame.generation > me.generation && !self.rules.breaks(BrokenRule::NewerGenerationAccepted) {
            if frame.generation > self.newest_generation {
                self.newest_generation = frame.generation;
                self.outputs.push_back(Output::NewerGeneration { generation: frame.generation });
            }
            return Err(ReceiveError::NewerGeneration { from, expected: me.generation, found: frame.generation });
        }
        if frame.to_incarnation != me.incarnation && !self.rules.breaks(BrokenRule::ForeignIncarnationAccepted) {
            let (expected, found) = (me.incarnation, frame.to_incarnation);
            return Err(ReceiveError::WrongIncarnation { from, of: me.member, expected, found });
        }
        Ok(())
    }

    fn fence_incoming(&self, from: MemberId, found: Incarnation) -> Result<(), ReceiveError> {
        let old_accepted = self.rules.breaks(BrokenRule::OldIncarnationAccepted);
        match self.incoming.get(&from).map(|channel| channel.peer_incarnation) {
            Some(expected) if expected == found || (found < expected && old_accepted) => Ok(()),
            Some(expected) => Err(ReceiveError::WrongIncarnation { from, of: from, expected, found }),
            None => match self.outgoing.get(&from).map(|channel| channel.peer_incarnation) {
                Some(expected) if expected > found => Err(ReceiveError::WrongIncarnation { from, of: from, expected, found }),
                Some(_) | None => Err(ReceiveError::UnknownChannel { from }),
            },
        }
    }

    fn fence_outgoing(&self, from: MemberId, found: Incarnation, received: &SeqRanges) -> Result<(), ReceiveError> {
        let Some(channel) = self.outgoing.get(&from) else { return Err(ReceiveError::UnknownChannel { from }) };
        let expected = channel.peer_incarnation;
        if expected != found && !(found < expected && self.rules.breaks(BrokenRule::OldIncarnationAccepted)) {
            return Err(ReceiveError::WrongIncarnation { from, of: from, expected, found });
        }
        if received.max() > channel.sent() {
            return Err(ReceiveError::NotSent { from, sent: channel.sent(), found: Seq(received.max()) });
        }
        Ok(())
    }

    fn fence_open(&self, from: MemberId, found: Incarnation, ordering: ChannelOrdering) -> Result<(), ReceiveError> {
        if self.is_aligned() && ordering != ChannelOrdering::Fifo {
            return Err(ReceiveError::NotFifo { from });
        }
        let as_sender = self.incoming.get(&from);
        let as_receiver = self.outgoing.get(&from);
        let known = as_sender.map(|channel| channel.peer_incarnation).max(as_receiver.map(|channel| channel.peer_incarnation));
        match (known, as_sender) {
            (Some(expected), _) if found < expected => Err(ReceiveError::WrongIncarnation { from, of: from, expected, found }),
            (_, Some(channel)) if channel.peer_incarnation == found && channel.ordering != ordering => {
                Err(ReceiveError::OrderingChanged { from, expected: channel.ordering, found: ordering })
            }
            _ => Ok(()),
        }
    }

    /// Answers an open. The channel is known from now on. If it is new, it needs no marker of any epoch that is cut here: the answer carries our epoch, and its
    /// sender cuts that before it uses the channel.
    fn accept(&mut self, from: MemberId, incarnation: Incarnation, ordering: ChannelOrdering, epoch: Epoch) {
        self.replace_peer(from, incarnation);
        let restored = &mut self.restored.received;
        let mut again = true;
        let channel = self.incoming.entry(from).or_insert_with(|| {
            again = false;
            Incoming::new(incarnation, ordering, restored.remove(&from).unwrap_or_default())
        });
        if again {
            channel.order = Order::Resumed;
        } else if !self.rules.breaks(BrokenRule::AlignedOpenTellsNothing) {
            // Its sender can have sent nothing before it cut what the open tells of; of that there is no marker.
            channel.reached = epoch;
        }
        let body = FrameBody::Accept { received: channel.received.clone(), markers_through: channel.markers_through };
        self.transmit(from, incarnation, self.epoch, Vec::new(), body);
    }

    /// The peer answered our open. An answer to an older open serves as well: whatever it doesn't know of is transmitted once more, and dropped there.
    fn opened(&mut self, to: MemberId) {
        if let Some(channel) = self.outgoing.get_mut(&to)
            && channel.link == Link::Opening
        {
            channel.link = Link::Open;
            self.transmit_again(to, Seq(u64::MAX));
            self.outputs.push_back(Output::Opened { to });
        }
    }

    fn take_acknowledgement(&mut self, to: MemberId, received: &SeqRanges, markers_through: Epoch) {
        if let Some(channel) = self.outgoing.get_mut(&to)
            && channel.acknowledged(received, markers_through)
        {
            self.outputs.push_back(Output::Acknowledged { to });
        }
    }

    fn take_markers(&mut self, from: MemberId, markers: &[Marker]) -> Result<(), ReceiveError> {
        let Some(newest) = markers.last() else { return Ok(()) };
        let Some(channel) = self.incoming.get_mut(&from) else { return Err(ReceiveError::UnknownChannel { from }) };
        if channel.ordering == ChannelOrdering::Fifo {
            // In order a marker is the last to arrive; if not, what it counts was lost.
            let expected = channel.expected();
            let gap = markers.iter().find(|marker| marker.sent >= expected.0).map(|marker| Seq(marker.sent).next());
            if let Some(found) = gap.or((channel.order == Order::Broken).then_some(expected)) {
                self.break_channel(from, expected, found);
                return Err(ReceiveError::Fifo { from, expected, found });
            }
        }
        if !std::mem::replace(&mut channel.ack_due, true) {
            self.acks_due.push(from);
        }
        let mut contradiction = None;
        if !self.recordings.is_empty() {
            for marker in markers {
                let (Some(recording), Some(channel)) = (self.recordings.get_mut(&marker.epoch), self.incoming.get(&from)) else {
                    continue;
                };
                let progress = recording.mark(from, marker.sent, &channel.received, self.rules);
                contradiction = self.progress(from, marker.epoch, progress).or(contradiction);
            }
        }
        if let Some((expected, found)) = contradiction {
            return Err(ReceiveError::MarkerContradicts { from, expected, found });
        }
        if let Some(channel) = self.incoming.get_mut(&from) {
            channel.markers_through = channel.markers_through.max(newest.epoch);
        }
        Ok(())
    }

    /// Delivers a message that was sent in epoch `sent_in`, and records it for every later epoch that is open on the channel.
    fn take_message(&mut self, from: MemberId, seq: Seq, sent_in: Epoch, payload: Bytes) -> Result<(), ReceiveError> {
        let Some(channel) = self.incoming.get_mut(&from) else { return Err(ReceiveError::UnknownChannel { from }) };
        let arrival = match channel.arrival(seq) {
            Arrival::Repeated if self.rules.breaks(BrokenRule::DeliversTwice) => Arrival::New,
            Arrival::OutOfOrder { .. } if self.rules.breaks(BrokenRule::FifoTakesGaps) => Arrival::New,
            arrival => arrival,
        };
        match arrival {
            Arrival::New => channel.take(seq),
            Arrival::Repeated => {}
            Arrival::OutOfOrder { expected } => {
                self.break_channel(from, expected, seq);
                return Err(ReceiveError::Fifo { from, expected, found: seq });
            }
            Arrival::TooScattered => return Err(ReceiveError::TooScattered { from, seq }),
        }
        // A repeated message is acknowledged again: its first acknowledgement may be lost.
        if !std::mem::replace(&mut channel.ack_due, true) {
            self.acks_due.push(from);
        }
        if arrival == Arrival::Repeated {
            return Ok(());
        }
        if self.recordings.is_empty() {
            self.outputs.push_back(Output::Deliver { from, seq, payload });
        } else {
            self.record(from, seq, sent_in, &payload);
            self.outputs.push_back(Output::Deliver { from, seq, payload });
            self.close_covered(from);
        }
        Ok(())
    }

    fn record(&mut self, from: MemberId, seq: Seq, sent_in: Epoch, payload: &Bytes) {
        if self.rules.breaks(BrokenRule::NoRecording) {
            return;
        }
        let after = if self.rules.breaks(BrokenRule::RecordsLaterMessages) { Epoch(0) } else { sent_in };
        let later = (Bound::Excluded(after), Bound::Unbounded);
        let epochs: Vec<Epoch> = self
            .recordings
            .range_mut(later)
            .filter_map(|(&epoch, recording)| recording.record(from, seq, payload.len() as u64).then_some(epoch))
            .collect();
        if !epochs.is_empty() {
            self.outputs.push_back(Output::Record { epochs, from, seq, payload: payload.clone() });
        }
    }

    /// Closes the channel for each open epoch whose marker is known and whose messages are complete by now.
    fn close_covered(&mut self, from: MemberId) {
        let Some(channel) = self.incoming.get(&from) else { return };
        let rules = self.rules;
        let received = &channel.received;
        let progress: Vec<_> = self
            .recordings
            .iter_mut()
            .filter(|(_, recording)| recording.waits_for(from))
            .map(|(&epoch, recording)| (epoch, recording.close_if_covered(from, received, rules)))
            .collect();
        for (epoch, progress) in progress {
            // The message itself is fine and delivered; an epoch that it shows to be inexact is aborted.
            self.progress(from, epoch, progress);
        }
    }
}
