//! One epoch that is cut and not sealed: what was counted at the cut, and what is recorded since.

use std::collections::BTreeMap;

use crate::{
    ids::{Incarnation, MemberId, Seq},
    invariant::{Inexact, check_channel},
    participant::{
        Missing, SealedCounters,
        rules::{BrokenRule, Rules},
    },
    ranges::SeqRanges,
};

/// How far one incoming channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// The marker isn't known.
    AwaitsMarker,
    /// The marker said how many messages were sent; not all of them are here.
    AwaitsMessages { sent: u64 },
    /// All that belongs to the channel's state is here.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ChannelRecording {
    phase: Phase,
    /// At the cut.
    received: SeqRanges,
    /// Since the cut.
    recorded: SeqRanges,
    bytes: u64,
}

/// One epoch that is cut and not sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Recording {
    sent: BTreeMap<MemberId, u64>,
    /// The peers that were replaced before the cut.
    replaced: BTreeMap<MemberId, Incarnation>,
    channels: BTreeMap<MemberId, ChannelRecording>,
    unclosed: usize,
}

/// What a marker or a message made of a channel's recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing has changed for the epoch as a whole.
    Same,
    /// The last channel is closed.
    Complete,
    /// The marker contradicts what is known, or the channel's state isn't what the marker says.
    Contradicts { expected: u64, found: u64 },
}

impl Recording {
    /// Begins with the counters of the cut. `received` says of each incoming channel whether its sender has opened it: one that isn't open needs no marker, as
    /// its sender will have cut this epoch before it may use the channel.
    pub(super) fn new(
        sent: BTreeMap<MemberId, u64>,
        replaced: BTreeMap<MemberId, Incarnation>,
        received: impl Iterator<Item = (MemberId, SeqRanges, bool)>,
    ) -> Self {
        let mut unclosed = 0;
        let channels = received
            .map(|(from, received, open)| {
                unclosed += usize::from(open);
                let phase = if open { Phase::AwaitsMarker } else { Phase::Closed };
                (from, ChannelRecording { phase, received, recorded: SeqRanges::new(), bytes: 0 })
            })
            .collect();
        Self { sent, replaced, channels, unclosed }
    }

    /// Whether all channels are closed.
    pub(super) fn is_complete(&self) -> bool {
        self.unclosed == 0
    }

    /// Whether this channel isn't closed.
    pub(super) fn waits_for(&self, from: MemberId) -> bool {
        self.channels.get(&from).is_some_and(|channel| channel.phase != Phase::Closed)
    }

    /// Notes a message that was sent before the sender's cut and arrives after ours. False if the channel is closed (or wasn't open at the cut).
    pub(super) fn record(&mut self, from: MemberId, seq: Seq, bytes: u64) -> bool {
        match self.channels.get_mut(&from) {
            Some(channel) if channel.phase != Phase::Closed => {
                channel.recorded.insert(seq);
                channel.bytes += bytes;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes down the marker of a channel. `now` is what is received by now.
    pub(super) fn mark(&mut self, from: MemberId, sent: u64, now: &SeqRanges, rules: Rules) -> Progress {
        let Some(channel) = self.channels.get_mut(&from) else { return Progress::Same };
        match channel.phase {
            Phase::Closed => Progress::Same,
            Phase::AwaitsMessages { sent: known } if known == sent => Progress::Same,
            Phase::AwaitsMessages { sent: known } => Progress::Contradicts { expected: known, found: sent },
            Phase::AwaitsMarker if rules.check_before_sealing() && channel.received.max() > sent => {
                Progress::Contradicts { expected: channel.received.max(), found: sent }
            }
            Phase::AwaitsMarker => {
                channel.phase = Phase::AwaitsMessages { sent };
                if rules.breaks(BrokenRule::CloseAtMarker) {
                    self.close(from, rules)
                } else {
                    self.close_if_covered(from, now, rules)
                }
            }
        }
    }

    /// The sender has left, and all that it ever sent is received: what of it belongs to the channel's state was recorded. (Each message's stamp tells on which side
    /// of the sender's cut it is; the marker would only tell when the last of them is in.)
    pub(super) fn end(&mut self, from: MemberId, now: &SeqRanges, rules: Rules) -> Progress {
        let Some(channel) = self.channels.get_mut(&from) else { return Progress::Same };
        match channel.phase {
            Phase::AwaitsMarker => {
                let sent = channel.received.max().max(channel.recorded.max());
                channel.phase = Phase::AwaitsMessages { sent };
                self.close(from, rules)
            }
            Phase::AwaitsMessages { .. } => self.close_if_covered(from, now, rules),
            Phase::Closed => Progress::Same,
        }
    }

    /// Closes the channel if its marker is known and everything up to it is received.
    pub(super) fn close_if_covered(&mut self, from: MemberId, now: &SeqRanges, rules: Rules) -> Progress {
        match self.channels.get(&from).map(|channel| channel.phase) {
            Some(Phase::AwaitsMessages { sent }) if now.covers(sent) => self.close(from, rules),
            Some(Phase::AwaitsMessages { .. } | Phase::AwaitsMarker | Phase::Closed) | None => Progress::Same,
        }
    }

    fn close(&mut self, from: MemberId, rules: Rules) -> Progress {
        let Some(channel) = self.channels.get_mut(&from) else { return Progress::Same };
        if let Phase::AwaitsMessages { sent } = channel.phase
            && rules.check_before_sealing()
            && let Some(inexact) = check_channel(sent, &channel.received, &channel.recorded).into_iter().next()
        {
            let (expected, found) = match inexact {
                Inexact::Orphan { seq, sent } | Inexact::NotSent { seq, sent } => (sent, seq.0),
                Inexact::Twice { seq } => (seq.0 + 1, seq.0),
                Inexact::Missing { first, sent, .. } => (first.0, sent),
            };
            return Progress::Contradicts { expected, found };
        }
        channel.phase = Phase::Closed;
        self.unclosed -= 1;
        if self.unclosed == 0 || rules.breaks(BrokenRule::SealsAtFirstClose) { Progress::Complete } else { Progress::Same }
    }

    /// What is still waited for.
    pub(super) fn missing<'a>(&'a self, now: impl Fn(MemberId) -> Option<&'a SeqRanges>) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (&from, channel) in &self.channels {
            let received = now(from).unwrap_or(&channel.received);
            match channel.phase {
                Phase::Closed => {}
                Phase::AwaitsMarker => missing.push(Missing { from, received: received.len(), expected: None }),
                Phase::AwaitsMessages { sent } => {
                    missing.push(Missing { from, received: received.count_through(sent), expected: Some(sent) });
                }
            }
        }
        missing
    }

    pub(super) fn into_counters(self) -> SealedCounters {
        let mut counters = SealedCounters { sent: self.sent, peers: self.replaced, ..SealedCounters::default() };
        for (from, channel) in self.channels {
            if !channel.recorded.is_empty() {
                counters.recorded.insert(from, (channel.recorded, channel.bytes));
            }
            if !channel.received.is_empty() {
                counters.received.insert(from, channel.received);
            }
        }
        counters
    }
}
