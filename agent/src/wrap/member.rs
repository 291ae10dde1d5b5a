//! A member whose application carries the messages.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use stillframe_protocol::{
    Epoch, Frame, FrameBody, Generation, Identity, MemberName, Output, Participant, ReceiveError, SnapshotId,
};
use tokio::sync::{Notify, mpsc};

use super::{
    Action, Actions, CaptureRequest, Carrier, Envelope, UnwrapError, WrapError,
    background::{Background, Enlisted},
    envelope,
    replay::Replay,
    running::Running,
};
use crate::{
    AgentError, Capture, Phase, Room, Status,
    config::Limits,
    control::mailbox::{Mailbox, Target},
    directory::Directory,
    driver::{
        outcomes::Outcomes,
        preparation::{Loaded, Preparations},
    },
    spool::SpoolBudget,
};

/// Calls after which the clock and the lease are looked at again.
const CALLS_A_LOOK: u32 = 16;

/// Why the member holds still: nothing is delivered, and messages wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// The coordinator hasn't said that the member may run.
    Waiting,
    /// A restore is being prepared.
    Preparing,
    /// The lease ran out.
    LeaseExpired,
    /// A peer is in a newer generation: this process may be the one that was replaced.
    NewerGeneration,
}

/// What [`Member::wrap`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an envelope that isn't sent is a message lost on a reliable carrier"]
pub struct Wrapped {
    /// What to send now. None: the message waits in the agent, until the channel is open and its window has room, and comes as [`Action::Send`].
    pub envelope: Option<Envelope>,
    /// Whether more may be sent to this member now.
    pub room: Room,
}

/// Rings when [`Member::on_timeout`] should be called although its time hasn't come.
#[derive(Debug, Clone)]
pub struct News(Arc<Notify>);

impl News {
    /// Waits for it. Cancel-safe; works on any async runtime. One waiter at a time.
    pub async fn wait(&self) {
        self.0.notified().await;
    }
}

/// A member whose application carries the messages. Dropping it is the process's end as far as the cluster is concerned.
///
/// See the [module's documentation](super) for the whole picture.
#[derive(Debug)]
pub struct Member {
    pub(super) carrier: Carrier,
    pub(super) limits: Arc<Limits>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) news: Arc<Notify>,
    pub(super) background: Background,
    pub(super) enlisted: Option<Enlisted>,
    pub(super) budget: Arc<SpoolBudget>,
    pub(super) directory: Directory,
    /// Of which list of peers the directory is.
    pub(super) peers_revision: u64,
    /// Of which list the application was told.
    pub(super) peers_told: u64,
    pub(super) running: Option<Running>,
    pub(super) hold: Option<Hold>,
    pub(super) ended: bool,
    pub(super) preparations: Preparations,
    pub(super) work: mpsc::UnboundedReceiver<Loaded>,
    pub(super) work_sender: mpsc::UnboundedSender<Loaded>,
    /// Actions that the participant knows nothing of. Only added to when it is drained.
    pub(super) notices: VecDeque<Action>,
    /// What was asked for last and isn't answered.
    pub(super) asked: Option<CaptureRequest>,
    pub(super) replay: Option<Replay>,
    /// The generation's beginning is complete once everything is drained: then it is reported.
    pub(super) announce: bool,
    pub(super) running_report: Option<crate::driver::channel::AbortOnDrop>,
    /// An assignment whose snapshots are to be named once they are captured.
    /// Whether the application is to be told then that the list of peers is another one.
    pub(super) unnamed: Option<(Target, bool)>,
    /// Frames that wait: the member holds still, or actions weren't taken out.
    pub(super) inbox: VecDeque<(Frame, usize)>,
    pub(super) inbox_bytes: u64,
    /// Outcomes that wait until the member runs again, or older snapshots have ended.
    pub(super) outcomes: Outcomes,
    pub(super) last_committed: Option<SnapshotId>,
    /// The time of the last call that told or looked at it.
    pub(super) now: Instant,
    pub(super) calls: u32,
}

impl Member {
    /// Wraps a message to another member. What [`Wrapped::envelope`] holds is to be sent at once, in the order of the calls where the carrier is fifo.
    ///
    /// Before the channel is open, while its window is full ([`Limits::window_messages`], [`Limits::window_bytes`]), while the member holds still and while there are
    /// actions to carry out, the message waits in the agent instead: it belongs to the member's state, and comes as [`Action::Send`].
    ///
    /// # Errors
    /// [`WrapError`]: the message wasn't taken.
    pub fn wrap(&mut self, to: &MemberName, message: impl Into<Bytes>) -> Result<Wrapped, WrapError> {
        let message = message.into();
        self.look();
        let at_once = self.may_go_on();
        let Self { running, enlisted, directory, limits, ended, .. } = self;
        let (Some(running), Some(member), false) = (running, enlisted, *ended) else {
            return Err(WrapError::NotRunning { message });
        };
        if message.len() > limits.max_message_bytes {
            return Err(WrapError::TooLarge { limit: limits.max_message_bytes, found: message.len() });
        }
        let Some(id) = directory.id(to) else { return Err(WrapError::UnknownMember { to: to.clone() }) };
        if id == member.id {
            return Err(WrapError::ToItself { to: to.clone() });
        }
        if directory.is_leaving(id) {
            return Err(WrapError::Leaving { to: to.clone(), message });
        }
        let full = |(message, messages, bytes)| WrapError::OutboxFull { to: to.clone(), messages, bytes, message };
        let (sent, room) = running.send(id, message, at_once).map_err(full)?;
        let frame = if sent { running.participant.poll() } else { None };
        let envelope = match frame {
            Some(Output::Transmit { frame, .. }) => Some(Envelope::seal(member.tag, &frame)),
            // A participant that was drained before answers a send with nothing else.
            Some(_) | None => None,
        };
        Ok(Wrapped { envelope, room })
    }

    /// Unwraps a frame that came for this member, whole as [`Envelope::bytes`] gave it. The actions are to be carried out before the next frame.
    ///
    /// # Errors
    /// [`UnwrapError`]: nothing was changed.
    pub fn unwrap(&mut self, frame: impl Into<Bytes>) -> Result<Actions<'_>, UnwrapError> {
        let bytes = frame.into();
        let length = bytes.len();
        self.look();
        let Some(member) = &self.enlisted else {
            // It can't be for this incarnation, which nobody knows yet.
            return Err(UnwrapError::Holding { frames: 0, bytes: 0, frame: bytes });
        };
        let frame = envelope::open(member.tag, bytes)?;
        self.take(frame, length)?;
        Ok(Actions { member: self })
    }

    /// Unwraps a frame that came in two pieces, as [`Envelope::header`] and [`Envelope::payload`] gave them.
    ///
    /// # Errors
    /// [`UnwrapError`]: nothing was changed.
    pub fn unwrap_parts(&mut self, header: &[u8], payload: impl Into<Bytes>) -> Result<Actions<'_>, UnwrapError> {
        let payload = payload.into();
        self.look();
        let length = header.len() + payload.len();
        let Some(member) = &self.enlisted else {
            let frame = [header, &payload[..]].concat().into();
            return Err(UnwrapError::Holding { frames: 0, bytes: 0, frame });
        };
        let mut frame = envelope::open(member.tag, Bytes::copy_from_slice(header))?;
        match &mut frame.body {
            FrameBody::Data { payload: missing, .. } if missing.is_empty() => *missing = payload,
            FrameBody::Marker | FrameBody::Ack { .. } | FrameBody::Open { .. } | FrameBody::Accept { .. }
                if payload.is_empty() => {}
            // A header that brings a payload of its own, or a frame that has none.
            FrameBody::Data { .. }
            | FrameBody::Marker
            | FrameBody::Ack { .. }
            | FrameBody::Open { .. }
            | FrameBody::Accept { .. } => {
                return Err(UnwrapError::Garbage { length });
            }
        }
        self.take(frame, length)?;
        Ok(Actions { member: self })
    }

    /// When [`on_timeout`](Self::on_timeout) is to be called at the latest; in the past when there is something to do now. It may become earlier with every call, so ask
    /// again after each.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        if !self.is_drained() || self.mailbox.has_news() {
            return Some(self.now);
        }
        let (Some(running), Some(member), None) = (&self.running, &self.enlisted, self.hold) else { return None };
        if running.is_stirred() || !self.inbox.is_empty() || self.announce || self.unnamed.is_some() {
            return Some(self.now);
        }
        running.next_deadline().into_iter().chain([member.lease.until()]).min()
    }

    /// Does what is due at this time: call it when [`next_timeout`](Self::next_timeout) has passed, when [`news`](Self::news) rings, and after [`wrap`](Self::wrap) has kept a message.
    pub fn on_timeout(&mut self, now: Instant) -> Actions<'_> {
        self.now = self.now.max(now);
        Actions { member: self }
    }

    /// Rings when [`on_timeout`](Self::on_timeout) should be called although its time hasn't come: the coordinator has said something.
    #[must_use]
    pub fn news(&self) -> News {
        News(Arc::clone(&self.news))
    }

    /// The connection to this member was set up anew, and what was under way on the old one may be lost: what isn't acknowledged is sent again. Only needed where
    /// the carrier is reliable.
    pub fn reconnected(&mut self, to: &MemberName) {
        if let (Some(running), Some(id)) = (&mut self.running, self.directory.id(to)) {
            running.reopen(id, Instant::now());
        }
    }

    /// This member's own name.
    #[must_use]
    pub fn me(&self) -> &MemberName {
        self.directory.me()
    }

    /// Every other member of the cluster, by name.
    pub fn peers(&self) -> impl Iterator<Item = &MemberName> {
        self.directory.peers()
    }

    /// What another member has as its [`AgentConfig::advertise`]. It changes when its process is started again.
    #[must_use]
    pub fn address(&self, of: &MemberName) -> Option<&str> {
        self.directory.id(of).and_then(|id| self.directory.peer(id)).map(|peer| peer.address.as_str())
    }

    /// The generation that the member runs in; 0 while it doesn't. Each restore raises it.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.running.as_ref().map_or(Generation::default(), Running::generation)
    }

    /// What the member is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let phase = match (self.ended, self.hold) {
            (true, _) => Phase::Stopped,
            (false, _) if self.enlisted.is_none() => Phase::Registering,
            (false, None) => Phase::Running,
            (false, Some(Hold::Waiting | Hold::NewerGeneration)) => Phase::Waiting,
            (false, Some(Hold::Preparing)) => Phase::Preparing,
            (false, Some(Hold::LeaseExpired)) => Phase::LeaseExpired,
        };
        let status = Status { phase, peers: self.directory.len(), last_committed: self.last_committed, ..Status::default() };
        let status = match &self.enlisted {
            None => status,
            Some(member) => Status {
                incarnation: member.incarnation,
                parts_reported: member.outward.parts_reported.load(Ordering::Relaxed),
                ..status
            },
        };
        match &self.running {
            None => status,
            Some(running) => Status {
                generation: running.generation(),
                epoch: running.participant.epoch(),
                delivered: running.delivered,
                sent: running.sent,
                unsent: running.outgoing.values().map(|channel| channel.outbox.len() as u64).sum(),
                refused_frames: running.refused,
                ..status
            },
        }
    }

    /// Whether every action was taken out and the last request was answered.
    pub(super) fn is_drained(&self) -> bool {
        self.notices.is_empty()
            && self.asked.is_none()
            && self.replay.is_none()
            && self.running.as_ref().is_none_or(|running| running.participant.is_drained())
    }

    fn may_go_on(&self) -> bool {
        self.hold.is_none() && !self.ended && self.is_drained()
    }

    /// Looks at the clock now and then, and finds out that the lease has run out.
    fn look(&mut self) {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.is_multiple_of(CALLS_A_LOOK) {
            self.now = self.now.max(Instant::now());
            self.check_lease();
        }
    }

    pub(super) fn check_lease(&mut self) {
        if self.hold.is_none() && self.enlisted.as_ref().is_some_and(|member| self.now >= member.lease.until()) {
            tracing::warn!(parent: &self.background.span, "the lease ran out: holding still until the coordinator is heard again");
            self.hold = Some(Hold::LeaseExpired);
        }
    }

    /// Takes a frame in at once, or lets it wait.
    fn take(&mut self, frame: Frame, length: usize) -> Result<(), UnwrapError> {
        let Some(member) = &self.enlisted else { return Ok(()) };
        let (from, tag) = (frame.from, member.tag);
        if frame.to != member.id {
            let (expected, found) = (member.id, frame.to);
            return Err(UnwrapError::Refused(ReceiveError::NotForMe { from, expected, found }));
        }
        if let (FrameBody::Open { .. }, None, None) = (&frame.body, self.hold, self.directory.name(from)) {
            return Err(UnwrapError::UnknownMember { from });
        }
        if self.directory.has_left(from, frame.from_incarnation) {
            // What one that left says is of the past, and nobody waits for it.
            return Err(UnwrapError::Refused(ReceiveError::UnknownChannel { from }));
        }
        let newer = self.running.as_ref().is_some_and(|running| frame.generation > running.generation());
        if newer && self.hold.is_none() {
            tracing::warn!(
                parent: &self.background.span, generation = %frame.generation,
                "a peer is in a newer generation; holding still until the coordinator is heard"
            );
            self.hold = Some(Hold::NewerGeneration);
        }
        if self.inbox.is_empty() && self.may_go_on() {
            return self.receive(frame);
        }
        let (frames, bytes) = (self.inbox.len(), self.inbox_bytes);
        if frames >= self.limits.outbox_messages || (frames > 0 && bytes + length as u64 > self.limits.outbox_bytes) {
            // A frame has one encoding, so these are the bytes that came.
            let frame = Envelope::seal(tag, &frame).into_bytes();
            return Err(UnwrapError::Holding { frames, bytes, frame });
        }
        self.inbox.push_back((frame, length));
        self.inbox_bytes += length as u64;
        Ok(())
    }

    /// Gives a frame to the participant, which is drained.
    fn receive(&mut self, frame: Frame) -> Result<(), UnwrapError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.receive(frame) {
            Ok(()) => Ok(()),
            Err(error) if running.participant.is_drained() => Err(UnwrapError::Refused(error)),
            Err(error) => {
                // What it told of cuts is among the actions.
                tracing::debug!(parent: &self.background.span, %error, "the message of a frame was refused");
                Ok(())
            }
        }
    }

    /// Takes in the next frame that waits. False if none does.
    pub(super) fn work_off_inbox(&mut self) -> bool {
        let newer = |frame: &Frame, running: &Running| frame.generation > running.generation();
        let Some((frame, _)) = self.inbox.front() else { return false };
        if self.running.as_ref().is_some_and(|running| newer(frame, running)) {
            self.hold = Some(Hold::NewerGeneration);
            return false;
        }
        if let Some((frame, length)) = self.inbox.pop_front() {
            self.inbox_bytes -= length as u64;
            if let Err(error) = self.receive(frame) {
                tracing::debug!(parent: &self.background.span, %error, "a frame that waited was refused");
            }
        }
        true
    }

    /// The next thing to do.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.give_up_unanswered();
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Some(notice);
            }
            // Before anything of the new generation: these messages count as received, so a cut must find them processed.
            if let Some(action) = self.replay() {
                return Some(action);
            }
            if let Some(action) = self.carry_out() {
                return Some(action);
            }
            if self.notices.is_empty() && !self.advance() {
                return None;
            }
        }
    }

    /// Carries out what the participant asks for, up to the next thing that is the application's.
    fn carry_out(&mut self) -> Option<Action> {
        let (Some(running), Some(member)) = (&mut self.running, &self.enlisted) else { return None };
        while let Some(output) = running.participant.poll() {
            match output {
                Output::Deliver { from, payload, .. } => {
                    running.delivered += 1;
                    running.acknowledging.delivered(payload.len());
                    // Nobody can open a channel whose name isn't known.
                    let Some(from) = self.directory.name(from) else { continue };
                    return Some(Action::Deliver { from: from.clone(), message: payload });
                }
                Output::Transmit { to, frame } => {
                    let Some(to) = self.directory.name(to) else { continue };
                    return Some(Action::Send { to: to.clone(), envelope: Envelope::seal(member.tag, &frame) });
                }
                Output::Acknowledged { to } => running.stir(to),
                Output::Opened { to } => running.opened(to, Instant::now()),
                Output::Capture { first, last } => {
                    let request = || CaptureRequest { generation: running.generation(), first, last };
                    self.asked = Some(request());
                    return Some(Action::Capture(request()));
                }
                Output::Record { epochs, from, seq, payload } => {
                    running.books(&self.directory).record(&epochs, from, seq, payload);
                }
                Output::Log { epochs, to, messages } => running.books(&self.directory).log(&epochs, to, messages),
                // Only with aligned channels, which a wrapped member doesn't begin with.
                Output::Resume { .. } => {}
                Output::Sealed { epoch, counters } => {
                    let _in_span = self.background.span.enter();
                    running.books(&self.directory).sealed(epoch, &counters);
                }
                Output::Violated { from, epochs, expected, found } => {
                    running.books(&self.directory).violated(from, &epochs, expected, found);
                }
                Output::Replaced { from, incarnation, epochs } => {
                    running.books(&self.directory).replaced(from, incarnation, &epochs);
                }
                // Frames of a newer generation don't get so far.
                Output::NewerGeneration { .. } => self.hold = Some(Hold::NewerGeneration),
            }
        }
        None
    }

    /// The next message that was in flight at the snapshot.
    fn replay(&mut self) -> Option<Action> {
        match self.replay.as_mut()?.next() {
            Ok(Some((from, message))) => Some(Action::Deliver { from, message }),
            Ok(None) => {
                self.replay = None;
                None
            }
            Err(source) => {
                self.replay = None;
                self.end(AgentError::Restore { generation: self.generation(), source });
                None
            }
        }
    }

    pub(super) fn end(&mut self, error: AgentError) {
        self.ended = true;
        self.running = None;
        self.inbox.clear();
        self.notices.push_back(Action::Ended(error));
    }

    /// Takes the answer to the last request.
    pub(super) fn answer(&mut self, request: CaptureRequest, state: Capture) {
        if self.asked.as_ref() != Some(&request) {
            tracing::warn!(parent: &self.background.span, "a capture was answered too late: it isn't used, and its snapshot was aborted");
            return;
        }
        self.asked = None;
        let Some(running) = &mut self.running else { return };
        // What waits to be sent now, and not at the cut: until here the application may have added to it.
        let unsent = running.unsent(&self.directory);
        running.recordings.captured(request.first.0..=request.last.0, state, unsent);
        running.cut(Instant::now());
    }

    /// The application asked for the next action without answering.
    fn give_up_unanswered(&mut self) {
        let Some(CaptureRequest { first, last, .. }) = self.asked.take() else { return };
        tracing::warn!(parent: &self.background.span, "Action::Capture wasn't answered: its snapshot is aborted");
        let Some(running) = &mut self.running else { return };
        running.books(&self.directory).not_captured(first, last);
        running.cut(Instant::now());
    }

    pub(super) fn identity(&self, generation: Generation) -> Option<Identity> {
        let member = self.enlisted.as_ref()?;
        Some(Identity { member: member.id, incarnation: member.incarnation, generation })
    }

    /// Begins a generation.
    pub(super) fn begin(&mut self, participant: Participant, epoch: Epoch) {
        if let Some(member) = &self.enlisted {
            let recordings = crate::driver::recordings::Recordings::new(Arc::clone(&self.budget), member.outward.clone());
            self.running = Some(Running::new(participant, epoch, recordings, self.carrier, Arc::clone(&self.limits)));
        }
        self.unnamed = None;
        self.hold = None;
        self.announce = true;
    }
}
