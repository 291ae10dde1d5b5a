//! Everything that a member has in one generation: its participant, channels, timers and open snapshots. A restore replaces it whole.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stillframe_api::agent::{MissingChannel, Peers};
use stillframe_archive::ChannelRecord;
use stillframe_protocol::{
    ChannelState, Epoch, Frame, FrameBody, Generation, MemberId, MemberName, Output, Participant, ReceiveError,
};

use super::{
    books::Books,
    channel::{Incoming, Outgoing, window_takes},
    held::Held,
    leaving::{Farewells, Leaving},
    outbox::Outbox,
    recordings::Recordings,
    timers::Timers,
    wiring::{Direction, Wiring},
};
use crate::{
    application::{Application, Cut},
    config::Limits,
    context::{Context, Room, SendError},
    directory::Directory,
    link::ConnectionId,
};

/// What the application has seen of this generation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) delivered: u64,
    pub(super) sent: u64,
    pub(super) refused_frames: u64,
}

/// A member in one generation.
pub(crate) struct Live {
    pub(crate) directory: Directory,
    /// Of which list of peers the directory is.
    pub(super) peers_revision: u64,
    pub(crate) timers: Timers,
    /// The application wants the agent to end.
    pub(crate) shutdown: bool,
    /// How far its leaving is.
    pub(crate) leaving: Leaving,
    /// What was said of others that are leaving.
    pub(super) farewells: Farewells,
    /// The epoch that counted as cut when this generation began.
    pub(super) started_at: Epoch,
    pub(super) participant: Participant,
    pub(super) outgoing: BTreeMap<MemberId, Outgoing>,
    pub(super) incoming: BTreeMap<MemberId, Incoming>,
    /// Messages to oneself.
    pub(super) own: Outbox,
    pub(super) own_full: bool,
    pub(super) recordings: Recordings,
    pub(super) counts: Counts,
    /// A peer is in this newer generation.
    pub(super) newer: Option<Generation>,
    pub(super) connections: HashMap<ConnectionId, (Direction, MemberId)>,
    /// What waits until the channels are aligned.
    pub(super) held: Held,
    /// How long it waits at most, from a snapshot's begin.
    pub(super) aligned_timeout: Option<Duration>,
    /// Connections that must be dropped once the outputs are carried out.
    pub(super) to_break: Vec<MemberId>,
    pub(super) retries: BTreeSet<(Instant, MemberId)>,
    pub(super) wiring: Wiring,
    pub(super) limits: Arc<Limits>,
    /// Whether frames may have to be held back.
    aligns: bool,
    /// Connections on which frames were gathered.
    dirty: Vec<(Direction, MemberId)>,
    /// Sending ends that may send, or whose application may go on.
    stirred: BTreeSet<MemberId>,
    pub(super) ack_at: Option<Instant>,
    pub(super) ack_is_for_messages: bool,
}

impl Live {
    pub(super) fn new(
        participant: Participant,
        started_at: Epoch,
        (directory, peers_revision): (Directory, u64),
        limits: Arc<Limits>,
        recordings: Recordings,
        wiring: Wiring,
    ) -> Self {
        let aligns = participant.channel_state() == ChannelState::Aligned;
        Self {
            directory,
            peers_revision,
            timers: Timers::default(),
            shutdown: false,
            leaving: Leaving::default(),
            farewells: Farewells::default(),
            started_at,
            participant,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            own: Outbox::default(),
            own_full: false,
            recordings,
            counts: Counts::default(),
            newer: None,
            connections: HashMap::new(),
            held: Held::default(),
            aligned_timeout: None,
            to_break: Vec::new(),
            retries: BTreeSet::new(),
            wiring,
            limits,
            aligns,
            dirty: Vec::new(),
            stirred: BTreeSet::new(),
            ack_at: None,
            ack_is_for_messages: false,
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.participant.identity().generation
    }

    fn me(&self) -> MemberId {
        self.participant.identity().member
    }

    /// Takes a message of the application.
    pub(crate) fn send(&mut self, to: &MemberName, message: Bytes) -> Result<Room, SendError> {
        let limits = &*self.limits;
        if message.len() > limits.max_message_bytes {
            return Err(SendError::TooLarge { limit: limits.max_message_bytes, found: message.len() });
        }
        if self.leaving.is_silent() {
            return Err(SendError::HasLeft);
        }
        let Some(id) = self.directory.id(to) else { return Err(SendError::UnknownMember { to: to.clone() }) };
        if self.directory.is_leaving(id) {
            return Err(SendError::Leaving { to: to.clone(), message });
        }
        if id == self.me() {
            check_outbox(&self.own, limits, to, &message)?;
            self.own.push(message);
            self.own_full |= self.own.len() as u64 >= limits.window_messages || self.own.bytes() >= limits.window_bytes;
            return Ok(if self.own_full { Room::Full } else { Room::Ready });
        }
        let channel = self.outgoing.entry(id).or_insert_with(Outgoing::new);
        if message.len() > channel.max_message_bytes {
            return Err(SendError::TooLarge { limit: channel.max_message_bytes, found: message.len() });
        }
        let window = self.participant.unacknowledged(id);
        if channel.outbox.is_empty() && window_takes(limits, window, message.len()) && self.participant.is_open(id) {
            // It is open, so this can't fail.
            if self.participant.send(id, message).is_ok() {
                self.counts.sent += 1;
            }
        } else {
            check_outbox(&channel.outbox, limits, to, &message)?;
            channel.outbox.push(message);
            if channel.is_unused() {
                self.wiring.dial(id, channel, &self.directory, self.participant.identity().generation);
            }
        }
        channel.full |= channel.is_full(limits, self.participant.unacknowledged(id));
        Ok(if channel.full { Room::Full } else { Room::Ready })
    }

    /// Takes a message that a snapshot held as unsent. It was within the limits when it was captured.
    pub(super) fn put_back(&mut self, to: &MemberName, message: Bytes) -> bool {
        let Some(id) = self.directory.id(to) else { return false };
        if id == self.me() {
            self.own.push(message);
        } else {
            let channel = self.outgoing.entry(id).or_insert_with(Outgoing::new);
            channel.outbox.push(message);
            if channel.is_unused() {
                self.wiring.dial(id, channel, &self.directory, self.participant.identity().generation);
            }
        }
        true
    }

    /// Takes in a frame that this connection brought, or holds it back. In that case whatever comes behind it on the connection has to be, too.
    pub(super) fn receive(&mut self, connection: ConnectionId, frame: Frame, app: &mut dyn Application) {
        let from = frame.from;
        // Its bytes are shared, not copied.
        let kept = self.aligns.then(|| frame.clone());
        let is_message = matches!(frame.body, FrameBody::Data { .. });
        let answers = matches!(frame.body, FrameBody::Ack { .. } | FrameBody::Accept { .. });
        let result = self.participant.receive(frame);
        if let (Err(ReceiveError::Held { .. }), Some(frame)) = (&result, kept) {
            self.hold_back(connection, frame);
            return self.settle(app);
        }
        if let Err(error) = result {
            self.counts.refused_frames += 1;
            tracing::debug!(%error, "a frame was refused");
            if !answers {
                // Whatever it was, opening the channel anew puts it right: the sender repeats what wasn't delivered.
                self.to_break.push(from);
            }
        }
        if !answers {
            self.acknowledge_later(is_message);
        }
        self.settle(app);
    }

    /// Carries out everything that the participant asks for, sends what can be sent, and tells the application where it may go on.
    pub(super) fn settle(&mut self, app: &mut dyn Application) {
        loop {
            self.drain(app);
            // Only now: had a cut been among the outputs, what is in an outbox belongs to the capture.
            let Some(peer) = self.stirred.pop_first() else { break };
            self.pump(peer);
            self.drain(app);
            let Some(channel) = self.outgoing.get_mut(&peer) else { continue };
            if channel.full && channel.is_ready(&self.limits, self.participant.unacknowledged(peer)) {
                channel.full = false;
                if let Some(name) = self.directory.name(peer).cloned() {
                    app.on_ready(&mut Context::new(self), &name);
                }
            }
        }
    }

    fn drain(&mut self, app: &mut dyn Application) {
        while let Some(output) = self.participant.poll() {
            match output {
                Output::Deliver { from, seq: _, payload } => {
                    if let Some(end) = self.incoming.get_mut(&from) {
                        end.messages += 1;
                        end.bytes += payload.len() as u64;
                    }
                    self.deliver(from, payload, app);
                }
                Output::Transmit { to, frame } => self.transmit(to, &frame),
                Output::Acknowledged { to } => {
                    self.stirred.insert(to);
                }
                Output::Opened { to } => {
                    if let Some(channel) = self.outgoing.get_mut(&to) {
                        channel.backoff.reset();
                        channel.failing_since = None;
                    }
                    self.stirred.insert(to);
                }
                Output::Capture { first, last } => self.capture(first, last, app),
                Output::Record { epochs, from, seq, payload } => self.books().record(&epochs, from, seq, payload),
                Output::Log { epochs, to, messages } => self.books().log(&epochs, to, messages),
                Output::Resume { from } => self.held.resume(from),
                Output::Sealed { epoch, counters } => self.books().sealed(epoch, &counters),
                Output::Violated { from, epochs, expected, found } => self.books().violated(from, &epochs, expected, found),
                Output::Replaced { from, incarnation, epochs } => self.books().replaced(from, incarnation, &epochs),
                Output::NewerGeneration { generation } => self.newer = self.newer.max(Some(generation)),
            }
        }
    }

    /// Hands a message to the application.
    pub(super) fn deliver(&mut self, from: MemberId, payload: Bytes, app: &mut dyn Application) {
        // Each connection brought its name with it, so this is only of a member that was never connected.
        let Some(name) = self.directory.name(from).cloned() else {
            tracing::error!(%from, "a message of an unknown member can't be delivered");
            return;
        };
        self.counts.delivered += 1;
        app.on_message(&mut Context::new(self), &name, payload);
    }

    /// Sends what waits, as far as the window goes.
    fn pump(&mut self, peer: MemberId) {
        let Some(channel) = self.outgoing.get_mut(&peer) else { return };
        while self.participant.is_open(peer)
            && let Some(front) = channel.outbox.front()
            // One that was taken before the peer had said what it takes waits until it takes it: to send it would only cost the connection.
            && front.len() <= channel.max_message_bytes
            && window_takes(&self.limits, self.participant.unacknowledged(peer), front.len())
        {
            let Some(message) = channel.outbox.pop() else { break };
            if self.participant.send(peer, message).is_ok() {
                self.counts.sent += 1;
            }
        }
    }

    fn transmit(&mut self, to: MemberId, frame: &Frame) {
        let (direction, connection) = match &frame.body {
            FrameBody::Ack { .. } | FrameBody::Accept { .. } => {
                (Direction::Incoming, self.incoming.get_mut(&to).map(|end| &mut end.connection))
            }
            FrameBody::Data { .. } | FrameBody::Marker | FrameBody::Open { .. } => {
                (Direction::Outgoing, self.outgoing.get_mut(&to).and_then(Outgoing::connection))
            }
        };
        // Without a connection the frame is lost, and repeated once the channel is open again.
        if connection.is_some_and(|connection| connection.push(frame)) {
            self.dirty.push((direction, to));
        }
    }

    /// Gives gathered frames to the connections. True if there were any.
    pub(super) fn flush(&mut self) -> bool {
        let any = !self.dirty.is_empty();
        for (direction, peer) in self.dirty.drain(..) {
            let connection = match direction {
                Direction::Incoming => self.incoming.get_mut(&peer).map(|end| &mut end.connection),
                Direction::Outgoing => self.outgoing.get_mut(&peer).and_then(Outgoing::connection),
            };
            if let Some(connection) = connection {
                connection.flush();
            }
        }
        any
    }

    fn capture(&mut self, first: Epoch, last: Epoch, app: &mut dyn Application) {
        let mut kept = Vec::new();
        let me = self.directory.me().clone();
        kept.extend(self.own.iter().map(|payload| ChannelRecord::Unsent { to: me.clone(), payload: payload.clone() }));
        for (peer, channel) in &self.outgoing {
            let Some(to) = self.directory.name(*peer) else { continue };
            let unsent = |payload: &Bytes| ChannelRecord::Unsent { to: to.clone(), payload: payload.clone() };
            kept.extend(channel.outbox.iter().map(unsent));
        }
        kept.extend(self.timers.remaining_ms().map(|(id, remaining_ms)| ChannelRecord::Timer { id: id.0, remaining_ms }));
        let capture = app.capture_at(Cut { first, last, generation: self.generation() });
        self.recordings.captured(first.0..=last.0, capture, kept);
    }

    pub(super) fn books(&mut self) -> Books<'_> {
        Books { participant: &mut self.participant, recordings: &mut self.recordings, directory: &self.directory }
    }

    /// Delivers some messages to oneself.
    pub(super) fn deliver_own(&mut self, at_most: usize, app: &mut dyn Application) {
        for _ in 0..at_most {
            let Some(message) = self.own.pop() else { break };
            self.deliver(self.me(), message, app);
            self.settle(app);
            let limits = &self.limits;
            let few = self.own.len() as u64 <= limits.window_messages / 2 && self.own.bytes() <= limits.window_bytes / 2;
            if self.own_full && few {
                self.own_full = false;
                let me = self.directory.me().clone();
                app.on_ready(&mut Context::new(self), &me);
                self.settle(app);
            }
        }
    }

    /// A newer list of peers. True if the application sees another list now.
    pub(super) fn update_peers(&mut self, peers: &Peers) -> bool {
        let newer = self.directory.updated(peers);
        let changed = !newer.same_names(&self.directory);
        (self.directory, self.peers_revision) = (newer, peers.revision);
        self.part_with_the_left();
        changed
    }

    /// Messages that wait to be sent.
    pub(super) fn unsent(&self) -> u64 {
        self.outgoing.values().map(|channel| channel.outbox.len() as u64).sum::<u64>() + self.own.len() as u64
    }

    /// Whether everything that was handed over has arrived at the other members.
    pub(super) fn all_arrived(&self) -> bool {
        self.outgoing
            .iter()
            .all(|(peer, channel)| channel.outbox.is_empty() && self.participant.unacknowledged(*peer).messages == 0)
    }

    pub(crate) fn missing(participant: &Participant, directory: &Directory, epoch: Epoch, since_ms: u64) -> Vec<MissingChannel> {
        let missing = participant.missing(epoch).into_iter();
        missing
            .filter_map(|missing| {
                let from = directory.name(missing.from)?.clone();
                Some(MissingChannel { from, received: missing.received, expected: missing.expected, since_ms })
            })
            .collect()
    }

    /// When something is to be done next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let retry = self.retries.first().map(|(at, _)| *at);
        let unalign = self.recordings.next_unalign().map(|(at, _)| at);
        [self.timers.next(), self.ack_at, retry, self.recordings.next_progress(), unalign].into_iter().flatten().min()
    }
}

fn check_outbox(outbox: &Outbox, limits: &Limits, to: &MemberName, message: &Bytes) -> Result<(), SendError> {
    if outbox.has_room(limits.outbox_messages, limits.outbox_bytes, message) {
        return Ok(());
    }
    let (messages, bytes) = (outbox.len(), outbox.bytes());
    Err(SendError::OutboxFull { to: to.clone(), messages, bytes, message: message.clone() })
}
