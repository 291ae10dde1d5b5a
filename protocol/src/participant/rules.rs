//! The rules that tests break on purpose.
//!
//! A rule is worth something only if a test fails without it. So each of the rules below can be switched off, one at a time, in a participant
//! that a test makes; production code has no way to reach that.

/// A rule that a participant made for a test doesn't keep.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenRule {
    /// Delivers a frame's message first and cuts the frame's epoch afterwards.
    DeliverBeforeCut,
    /// Puts the marker behind the next message, and counts that one.
    MarkerBehindLaterMessage,
    /// Doesn't record.
    NoRecording,
    /// Closes a channel at its marker, though messages before it are still missing.
    CloseAtMarker,
    /// Stamps a message that it transmits again with the newest epoch instead of the first.
    RetransmissionTakesNewEpoch,
    /// Takes frames of an older generation.
    OldGenerationAccepted,
}

impl BrokenRule {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::DeliverBeforeCut,
        Self::MarkerBehindLaterMessage,
        Self::NoRecording,
        Self::CloseAtMarker,
        Self::RetransmissionTakesNewEpoch,
        Self::OldGenerationAccepted,
    ];
}

/// The rules that a participant keeps: all, unless a test broke one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    broken: Option<BrokenRule>,
}

impl Rules {
    pub(super) const fn without(rule: BrokenRule) -> Self {
        Self { broken: Some(rule) }
    }

    fn keeps(self, rule: BrokenRule) -> bool {
        self.broken != Some(rule)
    }

    pub(super) fn cut_before_delivery(self) -> bool {
        self.keeps(BrokenRule::DeliverBeforeCut)
    }

    pub(super) fn marker_before_later_messages(self) -> bool {
        self.keeps(BrokenRule::MarkerBehindLaterMessage)
    }

    pub(super) fn record(self) -> bool {
        self.keeps(BrokenRule::NoRecording)
    }

    pub(super) fn close_when_complete(self) -> bool {
        self.keeps(BrokenRule::CloseAtMarker)
    }

    pub(super) fn retransmission_keeps_epoch(self) -> bool {
        self.keeps(BrokenRule::RetransmissionTakesNewEpoch)
    }

    pub(super) fn fence_old_generations(self) -> bool {
        self.keeps(BrokenRule::OldGenerationAccepted)
    }

    /// A participant checks a channel's state before it seals a part. One with a broken rule doesn't, so that the test's own checks are put to the test.
    pub(super) fn check_before_sealing(self) -> bool {
        self.broken.is_none()
    }
}
