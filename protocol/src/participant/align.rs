//! Alignment: the cut waits until every incoming channel has brought its marker, so that the state of no channel is stored.
//!
//! An incoming channel has *reached* e once its sender is known to have cut e with all that it sent before received here: its marker has come, or a
//! message stamped e or later is next, or it was opened from behind e. What comes behind is held, at its sender's end of the connection: the
//! participant refuses the frame and keeps nothing. When all channels have reached e, e is cut with every channel empty.

use super::{ChannelState, Missing, Output, Participant, ReceiveError, incoming::Arrival, rules::BrokenRule};
use crate::ids::{Epoch, MemberId, Seq};

impl Participant {
    pub(super) fn is_aligned(&self) -> bool {
        self.channel_state == ChannelState::Aligned
    }

    /// Stops waiting for the channels that haven't brought their markers of this epoch (and of all before it): cuts here and records what they still bring, as
    /// [`ChannelState::Marker`] does. For an alignment that takes too long. Does nothing if the epoch is cut already, or the channels aren't aligned.
    pub fn unalign(&mut self, epoch: Epoch) {
        if self.is_aligned() && epoch > self.epoch {
            self.cut(epoch);
            self.resume();
            self.align();
        }
    }

    /// The channel has reached this epoch.
    pub(super) fn reached(&mut self, from: MemberId, epoch: Epoch) {
        if let Some(channel) = self.incoming.get_mut(&from) {
            channel.reached = channel.reached.max(epoch);
        }
    }

    /// Cuts what all incoming channels have reached; without any, what the coordinator began. Passes what was aborted.
    pub(super) fn align(&mut self) {
        if !self.is_aligned() {
            return;
        }
        let before = self.epoch;
        loop {
            let reached = self.incoming.values().map(|channel| channel.reached);
            let all = if self.rules.breaks(BrokenRule::AlignsAtFirstMarker) { reached.max() } else { reached.min() };
            let mut next = all.unwrap_or(self.begun).max(self.epoch);
            while self.aborted_ahead.contains(&next.next()) && !self.rules.breaks(BrokenRule::AlignsAborted) {
                next = next.next();
            }
            if next == self.epoch {
                break;
            }
            self.cut(next);
        }
        if self.epoch > before {
            self.resume();
        }
    }

    /// Refuses a message of an epoch that isn't cut yet. It is also the news that its channel has reached that epoch.
    pub(super) fn hold_message(&mut self, from: MemberId, seq: Seq, epoch: Epoch) -> Result<(), ReceiveError> {
        if !self.is_aligned() || epoch <= self.epoch || self.rules.breaks(BrokenRule::AlignedDeliversLater) {
            return Ok(());
        }
        if self.incoming.get(&from).is_some_and(|channel| channel.arrival(seq) == Arrival::New) {
            self.reached(from, epoch);
            self.align();
            return self.hold(from, epoch);
        }
        // It isn't the next message: what that means is found out where it would be delivered.
        Ok(())
    }

    /// Refuses a frame of an epoch that isn't cut yet.
    pub(super) fn hold(&mut self, from: MemberId, epoch: Epoch) -> Result<(), ReceiveError> {
        if epoch <= self.epoch {
            return Ok(());
        }
        self.held.insert(from);
        Err(ReceiveError::Held { from, epoch, cut: self.epoch })
    }

    fn resume(&mut self) {
        for from in std::mem::take(&mut self.held) {
            self.outputs.push_back(Output::Resume { from });
        }
    }

    /// The channels that haven't reached an epoch that was begun.
    pub(super) fn unaligned(&self, epoch: Epoch) -> Vec<Missing> {
        if !self.is_aligned() || epoch <= self.epoch {
            return Vec::new();
        }
        let behind = self.incoming.iter().filter(|(_, channel)| channel.reached < epoch);
        behind.map(|(&from, channel)| Missing { from, received: channel.received.len(), expected: None }).collect()
    }
}
