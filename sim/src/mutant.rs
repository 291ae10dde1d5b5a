//! What is broken on purpose, to show that the checks would notice.

use stillframe_protocol::participant::BrokenRule;

/// Something that doesn't do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A participant without one of its rules.
    Participant(BrokenRule),
    /// A coordinator, with sound participants.
    Coordinator(BrokenCoordinator),
    /// A coordinator that commits without looking at the certificate, with participants that don't record.
    CommitsUnproved,
    /// A restore that sends all of a log again, also what had arrived.
    RepeatsArrived,
    /// A restore that sends nothing of a log again.
    ForgetsLog,
}

/// A coordinator that doesn't keep a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenCoordinator {
    /// Commits what lacks a part.
    CommitsIncomplete,
    /// Takes a new process of a name for the old one, so its parts and words count as those of the old incarnation.
    AcceptsOtherIncarnation,
    /// Takes a member's word about a restore as being about the restore of now, said by the incarnation of now.
    AcceptsStaleWords,
    /// Gives out the number of an aborted snapshot again.
    ReusesEpochs,
    /// Writes decisions on facts that have been overtaken.
    IgnoresVersions,
    /// Never ends a snapshot for its deadline.
    ForgetsDeadlines,
}

impl BrokenCoordinator {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CommitsIncomplete,
        Self::AcceptsOtherIncarnation,
        Self::AcceptsStaleWords,
        Self::ReusesEpochs,
        Self::IgnoresVersions,
        Self::ForgetsDeadlines,
    ];
}

impl Mutant {
    /// The rule that participants don't keep.
    pub(crate) fn rule(self) -> Option<BrokenRule> {
        match self {
            Self::Participant(rule) => Some(rule),
            Self::Coordinator(_) | Self::RepeatsArrived | Self::ForgetsLog => None,
            Self::CommitsUnproved => Some(BrokenRule::NoRecording),
        }
    }
}
