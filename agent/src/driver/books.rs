//! What a participant says of snapshots, brought to the recordings; and what the coordinator says of them, brought to both.

use std::{collections::BTreeMap, time::Instant};

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

    /// [`Output::Log`](stillframe_protocol::Output::Log).
    pub(crate) fn log(&mut self, epochs: &[Epoch], to: MemberId, messages: Vec<(Seq, Bytes)>) {
        let Some(to) = self.directory.name(to).cloned() else {
            // Sealing fails for the same reason: its counters name that member.
            return;
        };
        let channel = Channel { from: self.directory.me().clone(), to: to.clone() };
        let record = |(seq, payload)| ChannelRecord::Logged { to: to.clone(), seq, payload };
        let records: Vec<ChannelRecord> = messages.into_iter().map(record).collect();
        for epoch in epochs {
            // The participant has nothing open that could be aborted. An epoch whose log is too large has failed, and stays so when it is sealed.
            let _ = records.iter().try_for_each(|record| self.recordings.record(*epoch, record, &channel));
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
        self.fail(from, epochs, AbortReason::MembershipChanged, |channel| {
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
    /// Those that aren't cut at once wait for their channels to be aligned, until `aligned_until`, if there is such a time.
    pub(crate) fn begin(&mut self, assignment: &Assignment, aligned_until: Option<Instant>) {
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
        for epoch in listed.into_keys().filter(|epoch| *epoch > self.participant.epoch()) {
            self.recordings.align(epoch, aligned_until);
        }
    }

    /// Cuts what has waited too long for its channels to be aligned, and goes over to recording. Drain the participant then.
    pub(crate) fn unalign_due(&mut self, now: Instant) {
        while let Some((at, epoch)) = self.recordings.next_unalign()
            && at <= now
        {
            tracing::info!(%epoch, "channels take too long to be aligned: what they still bring is recorded");
            self.recordings.stop_aligning(epoch);
            self.participant.unalign(epoch);
        }
    }

    /// Gives what is recorded its snapshot, and says which snapshot can't be had here.
    pub(crate) fn name(&mut self, assignment: &Assignment, received_at: Instant) {
        for (epoch, open) in self.listed(assignment) {
            if !self.recordings.knows(epoch) {
                let detail = format!("this member had passed epoch {epoch} already and holds nothing of it");
                self.recordings.fail(epoch, AbortReason::MemberFailed, detail, None);
            }
            self.recordings.name(open, received_at);
        }
    }
}
