//! A member in one generation: its participant, channels and open snapshots. A restore replaces it whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use stillframe_archive::ChannelRecord;
use stillframe_protocol::{Epoch, Frame, FrameBody, Generation, MemberId, MemberName, Participant, ReceiveError};

use super::{Carrier, acknowledging::Acknowledging, channel::Channel};
use crate::{
    Room,
    config::Limits,
    directory::Directory,
    driver::{
        Live,
        books::Books,
        channel::window_takes,
        leaving::Farewells,
        recordings::{Outward, Recordings},
    },
};

/// A member in one generation.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) participant: Participant,
    pub(super) recordings: Recordings,
    pub(super) outgoing: BTreeMap<MemberId, Channel>,
    pub(super) acknowledging: Acknowledging,
    /// The epoch that counted as cut when this generation began.
    pub(super) started_at: Epoch,
    pub(super) delivered: u64,
    pub(super) sent: u64,
    pub(super) refused: u64,
    /// Channels on which something may be sent.
    stirred: BTreeSet<MemberId>,
    /// The earliest time at which a channel is to be looked at, or an earlier one.
    retry_at: Option<Instant>,
    carrier: Carrier,
    limits: Arc<Limits>,
    /// What was said of others that are leaving.
    farewells: Farewells,
}

impl Running {
    pub(super) fn new(
        participant: Participant,
        started_at: Epoch,
        recordings: Recordings,
        carrier: Carrier,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            participant,
            recordings,
            outgoing: BTreeMap::new(),
            acknowledging: Acknowledging::default(),
            started_at,
            delivered: 0,
            sent: 0,
            refused: 0,
            stirred: BTreeSet::new(),
            retry_at: None,
            carrier,
            limits,
            farewells: Farewells::default(),
        }
    }

    /// Says of those that are leaving that nothing is sent to them any more, once nothing waits.
    pub(super) fn say_farewells(&mut self, directory: &Directory, outward: &Outward) {
        let Self { farewells, participant, outgoing, .. } = self;
        farewells.say(directory, participant, outward, |id| outgoing.get(&id).is_none_or(|channel| channel.outbox.is_empty()));
    }

    pub(super) fn generation(&self) -> Generation {
        self.participant.identity().generation
    }

    pub(super) fn books<'a>(&'a mut self, directory: &'a Directory) -> Books<'a> {
        Books { participant: &mut self.participant, recordings: &mut self.recordings, directory }
    }

    /// Something may have to be done for this channel.
    pub(super) fn stir(&mut self, peer: MemberId) {
        self.stirred.insert(peer);
    }

    /// Whether there is something to do at once.
    pub(super) fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// Sends a message at once if that can be; its frame is the participant's next output. Else it waits in the outbox, or is handed back with what waits there.
    pub(super) fn send(&mut self, to: MemberId, message: Bytes, at_once: bool) -> Result<(bool, Room), (Bytes, usize, u64)> {
        let Self { participant, outgoing, carrier, limits, .. } = self;
        let channel = outgoing.entry(to).or_insert_with(|| Channel::new(*carrier));
        let window = participant.unacknowledged(to);
        let sendable = at_once && channel.outbox.is_empty() && window_takes(limits, window, message.len());
        let length = message.len() as u64;
        let sent = sendable && participant.is_open(to);
        if sent {
            // It is open, so this can't fail.
            if let Ok(seq) = participant.send(to, message) {
                channel.sent = seq;
                self.sent += 1;
                if channel.retry_at().is_none() {
                    channel.arm(*carrier, participant.epoch(), Instant::now);
                    self.retry_at = earlier(self.retry_at, channel.retry_at());
                }
            }
            channel.full |= window.messages + 1 >= limits.window_messages || window.bytes + length >= limits.window_bytes;
        } else {
            if !channel.outbox.has_room(limits.outbox_messages, limits.outbox_bytes, &message) {
                return Err((message, channel.outbox.len(), channel.outbox.bytes()));
            }
            channel.outbox.push(message);
            channel.full |= channel.outbox.is_full(limits, window);
            if channel.opened_to.is_none() || !at_once {
                self.stirred.insert(to);
            }
        }
        Ok((sent, if channel.full { Room::Full } else { Room::Ready }))
    }

    /// Takes a message that a snapshot held as unsent.
    pub(super) fn put_back(&mut self, to: MemberId, message: Bytes) {
        let carrier = self.carrier;
        self.outgoing.entry(to).or_insert_with(|| Channel::new(carrier)).outbox.push(message);
        self.stir(to);
    }

    /// Takes in a frame.
    pub(super) fn receive(&mut self, frame: Frame) -> Result<(), ReceiveError> {
        if !matches!(frame.body, FrameBody::Ack { .. } | FrameBody::Accept { .. }) {
            self.acknowledging.came_in();
        }
        let received = self.participant.receive(frame);
        self.refused += u64::from(received.is_err());
        received
    }

    /// The participant has the channel open.
    pub(super) fn opened(&mut self, to: MemberId, now: Instant) {
        if let Some(channel) = self.outgoing.get_mut(&to) {
            channel.opened(self.carrier, self.participant.epoch(), now);
            self.retry_at = earlier(self.retry_at, channel.retry_at());
        }
        self.stir(to);
    }

    /// An epoch was cut, so there are markers under way.
    pub(super) fn cut(&mut self, now: Instant) {
        for channel in self.outgoing.values_mut().filter(|channel| channel.opened_to.is_some()) {
            channel.arm(self.carrier, self.participant.epoch(), || now);
            self.retry_at = earlier(self.retry_at, channel.retry_at());
        }
    }

    /// Opens what isn't open, and sends what waits, as far as the window goes. Who may be sent to again, if somebody.
    pub(super) fn pump(&mut self, directory: &Directory, now: Instant) -> Option<MemberName> {
        let peer = self.stirred.pop_first()?;
        let Self { participant, outgoing, limits, .. } = self;
        let channel = outgoing.get_mut(&peer)?;
        let incarnation = directory.peer(peer)?.incarnation;
        if channel.opened_to.is_none_or(|known| known < incarnation) {
            channel.open(peer, incarnation, participant, self.carrier, now);
        }
        while participant.is_open(peer)
            && let Some(front) = channel.outbox.front()
            && window_takes(limits, participant.unacknowledged(peer), front.len())
            && let Some(message) = channel.outbox.pop()
        {
            if let Ok(seq) = participant.send(peer, message) {
                channel.sent = seq;
                self.sent += 1;
                channel.arm(self.carrier, participant.epoch(), || now);
            }
        }
        self.retry_at = earlier(self.retry_at, channel.retry_at());
        let ready = channel.full && channel.outbox.is_ready(limits, participant.unacknowledged(peer));
        channel.full &= !ready;
        if ready { directory.name(peer).cloned() } else { None }
    }

    /// The transport to this member was set up anew.
    pub(super) fn reopen(&mut self, peer: MemberId, now: Instant) {
        if let Some(channel) = self.outgoing.get_mut(&peer)
            && let Some(incarnation) = channel.opened_to
        {
            channel.open(peer, incarnation, &mut self.participant, self.carrier, now);
            self.retry_at = earlier(self.retry_at, channel.retry_at());
        }
    }

    /// Looks at the channels whose time has come. True if there were any.
    pub(super) fn retry(&mut self, now: Instant) -> bool {
        if self.retry_at.is_none_or(|at| at > now) {
            return false;
        }
        for (peer, channel) in &mut self.outgoing {
            if channel.retry_at().is_some_and(|at| at <= now) {
                channel.retry(*peer, &mut self.participant, self.carrier, now);
            }
        }
        self.retry_at = self.outgoing.values().filter_map(Channel::retry_at).min();
        true
    }

    /// The list of peers is another one: channels to members that were replaced begin anew.
    pub(super) fn peers_changed(&mut self, directory: &Directory) {
        for (peer, incarnation) in directory.left() {
            self.participant.depart(peer, incarnation);
            if !directory.is_member(peer) {
                self.outgoing.remove(&peer);
            }
        }
        self.stirred.extend(self.outgoing.keys());
    }

    /// What waits to be sent: part of the member's own state.
    pub(super) fn unsent(&self, directory: &Directory) -> Vec<ChannelRecord> {
        let mut unsent = Vec::new();
        for (peer, channel) in &self.outgoing {
            if let Some(to) = directory.name(*peer) {
                unsent.extend(
                    channel.outbox.iter().map(|payload| ChannelRecord::Unsent { to: to.clone(), payload: payload.clone() }),
                );
            }
        }
        unsent
    }

    /// Reports on snapshots that take long. True if it was time for that.
    pub(super) fn report_progress(&mut self, directory: &Directory, now: Instant) -> bool {
        let due = self.recordings.next_progress().is_some_and(|at| at <= now);
        if due {
            let participant = &self.participant;
            self.recordings.report_progress(now, |epoch, since| Live::missing(participant, directory, epoch, since));
        }
        due
    }

    /// When something is to be done next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.acknowledging.at(), self.retry_at, self.recordings.next_progress()].into_iter().flatten().min()
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
