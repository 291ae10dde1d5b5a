//! Cutting, aborting and sealing epochs.

use std::collections::BTreeMap;

use super::{
    MAX_OPEN_EPOCHS, Missing, Output, Participant, incoming::Order, outgoing::Link, recording::Progress, recording::Recording,
    rules::BrokenRule,
};
use crate::{
    frame::{FrameBody, Marker},
    ids::{Epoch, MemberId, Seq},
    participant::{ChannelOrdering, ChannelState},
};

impl Participant {
    /// The coordinator began this epoch: cuts it, and all before it that aren't cut. Does nothing if it is cut already. A member with aligned channels cuts it
    /// when all of its incoming channels have brought their markers, and at once only if it has none.
    pub fn begin(&mut self, epoch: Epoch) {
        if self.is_aligned() {
            self.begun = self.begun.max(epoch);
            self.align();
            return;
        }
        self.cut(epoch);
    }

    /// Drops what was recorded for this epoch; no [`Output::Sealed`] comes for it. The process's epoch doesn't go back. An epoch that isn't cut yet will
    /// be passed without recording it.
    pub fn abort(&mut self, epoch: Epoch) {
        if epoch > self.epoch {
            self.aborted_ahead.insert(epoch);
            if self.aborted_ahead.len() > MAX_OPEN_EPOCHS {
                // To forget that an epoch was aborted is harmless: it is recorded until it is aborted again.
                self.aborted_ahead.pop_last();
            }
            self.align();
        } else {
            if !self.rules.breaks(BrokenRule::AbortKeepsRecording) {
                self.recordings.remove(&epoch);
            }
            if !self.rules.breaks(BrokenRule::AbortKeepsMarker) {
                self.outgoing.values_mut().for_each(|channel| channel.unmark(epoch));
            }
        }
    }

    /// The epochs that are cut and neither sealed nor aborted, ascending.
    pub fn open_epochs(&self) -> impl Iterator<Item = Epoch> {
        self.recordings.keys().copied()
    }

    /// What an open epoch still waits for, by sender; empty if it isn't open. With aligned channels also what an epoch that isn't cut waits for.
    #[must_use]
    pub fn missing(&self, epoch: Epoch) -> Vec<Missing> {
        self.recordings
            .get(&epoch)
            .map(|recording| recording.missing(|from| self.incoming.get(&from).map(|channel| &channel.received)))
            .unwrap_or_else(|| self.unaligned(epoch))
    }

    /// Cuts all epochs through `last` at this point of the execution, with one capture.
    pub(super) fn cut(&mut self, last: Epoch) {
        if last <= self.epoch && (last == self.epoch || !self.rules.breaks(BrokenRule::EpochGoesBack)) {
            return;
        }
        // Of a leap that is too wide only the newest epochs are recorded.
        let mut first = self.epoch.next().0.max(last.0.saturating_sub(MAX_OPEN_EPOCHS as u64 - 1));
        if self.rules.breaks(BrokenRule::LeapForgetsOlder) {
            first = last.0;
        }
        let passed = |epoch: &Epoch| self.aborted_ahead.contains(epoch) && !self.rules.breaks(BrokenRule::AbortedAheadIsRecorded);
        let epochs: Vec<Epoch> = (first..=last.0).map(Epoch).filter(|epoch| !passed(epoch)).collect();
        self.aborted_ahead = self.aborted_ahead.split_off(&last.next());
        self.epoch = last;
        let (Some(&oldest), Some(&newest)) = (epochs.first(), epochs.last()) else { return };
        self.outputs.push_back(Output::Capture { first: oldest, last: newest });
        let sent = self.sent_so_far();
        match self.channel_state {
            ChannelState::SenderLogged => {
                let logged = self.log(&epochs);
                self.put_bare_markers();
                self.seal_logged(&epochs, &sent, &logged);
            }
            ChannelState::Marker | ChannelState::Aligned => {
                self.put_markers(&epochs);
                self.record_from_here(&epochs, &sent);
            }
        }
    }

    /// Opens the recordings of epochs that are being cut.
    fn record_from_here(&mut self, epochs: &[Epoch], sent: &BTreeMap<MemberId, u64>) {
        let awaits_unopened = self.rules.breaks(BrokenRule::AwaitsUnopened);
        let replaced = self.peers_replaced();
        for &epoch in epochs {
            let unopened = self.restored.received.iter().map(|(&from, received)| (from, received.clone(), awaits_unopened));
            // A channel that is aligned has brought all that it could bring.
            let awaits_marker = |reached: Epoch| !self.is_aligned() || reached < epoch;
            let open = self.incoming.iter();
            let open = open.map(|(&from, channel)| (from, channel.received.clone(), awaits_marker(channel.reached)));
            let recording = Recording::new(sent.clone(), replaced.clone(), unopened.chain(open));
            let complete = recording.is_complete();
            self.recordings.insert(epoch, recording);
            if complete {
                self.seal(epoch);
            }
        }
        while self.recordings.len() > MAX_OPEN_EPOCHS {
            self.recordings.pop_first();
        }
    }

    /// Puts the markers of epochs that are being cut ahead of every later message on every outgoing channel.
    fn put_markers(&mut self, epochs: &[Epoch]) {
        let mut ready = Vec::new();
        for (&to, channel) in &mut self.outgoing {
            epochs.iter().for_each(|&epoch| channel.mark(epoch));
            match channel.link {
                Link::Open if self.rules.breaks(BrokenRule::MarkerBehindLaterMessage) => channel.markers_held_back = true,
                Link::Open => {
                    let markers = match channel.ordering {
                        ChannelOrdering::Fifo => epochs.iter().map(|&epoch| Marker { epoch, sent: channel.sent() }).collect(),
                        ChannelOrdering::Unordered => channel.markers(),
                    };
                    ready.push((to, channel.peer_incarnation, markers));
                }
                Link::Opening | Link::Down => {}
            }
        }
        for (to, incarnation, markers) in ready {
            self.transmit(to, incarnation, self.epoch, markers, FrameBody::Marker);
        }
    }

    /// Lets the peers know of a cut. What a frame's epoch says is all they need; should the frame be lost, a later one says it.
    fn put_bare_markers(&mut self) {
        let open = self.outgoing.iter().filter(|(_, channel)| channel.link == Link::Open);
        let peers: Vec<_> = open.map(|(&to, channel)| (to, channel.peer_incarnation)).collect();
        for (to, incarnation) in peers {
            self.transmit(to, incarnation, self.epoch, Vec::new(), FrameBody::Marker);
        }
    }

    pub(super) fn sent_so_far(&self) -> BTreeMap<MemberId, u64> {
        let unopened = self.restored.sent.iter().map(|(&to, &sent)| (to, sent));
        let opened = self.outgoing.iter().map(|(&to, channel)| (to, channel.sent()));
        unopened.chain(opened).filter(|&(_, sent)| sent > 0).collect()
    }

    fn seal(&mut self, epoch: Epoch) {
        if let Some(recording) = self.recordings.remove(&epoch) {
            self.outputs.push_back(Output::Sealed { epoch, counters: Box::new(recording.into_counters()) });
        }
    }

    /// Acts on what a marker or a message made of an epoch. If they contradict each other: what was expected, and what was found.
    pub(super) fn progress(&mut self, from: MemberId, epoch: Epoch, progress: Progress) -> Option<(u64, u64)> {
        match progress {
            Progress::Same => None,
            Progress::Complete => {
                self.seal(epoch);
                None
            }
            Progress::Contradicts { expected, found } => {
                self.abort(epoch);
                self.outputs.push_back(Output::Violated {
                    from,
                    epochs: vec![epoch],
                    expected: Seq(expected),
                    found: Seq(found),
                });
                Some((expected, found))
            }
        }
    }

    /// A fifo channel lost its order: it delivers nothing until it is opened again, and what is open is aborted here.
    pub(super) fn break_channel(&mut self, from: MemberId, expected: Seq, found: Seq) {
        let broken_before = self
            .incoming
            .get_mut(&from)
            .is_some_and(|channel| std::mem::replace(&mut channel.order, Order::Broken) == Order::Broken);
        let epochs: Vec<Epoch> = self.recordings.keys().copied().collect();
        epochs.iter().for_each(|&epoch| self.abort(epoch));
        if !broken_before || !epochs.is_empty() {
            self.outputs.push_back(Output::Violated { from, epochs, expected, found });
        }
    }
}
