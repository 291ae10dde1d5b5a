//! The rules that tests break on purpose.
//!
//! A rule is worth something only if a test fails without it. So each of the rules below can be switched off, one at a time, in a participant
//! that a test makes; production code has no way to reach that. Which test catches which of them is a table in `docs/protocol.md`.

/// A rule that a participant made for a test doesn't keep.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BrokenRule {
    /// Delivers a frame's message first and cuts the frame's epoch afterwards.
    DeliverBeforeCut,
    /// Puts the marker behind the next message, and counts that one.
    MarkerBehindLaterMessage,
    /// A marker is taken without cutting its epoch.
    MarkerDoesNotCut,
    /// An acknowledgement is taken without cutting its epoch.
    AcknowledgementDoesNotCut,
    /// Drops what a frame acknowledges first and cuts the frame's epoch afterwards.
    AcknowledgedBeforeCut,
    /// Doesn't say which incarnation of a replaced peer its counters speak of.
    ReplacedUnnamed,
    /// Doesn't log.
    LogsNothing,
    /// The two frames of a handshake are taken without cutting their epoch.
    HandshakeDoesNotCut,
    /// Takes a begin, or a frame, of an epoch that was passed for its own.
    EpochGoesBack,
    /// Records only the newest of the epochs that are cut together.
    LeapForgetsOlder,
    /// Stamps a message that it transmits again with the newest epoch instead of the first.
    RetransmissionTakesNewEpoch,
    /// Doesn't record.
    NoRecording,
    /// Records what was sent after the sender's cut as well.
    RecordsLaterMessages,
    /// Closes a channel at its marker, though messages before it are still missing.
    CloseAtMarker,
    /// Seals its part when the first channel is closed.
    SealsAtFirstClose,
    /// Delivers a number again.
    DeliversTwice,
    /// Takes any number on a fifo channel.
    FifoTakesGaps,
    /// Transmits messages on a channel before the answer to its open.
    SendsBeforeHandshake,
    /// Waits for the marker of a channel that wasn't open at its cut.
    AwaitsUnopened,
    /// Takes frames of an older generation.
    OldGenerationAccepted,
    /// Takes frames of a newer generation.
    NewerGenerationAccepted,
    /// Takes frames of an incarnation of a peer that was replaced.
    OldIncarnationAccepted,
    /// Takes frames that are for another incarnation of this member.
    ForeignIncarnationAccepted,
    /// Takes frames that are for another member.
    ForeignMemberAccepted,
    /// Goes on recording an epoch that was aborted.
    AbortKeepsRecording,
    /// Goes on transmitting the marker of an epoch that was aborted.
    AbortKeepsMarker,
    /// Records an epoch that was aborted before it was cut.
    AbortedAheadIsRecorded,
    /// Delivers what comes behind a marker instead of holding it back, in an aligned member.
    AlignedDeliversLater,
    /// Cuts at the first marker instead of the last, in an aligned member.
    AlignsAtFirstMarker,
    /// Takes the epoch of a frame for that of the marker in it, in an aligned member.
    AlignsByFrame,
    /// Waits for the markers of an epoch that was aborted, in an aligned member.
    AlignsAborted,
    /// Uses a channel whose receiver has cut more, in an aligned member.
    AlignedOpensEarly,
    /// Waits for markers of before a channel was opened, in an aligned member.
    AlignedOpenTellsNothing,
    /// Drops what isn't acknowledged when a connection breaks.
    ForgetsUnacknowledged,
    /// Transmits the messages that aren't acknowledged again, but not the markers.
    MarkersNotRepeated,
}

impl BrokenRule {
    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::DeliverBeforeCut,
        Self::MarkerBehindLaterMessage,
        Self::MarkerDoesNotCut,
        Self::AcknowledgementDoesNotCut,
        Self::AcknowledgedBeforeCut,
        Self::ReplacedUnnamed,
        Self::LogsNothing,
        Self::HandshakeDoesNotCut,
        Self::EpochGoesBack,
        Self::LeapForgetsOlder,
        Self::RetransmissionTakesNewEpoch,
        Self::NoRecording,
        Self::RecordsLaterMessages,
        Self::CloseAtMarker,
        Self::SealsAtFirstClose,
        Self::DeliversTwice,
        Self::FifoTakesGaps,
        Self::SendsBeforeHandshake,
        Self::AwaitsUnopened,
        Self::OldGenerationAccepted,
        Self::NewerGenerationAccepted,
        Self::OldIncarnationAccepted,
        Self::ForeignIncarnationAccepted,
        Self::ForeignMemberAccepted,
        Self::AbortKeepsRecording,
        Self::AbortKeepsMarker,
        Self::AbortedAheadIsRecorded,
        Self::AlignedDeliversLater,
        Self::AlignsAtFirstMarker,
        Self::AlignsByFrame,
        Self::AlignsAborted,
        Self::AlignedOpensEarly,
        Self::AlignedOpenTellsNothing,
        Self::ForgetsUnacknowledged,
        Self::MarkersNotRepeated,
    ];
}

/// The rules that a participant keeps: all, unless a test broke one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Rules {
    broken: Option<BrokenRule>,
}

impl Rules {
    pub(super) const fn without(rule: BrokenRule) -> Self {
        Self { broken: Some(rule) }
    }

    /// Whether this rule isn't kept.
    pub(super) fn breaks(self, rule: BrokenRule) -> bool {
        self.broken == Some(rule)
    }

    /// A participant checks a channel's state before it seals a part. One with a broken rule doesn't, so that the test's own checks are put to the test.
    pub(super) fn check_before_sealing(self) -> bool {
        self.broken.is_none()
    }
}
