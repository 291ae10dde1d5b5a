//! The models: what they are about, how far they go, and what each has to reach so that it shows anything.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use stillframe_protocol::{
    ChannelOrdering::{self, Fifo, Unordered},
    ChannelState,
    participant::BrokenRule,
};

/// A channel of the topology.
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    pub from: usize,
    pub to: usize,
    pub ordering: ChannelOrdering,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// How far a model goes.
#[derive(Debug, Clone)]
pub struct Bounds {
    pub name: &'static str,
    pub members: usize,
    pub channels: Vec<Channel>,
    /// Whether all handshakes are done in the first state.
    pub opened: bool,
    /// Whether members acknowledge.
    pub acknowledges: bool,
    /// Whether a datagram stays where it is once it was transmitted: then it may arrive any number of times, in any order, or never.
    pub datagrams_stay: bool,
    /// How many messages are sent on each channel.
    pub messages: u8,
    pub epochs: u64,
    pub aborts: u8,
    pub disconnects: u8,
    pub losses: u8,
    pub repeats: u8,
    pub retransmissions: u8,
    /// How often a fifo connection does what an honest one doesn't.
    pub lies: u8,
    pub crashes: u8,
    pub restores: u8,
    /// How often a member goes over to recording.
    pub unaligns: u8,
    /// Whether the last member has a new incarnation after a restore.
    pub restore_replaces: bool,
    pub channel_state: ChannelState,
    /// What some state has to be.
    pub reaches: &'static [Sight],
    pub broken: Option<BrokenRule>,
    pub broken_restore: Option<BrokenRestore>,
}

/// A rule of putting a sender-logged snapshot back that isn't kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenRestore {
    /// Sends all of the log again, also what had arrived.
    RepeatsArrived,
    /// Sends nothing of the log again.
    ForgetsLog,
}

/// Something interesting that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Committed,
    CommittedInFlight,
    Recorded,
    CutByMessage,
    CutByAcknowledgement,
    CutByHandshake,
    RetransmittedAfterCut,
    MarkerOvertook,
    TwoEpochsOpen,
    SealedBeforeAnOlder,
    Leapt,
    OldGenerationFenced,
    OldIncarnationFenced,
    ForeignMemberFenced,
    HeldByNewerGeneration,
    FifoViolated,
    ReplacedPeerAborted,
    RejectedForOldIncarnation,
    CommittedWithNewIncarnation,
    Reinjected,
    CommittedAfterRestore,
    Logged,
    SentAgain,
    ArrivedSkipped,
    HeldForAlignment,
}

/// What was seen in a run. It isn't part of the states, so that having seen something makes no state new.
#[derive(Debug, Default)]
pub struct Seen(AtomicU64);

impl Seen {
    pub fn note(&self, sight: Sight) {
        self.0.fetch_or(1 << sight as u32, Ordering::Relaxed);
    }

    pub fn has(&self, sight: Sight) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << sight as u32) != 0
    }
}

/// `0 -> 1`.
fn one(ordering: ChannelOrdering) -> Vec<Channel> {
    vec![Channel { from: 0, to: 1, ordering }]
}

/// `0 -> 1` and `1 -> 0`.
fn pair(ordering: ChannelOrdering) -> Vec<Channel> {
    vec![Channel { from: 0, to: 1, ordering }, Channel { from: 1, to: 0, ordering }]
}

fn ring(ordering: ChannelOrdering) -> Vec<Channel> {
    (0..3).map(|from| Channel { from, to: (from + 1) % 3, ordering }).collect()
}

/// `0 -> 2` and `1 -> 2`.
fn into_one(ordering: ChannelOrdering) -> Vec<Channel> {
    (0..2).map(|from| Channel { from, to: 2, ordering }).collect()
}

/// `0 -> 1`, `0 -> 2` and `1 -> 2`.
fn diamond() -> Vec<Channel> {
    [(0, 1), (0, 2), (1, 2)].map(|(from, to)| Channel { from, to, ordering: Fifo }).into()
}

impl Bounds {
    fn new(name: &'static str, members: usize, channels: Vec<Channel>, reaches: &'static [Sight]) -> Self {
        Self {
            name,
            members,
            channels,
            opened: true,
            acknowledges: false,
            datagrams_stay: false,
            messages: 1,
            epochs: 1,
            aborts: 0,
            disconnects: 0,
            losses: 0,
            repeats: 0,
            retransmissions: 0,
            lies: 0,
            crashes: 0,
            restores: 0,
            unaligns: 0,
            restore_replaces: false,
            channel_state: ChannelState::Marker,
            reaches,
            broken: None,
            broken_restore: None,
        }
    }

    /// The same with a participant that doesn't keep a rule.
    pub fn without(self, rule: BrokenRule) -> Self {
        Self { broken: Some(rule), reaches: &[], ..self }
    }

    /// The same with a restore that doesn't keep a rule.
    pub fn with_broken_restore(self, broken: BrokenRestore) -> Self {
        Self { broken_restore: Some(broken), reaches: &[], ..self }
    }
}

/// Which models to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// In seconds, by every `cargo test`.
    Small,
    /// By `cargo model --deep`.
    Deep,
}

impl Depth {
    fn of<T>(self, small: T, deep: T) -> T {
        match self {
            Self::Small => small,
            Self::Deep => deep,
        }
    }
}

/// The models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Fifo,
    FifoIntoOne,
    FifoBreaks,
    FifoLies,
    Unordered,
    UnorderedEnds,
    Opening,
    Epochs,
    EpochsUnordered,
    Crash,
    CrashUnordered,
    Restore,
    RestoreUnordered,
    Logged,
    LoggedBreaks,
    LoggedUnordered,
    LoggedCrash,
    LoggedRestore,
    Aligned,
    AlignedEpochs,
    AlignedTimeout,
    AlignedOpening,
    AlignedBreaks,
    AlignedAborts,
    AlignedCrash,
    AlignedRestore,
}

impl Named {
    pub const ALL: [Self; 26] = [
        Self::Fifo,
        Self::FifoIntoOne,
        Self::FifoBreaks,
        Self::FifoLies,
        Self::Unordered,
        Self::UnorderedEnds,
        Self::Opening,
        Self::Epochs,
        Self::EpochsUnordered,
        Self::Crash,
        Self::CrashUnordered,
        Self::Restore,
        Self::RestoreUnordered,
        Self::Logged,
        Self::LoggedBreaks,
        Self::LoggedUnordered,
        Self::LoggedCrash,
        Self::LoggedRestore,
        Self::Aligned,
        Self::AlignedEpochs,
        Self::AlignedTimeout,
        Self::AlignedOpening,
        Self::AlignedBreaks,
        Self::AlignedAborts,
        Self::AlignedCrash,
        Self::AlignedRestore,
    ];

    /// The bounds of a model.
    pub fn bounds(self, depth: Depth) -> Bounds {
        use Sight::*;
        match self {
            Self::Fifo => Bounds {
                messages: depth.of(1, 2),
                ..Bounds::new("fifo, three members in a ring", 3, ring(Fifo), &[Committed, CommittedInFlight, Recorded])
            },
            Self::FifoIntoOne => Bounds {
                messages: depth.of(2, 3),
                ..Bounds::new("fifo, two members into one", 3, into_one(Fifo), &[CommittedInFlight, Recorded])
            },
            Self::FifoBreaks => Bounds {
                acknowledges: true,
                disconnects: depth.of(1, 2),
                messages: 2,
                ..Bounds::new(
                    "fifo, connections break and come back",
                    2,
                    one(Fifo),
                    &[CommittedInFlight, CutByAcknowledgement, CutByHandshake],
                )
            },
            Self::FifoLies => {
                let channels = (1..3).map(|to| Channel { from: 0, to, ordering: Fifo }).collect();
                let reaches = &[Committed, FifoViolated, ForeignMemberFenced];
                Bounds {
                    lies: depth.of(1, 2),
                    messages: 2,
                    ..Bounds::new("fifo, connections lose and misroute", 3, channels, reaches)
                }
            }
            Self::Unordered => Bounds {
                datagrams_stay: true,
                acknowledges: true,
                retransmissions: 1,
                messages: depth.of(2, 1),
                ..Bounds::new(
                    "unordered, any loss and repetition",
                    2,
                    depth.of(one(Unordered), pair(Unordered)),
                    &[CommittedInFlight, CutByMessage, RetransmittedAfterCut, MarkerOvertook, CutByAcknowledgement],
                )
            },
            Self::UnorderedEnds => Bounds {
                acknowledges: true,
                losses: 1,
                repeats: 1,
                retransmissions: 1,
                messages: depth.of(1, 2),
                ..Bounds::new(
                    "unordered, everything arrives in the end",
                    2,
                    one(Unordered),
                    &[CommittedInFlight, MarkerOvertook, RetransmittedAfterCut],
                )
            },
            Self::Opening => Bounds {
                opened: false,
                messages: depth.of(1, 2),
                ..Bounds::new("channels open at any time", 2, pair(Unordered), &[CommittedInFlight, CutByHandshake])
            },
            Self::Epochs => Bounds {
                epochs: depth.of(2, 3),
                aborts: 1,
                messages: 1,
                ..Bounds::new("fifo, concurrent epochs", 2, pair(Fifo), &[TwoEpochsOpen, Leapt, CommittedInFlight])
            },
            Self::EpochsUnordered => Bounds {
                epochs: depth.of(2, 3),
                aborts: 1,
                messages: depth.of(1, 2),
                datagrams_stay: true,
                ..Bounds::new(
                    "unordered, concurrent epochs",
                    2,
                    one(Unordered),
                    &[TwoEpochsOpen, Leapt, SealedBeforeAnOlder, CommittedInFlight],
                )
            },
            Self::Crash => Bounds {
                crashes: 1,
                epochs: depth.of(1, 2),
                messages: 1,
                ..Bounds::new(
                    "fifo, a new incarnation",
                    2,
                    pair(Fifo),
                    &[OldIncarnationFenced, ReplacedPeerAborted, CommittedWithNewIncarnation],
                )
            },
            Self::CrashUnordered => Bounds {
                crashes: 1,
                epochs: 1,
                messages: depth.of(1, 2),
                datagrams_stay: true,
                ..Bounds::new(
                    "unordered, a new incarnation",
                    2,
                    one(Unordered),
                    &[OldIncarnationFenced, RejectedForOldIncarnation, CommittedWithNewIncarnation],
                )
            },
            Self::Restore => Bounds {
                restores: 1,
                restore_replaces: true,
                epochs: 2,
                messages: depth.of(2, 1),
                ..Bounds::new(
                    "fifo, a restore with old frames under way",
                    2,
                    depth.of(one(Fifo), pair(Fifo)),
                    &[OldGenerationFenced, HeldByNewerGeneration, Reinjected, CommittedAfterRestore],
                )
            },
            Self::RestoreUnordered => Bounds {
                restores: 1,
                epochs: 2,
                messages: 2,
                datagrams_stay: true,
                ..Bounds::new(
                    "unordered, a restore with old frames under way",
                    2,
                    one(Unordered),
                    &[OldGenerationFenced, HeldByNewerGeneration, Reinjected, CommittedAfterRestore],
                )
            },
            Self::Logged => Bounds {
                channel_state: ChannelState::SenderLogged,
                acknowledges: true,
                epochs: 2,
                messages: depth.of(1, 2),
                ..Bounds::new(
                    "sender-logged, fifo, concurrent epochs",
                    2,
                    pair(Fifo),
                    &[Logged, Leapt, Committed, CommittedInFlight, CutByAcknowledgement],
                )
            },
            Self::LoggedBreaks => Bounds {
                channel_state: ChannelState::SenderLogged,
                acknowledges: true,
                disconnects: 1,
                messages: 2,
                ..Bounds::new(
                    "sender-logged, fifo, connections break",
                    2,
                    depth.of(one(Fifo), pair(Fifo)),
                    &[Logged, CommittedInFlight, CutByAcknowledgement, CutByHandshake],
                )
            },
            Self::LoggedUnordered => Bounds {
                channel_state: ChannelState::SenderLogged,
                acknowledges: true,
                retransmissions: 1,
                datagrams_stay: true,
                messages: 2,
                ..Bounds::new(
                    "sender-logged, unordered",
                    2,
                    depth.of(one(Unordered), pair(Unordered)),
                    &[Logged, CommittedInFlight, CutByMessage, CutByAcknowledgement],
                )
            },
            Self::LoggedCrash => Bounds {
                channel_state: ChannelState::SenderLogged,
                acknowledges: true,
                crashes: 1,
                messages: depth.of(1, 2),
                ..Bounds::new(
                    "sender-logged, a new incarnation",
                    2,
                    depth.of(one(Fifo), pair(Fifo)),
                    &[Logged, OldIncarnationFenced, RejectedForOldIncarnation, CommittedWithNewIncarnation],
                )
            },
            Self::LoggedRestore => Bounds {
                channel_state: ChannelState::SenderLogged,
                acknowledges: true,
                restores: 1,
                epochs: 2,
                messages: depth.of(1, 2),
                ..Bounds::new(
                    "sender-logged, a restore",
                    2,
                    one(depth.of(Fifo, Unordered)),
                    &[OldGenerationFenced, HeldByNewerGeneration, SentAgain, ArrivedSkipped, CommittedAfterRestore],
                )
            },
            Self::Aligned => Bounds {
                channel_state: ChannelState::Aligned,
                messages: depth.of(1, 2),
                ..Bounds::new("aligned, a diamond", 3, diamond(), &[Committed, HeldForAlignment])
            },
            Self::AlignedEpochs => Bounds {
                channel_state: ChannelState::Aligned,
                epochs: 2,
                aborts: depth.of(0, 1),
                messages: 1,
                ..Bounds::new("aligned, concurrent epochs", 3, into_one(Fifo), &[Committed, HeldForAlignment, Leapt])
            },
            Self::AlignedTimeout => Bounds {
                channel_state: ChannelState::Aligned,
                epochs: depth.of(1, 2),
                unaligns: 1,
                messages: depth.of(1, 2),
                ..Bounds::new("aligned, over to recording", 3, into_one(Fifo), &[CommittedInFlight, HeldForAlignment, Recorded])
            },
            Self::AlignedOpening => Bounds {
                channel_state: ChannelState::Aligned,
                opened: false,
                messages: 1,
                ..Bounds::new(
                    "aligned, channels open at any time",
                    3,
                    depth.of(into_one(Fifo), diamond()),
                    &[Committed, HeldForAlignment],
                )
            },
            Self::AlignedBreaks => Bounds {
                channel_state: ChannelState::Aligned,
                acknowledges: depth.of(false, true),
                disconnects: 1,
                epochs: 2,
                messages: 2,
                ..Bounds::new("aligned, connections break", 2, one(Fifo), &[Committed, Leapt])
            },
            Self::AlignedAborts => Bounds {
                channel_state: ChannelState::Aligned,
                epochs: depth.of(2, 3),
                aborts: depth.of(1, 2),
                messages: depth.of(1, 2),
                ..Bounds::new("aligned, aborts", 2, one(Fifo), &[Committed, Leapt])
            },
            Self::AlignedCrash => Bounds {
                channel_state: ChannelState::Aligned,
                crashes: 1,
                messages: depth.of(1, 2),
                ..Bounds::new(
                    "aligned, a new incarnation",
                    3,
                    depth.of(one(Fifo), into_one(Fifo)),
                    &[OldIncarnationFenced, CommittedWithNewIncarnation, HeldForAlignment],
                )
            },
            Self::AlignedRestore => Bounds {
                channel_state: ChannelState::Aligned,
                restores: 1,
                epochs: 2,
                messages: depth.of(1, 2),
                ..Bounds::new(
                    "aligned, a restore",
                    2,
                    one(Fifo),
                    &[OldGenerationFenced, HeldByNewerGeneration, CommittedAfterRestore, HeldForAlignment],
                )
            },
        }
    }

    /// The models that catch a broken rule.
    pub fn catching(rule: BrokenRule) -> &'static [Self] {
        match rule {
            BrokenRule::DeliverBeforeCut => &[Self::Unordered, Self::LoggedUnordered],
            BrokenRule::MarkerBehindLaterMessage => &[Self::Fifo],
            BrokenRule::MarkerDoesNotCut => &[Self::Fifo],
            BrokenRule::AcknowledgementDoesNotCut | BrokenRule::AcknowledgedBeforeCut => &[Self::Logged, Self::LoggedUnordered],
            BrokenRule::ReplacedUnnamed => &[Self::LoggedCrash],
            BrokenRule::LogsNothing => &[Self::Logged, Self::LoggedUnordered],
            BrokenRule::HandshakeDoesNotCut => &[Self::Opening, Self::LoggedBreaks],
            BrokenRule::EpochGoesBack => &[Self::Epochs],
            BrokenRule::LeapForgetsOlder => &[Self::Epochs],
            BrokenRule::RetransmissionTakesNewEpoch => &[Self::UnorderedEnds, Self::Unordered],
            BrokenRule::NoRecording => &[Self::Fifo, Self::Unordered],
            BrokenRule::RecordsLaterMessages => &[Self::Unordered],
            BrokenRule::CloseAtMarker => &[Self::Unordered],
            BrokenRule::SealsAtFirstClose => &[Self::FifoIntoOne],
            BrokenRule::DeliversTwice => &[Self::Unordered, Self::FifoBreaks],
            BrokenRule::FifoTakesGaps => &[Self::FifoLies],
            BrokenRule::SendsBeforeHandshake => &[Self::Opening],
            BrokenRule::AwaitsUnopened => &[Self::Restore],
            BrokenRule::OldGenerationAccepted => &[Self::RestoreUnordered],
            BrokenRule::NewerGenerationAccepted => &[Self::RestoreUnordered],
            BrokenRule::OldIncarnationAccepted => &[Self::CrashUnordered],
            BrokenRule::ForeignIncarnationAccepted => &[Self::CrashUnordered],
            BrokenRule::ForeignMemberAccepted => &[Self::FifoLies],
            BrokenRule::AbortKeepsRecording => &[Self::Epochs],
            BrokenRule::AbortKeepsMarker => &[Self::EpochsUnordered],
            BrokenRule::AbortedAheadIsRecorded => &[Self::Epochs],
            BrokenRule::AlignedDeliversLater => &[Self::Aligned],
            BrokenRule::AlignsAtFirstMarker => &[Self::Aligned],
            BrokenRule::AlignsByFrame => &[Self::AlignedBreaks],
            BrokenRule::AlignsAborted => &[Self::AlignedAborts],
            BrokenRule::AlignedOpensEarly | BrokenRule::AlignedOpenTellsNothing => &[Self::AlignedOpening],
            BrokenRule::ForgetsUnacknowledged => &[Self::FifoBreaks],
            BrokenRule::MarkersNotRepeated => &[Self::FifoBreaks],
        }
    }
}
