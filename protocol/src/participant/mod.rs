//! The algorithm of one process, as a machine without I/O: inputs are method calls, outputs are drained with [`Participant::poll`].
//!
//! The rules are written down, and proved, in `docs/protocol.md`. Where each of them lives:
//!
//! | rule | file |
//! | --- | --- |
//! | cut, abort, seal | `cut` |
//! | waiting for all markers, and holding back what comes behind them | `align` |
//! | what a sender logs at its cut | `log` |
//! | fencing, record, close, handshake from the receiver's side | `receive` |
//! | send, markers ahead of later messages, retransmission, handshake from the sender's side | `send` |
//! | what one end of a channel remembers | `outgoing`, `incoming` |
//! | what one open epoch remembers | `recording` |
//!
//! Memory: besides what [`Participant::unacknowledged`] counts (the caller bounds it by not sending), a participant holds for each channel at most
//! [`MAX_MARKERS`](crate::frame::MAX_MARKERS) markers and [`MAX_RANGES`](crate::frame::MAX_RANGES) ranges, and for each of at most
//! [`MAX_OPEN_EPOCHS`] open epochs a copy of the counters. Nothing is kept of an epoch that was sealed or aborted.

mod align;
mod cut;
mod error;
mod incoming;
mod log;
mod outgoing;
mod output;
mod receive;
mod recording;
mod rules;
mod send;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    frame::{Frame, FrameBody, Marker},
    ids::{Epoch, Generation, Incarnation, MemberId},
    ranges::SeqRanges,
};

pub use error::{ReceiveError, SendError};
pub use output::{Awaited, Missing, Output, SealedCounters, Unacknowledged};
#[doc(hidden)]
pub use rules::BrokenRule;

use incoming::Incoming;
use outgoing::Outgoing;
use recording::Recording;
use rules::Rules;

/// The most epochs that are recorded at once. Beyond it the oldest is given up here as if it had been aborted (its deadline ends the snapshot).
pub const MAX_OPEN_EPOCHS: usize = 1024;

/// What order the transport of a channel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelOrdering {
    /// Frames arrive in order, without loss or repetition, as long as the connection lasts. Anything else is an error that names the channel.
    Fifo,
    /// Frames may be lost (and are retransmitted), repeated and reordered.
    Unordered,
}

/// Who puts the state of a channel, the messages under way at the cut, into a snapshot. All members of a cluster have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// The receiver records what arrives between its cut and the marker. Takes until the marker has come through whatever is queued before it; holds exactly
    /// what was under way.
    #[default]
    Marker,
    /// The sender logs, at its cut, what isn't acknowledged. Takes no time; holds up to a window, of which what the receiver had received is skipped
    /// at a restore.
    SenderLogged,
    /// There is none: the receiver holds a channel back behind its marker until all of its channels have brought theirs, and cuts then. For channels
    /// that are all fifo and form no cycle ([`find_cycle`](crate::topology::find_cycle)); unordered ones are refused. A snapshot waits for what is
    /// queued, and so does what comes behind it.
    Aligned,
}

/// Who a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The member.
    pub member: MemberId,
    /// This registration of it.
    pub incarnation: Incarnation,
    /// The generation it lives in.
    pub generation: Generation,
}

/// How far the channels of a member were at a cut: what a restored participant goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ChannelCounters {
    /// How many messages were sent on each outgoing channel.
    pub sent: BTreeMap<MemberId, u64>,
    /// What was received on each incoming channel, the recorded messages included (the driver delivers those before any new frame).
    pub received: BTreeMap<MemberId, SeqRanges>,
}

/// The algorithm of one process. See the [module's documentation](self).
///
/// After every call drain [`Participant::poll`] and carry out what it gives, in order, before the next call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Participant {
    identity: Identity,
    /// The newest epoch that is cut. Never goes back.
    epoch: Epoch,
    outgoing: BTreeMap<MemberId, Outgoing>,
    incoming: BTreeMap<MemberId, Incoming>,
    /// Counters of channels that were restored and aren't open yet.
    restored: ChannelCounters,
    /// The epochs that are cut and not sealed.
    recordings: BTreeMap<Epoch, Recording>,
    channel_state: ChannelState,
    /// The newest incarnation of each peer that was replaced.
    replaced: BTreeMap<MemberId, Incarnation>,
    /// The newest epoch that the coordinator began.
    begun: Epoch,
    /// The peers whose frames were refused until more is cut.
    held: BTreeSet<MemberId>,
    /// Epochs that were aborted before they were cut.
    aborted_ahead: BTreeSet<Epoch>,
    /// The senders whose channels brought something since the last acknowledgement.
    acks_due: Vec<MemberId>,
    /// The newest generation of which the driver was told.
    newest_generation: Generation,
    outputs: VecDeque<Output>,
    rules: Rules,
}

impl Participant {
    /// A process that begins without channels. `epoch` is the newest epoch that was allocated when this member became part of the cluster; it counts as cut.
    #[must_use]
    pub fn new(identity: Identity, epoch: Epoch) -> Self {
        Self::restored(identity, epoch, ChannelCounters::default())
    }

    /// A process that goes on from a snapshot: the numbers of each channel go on where its cut left them. `epoch` is as in [`Participant::new`].
    ///
    /// The identity's generation has to be newer than that of everything the process said before; all members go on from the same snapshot.
    #[must_use]
    pub fn restored(identity: Identity, epoch: Epoch, counters: ChannelCounters) -> Self {
        Self {
            identity,
            epoch,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            restored: counters,
            recordings: BTreeMap::new(),
            channel_state: ChannelState::default(),
            replaced: BTreeMap::new(),
            begun: Epoch(0),
            held: BTreeSet::new(),
            aborted_ahead: BTreeSet::new(),
            acks_due: Vec::new(),
            newest_generation: identity.generation,
            outputs: VecDeque::new(),
            rules: Rules::default(),
        }
    }

    /// Another way than [`ChannelState::Marker`] for the state of channels. Part of the construction: call it before anything else.
    #[must_use]
    pub fn with_channel_state(self, channel_state: ChannelState) -> Self {
        Self { channel_state, ..self }
    }

    /// For tests that have to show that they would notice.
    #[doc(hidden)]
    #[must_use]
    pub fn with_broken_rule(self, rule: BrokenRule) -> Self {
        Self { rules: Rules::without(rule), ..self }
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Who puts the state of its channels into a snapshot.
    #[must_use]
    pub fn channel_state(&self) -> ChannelState {
        self.channel_state
    }

    /// The newest epoch that is cut.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next thing to do. Drain it after every call, and carry out what it gives strictly in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`Participant::poll`] has nothing to give.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.outputs.is_empty()
    }

    /// A peer has left in good order: all that it sent was received here, all that was sent to it was received there, and neither sends the other anything any
    /// more. Forgets the channels from and to its incarnations up to this one; later parts count them no more. An epoch that waits for a marker of it closes the
    /// channel with what has come, for nothing else will. True if anything of such a channel was known.
    ///
    /// Begin first what the coordinator lists beside the news: those epochs may be of before the end, when both ends counted the channel.
    pub fn depart(&mut self, peer: MemberId, incarnation: Incarnation) -> bool {
        let mut known = false;
        if self.outgoing.get(&peer).is_some_and(|channel| channel.peer_incarnation <= incarnation) {
            self.outgoing.remove(&peer);
            known = true;
        }
        let closed = self.incoming.get(&peer).is_some_and(|channel| channel.peer_incarnation <= incarnation);
        if closed && let Some(channel) = self.incoming.remove(&peer) {
            known = true;
            self.acks_due.retain(|&member| member != peer);
            self.held.remove(&peer);
            let waiting = self.recordings.iter_mut().filter(|(_, recording)| recording.waits_for(peer));
            let ended: Vec<_> =
                waiting.map(|(&epoch, recording)| (epoch, recording.end(peer, &channel.received, self.rules))).collect();
            for (epoch, progress) in ended {
                self.progress(peer, epoch, progress);
            }
        }
        // What was restored of a channel that was never opened since is of the same past.
        if !self.outgoing.contains_key(&peer) && !self.incoming.contains_key(&peer) {
            known |= self.restored.sent.remove(&peer).is_some();
            known |= self.restored.received.remove(&peer).is_some();
            self.replaced.remove(&peer);
        }
        self.align();
        known
    }

    /// How many messages were sent to this peer in this life of the member and, after a restore, in the one that the snapshot shows.
    #[must_use]
    pub fn sent(&self, to: MemberId) -> u64 {
        self.outgoing.get(&to).map_or_else(|| self.restored.sent.get(&to).copied().unwrap_or(0), Outgoing::sent)
    }

    /// Whether this peer's first messages, so many of them, have all been received.
    #[must_use]
    pub fn has_received(&self, from: MemberId, messages: u64) -> bool {
        let received = self.incoming.get(&from).map(|channel| &channel.received).or_else(|| self.restored.received.get(&from));
        messages == 0 || received.is_some_and(|received| received.covers(messages))
    }

    /// How far the channels of this member are now: what it counts at its end, when it leaves and nothing is under way any more.
    #[must_use]
    pub fn counters(&self) -> ChannelCounters {
        let unopened = self.restored.received.iter().map(|(&from, received)| (from, received.clone()));
        let opened = self.incoming.iter().map(|(&from, channel)| (from, channel.received.clone()));
        let received = unopened.chain(opened).filter(|(_, received)| !received.is_empty()).collect();
        ChannelCounters { sent: self.sent_so_far(), received }
    }

    fn transmit(&mut self, to: MemberId, to_incarnation: Incarnation, epoch: Epoch, markers: Vec<Marker>, body: FrameBody) {
        let Identity { member: from, incarnation: from_incarnation, generation } = self.identity;
        let frame = Frame { generation, from, from_incarnation, to, to_incarnation, epoch, markers, body };
        self.outputs.push_back(Output::Transmit { to, frame });
    }

    /// The peers that counters have to name: what was counted of their older incarnations is gone.
    fn peers_replaced(&self) -> BTreeMap<MemberId, Incarnation> {
        if self.rules.breaks(BrokenRule::ReplacedUnnamed) { BTreeMap::new() } else { self.replaced.clone() }
    }

    /// Forgets the channels from and to older incarnations of a peer, and aborts what can't be sealed without them.
    fn replace_peer(&mut self, peer: MemberId, incarnation: Incarnation) {
        let newer_sender = self.incoming.get(&peer).is_some_and(|channel| channel.peer_incarnation < incarnation);
        let newer_receiver = self.outgoing.get(&peer).is_some_and(|channel| channel.peer_incarnation < incarnation);
        if newer_receiver {
            self.outgoing.remove(&peer);
        }
        if newer_sender {
            self.incoming.remove(&peer);
            self.acks_due.retain(|&member| member != peer);
        }
        if newer_sender || newer_receiver {
            self.replaced.insert(peer, incarnation);
            // Whatever was restored was meant for the incarnation that is gone.
            self.restored.sent.remove(&peer);
            self.restored.received.remove(&peer);
            let epochs: Vec<Epoch> =
                self.recordings.iter().filter(|(_, recording)| recording.waits_for(peer)).map(|(&epoch, _)| epoch).collect();
            epochs.iter().for_each(|&epoch| self.abort(epoch));
            self.outputs.push_back(Output::Replaced { from: peer, incarnation, epochs });
        }
    }
}
