//! The sender's side: opening channels, sending, retransmitting.

use bytes::Bytes;

use super::{
    Awaited, ChannelOrdering, Participant, SendError, Unacknowledged,
    outgoing::{Again, Link, Outgoing},
    rules::BrokenRule,
};
use crate::{
    frame::FrameBody,
    ids::{Incarnation, MemberId, Seq},
};

impl Participant {
    /// Opens the channel to a peer; after [`Participant::disconnected`], or whenever the transport was set up anew, opens it again: it goes on where it
    /// was. Nothing can be sent on it until the peer's answer ([`Output::Opened`](super::Output::Opened)).
    ///
    /// A newer incarnation of the peer is another process: the channel to it begins at 0, and what the old one didn't acknowledge is dropped. An older
    /// incarnation than the known one is ignored. The ordering of a channel is that of its first open.
    pub fn open(&mut self, peer: MemberId, peer_incarnation: Incarnation, ordering: ChannelOrdering) {
        let known = self
            .outgoing
            .get(&peer)
            .map(|channel| channel.peer_incarnation)
            .max(self.incoming.get(&peer).map(|channel| channel.peer_incarnation));
        if known.is_some_and(|known| known > peer_incarnation) {
            return;
        }
        self.replace_peer(peer, peer_incarnation);
        self.align();
        let restored = &mut self.restored.sent;
        let channel = self
            .outgoing
            .entry(peer)
            .or_insert_with(|| Outgoing::new(peer_incarnation, ordering, restored.remove(&peer).unwrap_or(0)));
        channel.link = Link::Opening;
        let ordering = channel.ordering;
        self.transmit(peer, peer_incarnation, self.epoch, Vec::new(), FrameBody::Open { ordering });
    }

    /// The transport of me -> peer is gone. Nothing is transmitted on the channel until it is opened again; what isn't acknowledged is kept.
    pub fn disconnected(&mut self, peer: MemberId) {
        if let Some(channel) = self.outgoing.get_mut(&peer) {
            channel.link = Link::Down;
            if self.rules.breaks(BrokenRule::ForgetsUnacknowledged) {
                channel.forget();
            }
        }
    }

    /// Whether messages can be sent to this peer.
    #[must_use]
    pub fn is_open(&self, peer: MemberId) -> bool {
        self.outgoing.get(&peer).is_some_and(|channel| channel.link == Link::Open)
    }

    /// Sends a message: numbers it, retains it until it is acknowledged, and transmits it.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] if the channel isn't open; the message isn't sent.
    pub fn send(&mut self, to: MemberId, payload: Bytes) -> Result<Seq, SendError> {
        let early = self.rules.breaks(BrokenRule::SendsBeforeHandshake);
        let usable = |link| link == Link::Open || (early && link == Link::Opening);
        let Some(channel) = self.outgoing.get_mut(&to).filter(|channel| usable(channel.link)) else {
            return Err(SendError::NotOpen { to });
        };
        let seq = channel.push(self.epoch, payload.clone());
        let incarnation = channel.peer_incarnation;
        let late_markers = std::mem::take(&mut channel.markers_held_back);
        let markers = if late_markers { Vec::new() } else { channel.markers_with_data() };
        self.transmit(to, incarnation, self.epoch, markers, FrameBody::Data { seq, payload });
        if late_markers {
            self.put_late_markers(to);
        }
        Ok(seq)
    }

    /// Only in a participant without the rule that markers go ahead of later messages.
    #[cold]
    fn put_late_markers(&mut self, to: MemberId) {
        if let Some(channel) = self.outgoing.get_mut(&to) {
            channel.recount_markers(self.epoch);
            let (incarnation, markers) = (channel.peer_incarnation, channel.markers());
            self.transmit(to, incarnation, self.epoch, markers, FrameBody::Marker);
        }
    }

    /// What is retained for this peer because it isn't acknowledged. This is the only memory of a participant that grows with use: bound it by not
    /// sending.
    #[must_use]
    pub fn unacknowledged(&self, to: MemberId) -> Unacknowledged {
        self.outgoing.get(&to).map(Outgoing::unacknowledged).unwrap_or_default()
    }

    /// What this peer hasn't acknowledged for longest: what a timer of retransmissions goes by.
    #[must_use]
    pub fn awaited(&self, to: MemberId) -> Awaited {
        self.outgoing.get(&to).map(Outgoing::awaited).unwrap_or_default()
    }

    /// For channels that lose frames: transmits again all that isn't acknowledged, the open of a handshake and the markers too. Each message keeps the epoch
    /// of its first transmission. Does nothing on a fifo channel, which loses nothing but its connection, and on one whose transport is gone.
    pub fn retransmit(&mut self, to: MemberId) {
        self.retransmit_through(to, Seq(u64::MAX));
    }

    /// As [`retransmit`](Self::retransmit), but only messages up to this one: those sent later may still be acknowledged.
    pub fn retransmit_through(&mut self, to: MemberId, through: Seq) {
        let Some(channel) = self.outgoing.get(&to) else { return };
        match (channel.ordering, channel.link) {
            (ChannelOrdering::Unordered, Link::Open) => self.transmit_again(to, through),
            (ChannelOrdering::Unordered, Link::Opening) => {
                let (incarnation, ordering) = (channel.peer_incarnation, channel.ordering);
                self.transmit(to, incarnation, self.epoch, Vec::new(), FrameBody::Open { ordering });
            }
            (ChannelOrdering::Unordered, Link::Down) | (ChannelOrdering::Fifo, Link::Opening | Link::Open | Link::Down) => {}
        }
    }

    /// Transmits all up to `through` that isn't acknowledged, in its order.
    pub(super) fn transmit_again(&mut self, to: MemberId, through: Seq) {
        let Some(channel) = self.outgoing.get_mut(&to) else { return };
        let incarnation = channel.peer_incarnation;
        let silent = self.rules.breaks(BrokenRule::MarkersNotRepeated);
        let with_data = if silent { Vec::new() } else { channel.markers_with_data() };
        let again = channel.again(through);
        channel.markers_held_back = false;
        for one in again {
            match one {
                Again::Markers(_) if silent => {}
                Again::Markers(markers) => self.transmit(to, incarnation, self.epoch, markers, FrameBody::Marker),
                Again::Message(seq, message) => {
                    // A message that took the newest epoch would not be recorded by a receiver that has cut it, though it was sent before.
                    let epoch =
                        if self.rules.breaks(BrokenRule::RetransmissionTakesNewEpoch) { self.epoch } else { message.epoch };
                    self.transmit(to, incarnation, epoch, with_data.clone(), FrameBody::Data { seq, payload: message.payload });
                }
            }
        }
    }
}
