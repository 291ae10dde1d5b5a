//! What a participant says of snapshots, brought to the recordings; and what the coordinator says of them, brought to both.

use std::collections::BTreeMap;

use bytes::Bytes;
use stillframe_api::{
    agent::{Assignment, OpenSnapshot},
    snapshot::{AbortReason, Channel},
};
use stillframe_archive::ChannelRecord;
use stillframe_protocol::{Epoch, Identity, Incarnation, MemberId, PartCounters, Participant, SealedCounters, Seq};

use super::recordings::Recordings;
use crate::directory::Directory;

/// How far behind epochs that ended unseen are told to the participant one by one.
const MAX_MISSED_EPOCHS: u64 = 1024;

/// Everything about the open snapshots of one member in one generation.
pub(crate) struct Books<'a> {
    pub(crate) participant: &'a mut Participant,
    pub(crate) recordings: &'a mut Recordings,
    pub(crate) directory: &'a Directory,
}

impl Books<'_> {
    fn channel_from(&self, from: MemberId) -> Option<Channel> {
        Some(Channel { from: self.directory.name(from)?.clone(), to: self.directory.me().clone() })
    }

    /// [`Output::Record`](stillframe_protocol::Output::Record).
    pub(crate) fn record(&mut self, epochs: &[Epoch], from: MemberId, seq: Seq, payload: Bytes) {
        let Some(channel) = self.channel_from(from) else {
            return self.fail(from, epochs, AbortReason::MemberFailed, |_| "a message came from an unknown member".to_owned());
        };
        let record = ChannelRecord::Recorded { from: channel.from.clone(), seq, payload };
        for epoch in epochs {
            if self.recordings.record(*epoch, &record, &channel).is_err() {
                self.participant.abort(*epoch);
            }
        }
    }

    /// [`Output::Sealed`](stillframe_protocol::Output::Sealed).
    pub(crate) fn sealed(&mut self, epoch: Epoch, counters: &SealedCounters) {
        let Identity { incarnation, generation, .. } = self.participant.identity();
        let name_of = |id| self.directory.name(id).cloned();
        let counters = PartCounters::from_sealed(self.directory.me().clone(), incarnation, generation, counters, name_of);
        self.recordings.sealed(epoch, counters);
    }

    /// [`Output::Violated`](stillframe_protocol::Output::Violated).
    pub(crate) fn violated(&mut self, from: MemberId, epochs: &[Epoch], expected: Seq, found: Seq) {
        self.fail(from, epochs, AbortReason::FifoViolation, |channel| {
            format!("{} -> {}: expected message {expected}, found {found}", channel.from, channel.to)
        });
    }

    /// [`Output::Replaced`](stillframe_protocol::Output::Replaced).
    pub(crate) fn replaced(&mut self, from: MemberId, incarnation: Incarnation, epochs: &[Epoch]) {
        self.fail(from, epochs, AbortReason::MemberFailed, |channel| {
            let Channel { from, to } = channel;
            format!("{from} was replaced by incarnation {incarnation} before {from} -> {to} was closed")
        });
    }

    /// The application gave no state for these epochs.
    pub(crate) fn not_captured(&mut self, first: Epoch, last: Epoch) {
        for epoch in (first.0..=last.0).map(Epoch) {
            self.participant.abort(epoch);
            let detail = "the application asked for its next action before it answered the request for its state".to_owned();
            self.recordings.fail(epoch, AbortReason::MemberFailed, detail, None);
        }
    }

    fn fail(&mut self, from: MemberId, epochs: &[Epoch], reason: AbortReason, detail: impl Fn(&Channel) -> String) {
        let channel = self.channel_from(from);
        for epoch in epochs {
            self.participant.abort(*epoch);
            let detail = channel.as_ref().map_or_else(|| reason.to_string(), &detail);
            self.recordings.fail(*epoch, reason, detail, channel.clone());
        }
    }

    fn listed<'a>(&self, assignment: &'a Assignment) -> BTreeMap<Epoch, &'a OpenSnapshot> {
        let generation = self.participant.identity().generation;
        let mine = |open: &&OpenSnapshot| open.in_view && open.generation == generation;
        assignment.snapshots.iter().filter(mine).map(|open| (open.epoch, open)).collect()
    }

    /// Drops snapshots that are over and begins those that are new, as the assignment lists them. Drain the participant, then [`name`](Self::name) them.
    pub(crate) fn begin(&mut self, assignment: &Assignment) {
        let listed = self.listed(assignment);
        let is_listed = |epoch| listed.contains_key(&epoch);
        for epoch in self.recordings.drop_ended(assignment.epoch, is_listed) {
            self.participant.abort(epoch);
        }
        // Epochs that ended before this member heard of them are passed without recording them.
        let unheard = (self.participant.epoch().0 + 1).max(assignment.epoch.0.saturating_sub(MAX_MISSED_EPOCHS));
        for epoch in (unheard..=assignment.epoch.0).map(Epoch).filter(|epoch| !is_listed(*epoch)) {
            self.participant.abort(epoch);
        }
        if let Some((newest, _)) = listed.last_key_value() {
            self.participant.begin(*newest);
        }
    }

    /// Gives what is recorded its snapshot, and says which snapshot can't be had here.
    pub(crate) fn name(&mut self, assignment: &Assignment, received_at: std::time::Instant) {
        for (epoch, open) in self.listed(assignment) {
            if !self.recordings.knows(epoch) {
                let detail = format!("this member had passed epoch {epoch} already and holds nothing of it");
                self.recordings.fail(epoch, AbortReason::MemberFailed, detail, None);
            }
            self.recordings.name(open, received_at);
        }
    }
}
