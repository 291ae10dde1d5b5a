//! Why a request is refused. Nothing was changed.

use jiff::Timestamp;
use stillframe_api::{HumanDuration, cluster::ClusterPhase, restore::RestoreState, retention::Keep, snapshot::SnapshotState};
use stillframe_protocol::{ClusterName, HoldId, Incarnation, MemberName, RestoreId, SnapshotId};

use super::{alignment, restore::mapping::Misfit};

/// A refusal: what was expected, what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The cluster's phase doesn't allow it.
    #[error("cluster {cluster} must be running, found it {}{}", phase_name(*.phase), reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    NotRunning {
        /// The cluster.
        cluster: ClusterName,
        /// Its phase.
        phase: ClusterPhase,
        /// Why it is in it.
        reason: Option<String>,
    },
    /// A member is lost, and all of them are needed.
    #[error("every member of cluster {cluster} is needed, and {}", are(members, "lost"))]
    MemberLost {
        /// The cluster.
        cluster: ClusterName,
        /// Who is lost.
        members: Vec<MemberName>,
    },
    /// Too many snapshots wait already.
    #[error("a snapshot of cluster {cluster} is under way and {pending} wait for it; no more than {pending} may")]
    TooManyPending {
        /// The cluster.
        cluster: ClusterName,
        /// How many wait.
        pending: usize,
    },
    /// A restore is under way.
    #[error("restore {restore} of cluster {cluster} is under way ({})", state.as_str())]
    RestoreUnderWay {
        /// The cluster.
        cluster: ClusterName,
        /// The restore.
        restore: RestoreId,
        /// Where it is.
        state: RestoreState,
    },
    /// Only a committed snapshot can be restored.
    #[error("only a committed snapshot can be restored, and snapshot {snapshot} is {state}")]
    NotCommitted {
        /// Its cluster.
        cluster: ClusterName,
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its state.
        state: SnapshotState,
    },
    /// The snapshot isn't of this cluster, or doesn't exist.
    #[error("cluster {cluster} has no snapshot {snapshot}")]
    UnknownSnapshot {
        /// The cluster.
        cluster: ClusterName,
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The snapshot has ended, or can't be aborted any more.
    #[error("snapshot {snapshot} can be aborted while it is pending or recording, and it is {state}")]
    SnapshotEnded {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its state.
        state: SnapshotState,
    },
    /// The snapshot can't be changed any more.
    #[error("snapshot {snapshot} can be changed while it is pending or recording, and it is {state}")]
    SnapshotUnchangeable {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its state.
        state: SnapshotState,
    },
    /// The new timeout is shorter than what the snapshot has taken already.
    #[error("snapshot {snapshot} has been {state} since {since}: a timeout of {} is over already", HumanDuration::from_millis(*timeout_ms))]
    TimeIsUp {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its state.
        state: SnapshotState,
        /// From when on its time is counted.
        since: Timestamp,
        /// The timeout that was asked for, in milliseconds.
        timeout_ms: u64,
    },
    /// The mapping doesn't fit the snapshot.
    #[error("the mapping doesn't fit snapshot {snapshot}: {misfit}")]
    MembersDiffer {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Why.
        misfit: Misfit,
    },
    /// There is no committed snapshot.
    #[error("cluster {cluster} has no committed snapshot to go back to")]
    NothingToRestore {
        /// The cluster.
        cluster: ClusterName,
    },
    /// There is no committed snapshot of so early.
    #[error("cluster {cluster} has no snapshot that was complete at {time} and is committed")]
    NothingBefore {
        /// The cluster.
        cluster: ClusterName,
        /// The time.
        time: Timestamp,
    },
    /// The latest committed snapshot is known to be unreadable.
    #[error("snapshot {snapshot}, the latest, can't be read: {detail}")]
    SnapshotUnreadable {
        /// The snapshot.
        snapshot: SnapshotId,
        /// What is wrong with it.
        detail: String,
    },
    /// The restore has passed its commit point or ended.
    #[error("restore {restore} can be cancelled while it is planned or preparing, and it is {}", state.as_str())]
    RestoreEnded {
        /// The restore.
        restore: RestoreId,
        /// Its state.
        state: RestoreState,
    },
    /// Only a halted cluster can be had to go on.
    #[error("cluster {cluster} must be halted, found it {}{}", phase_name(*.phase), reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    NotHalted {
        /// The cluster.
        cluster: ClusterName,
        /// Its phase.
        phase: ClusterPhase,
        /// Why it is in it.
        reason: Option<String>,
    },
    /// No member of that name.
    #[error("cluster {cluster} has no member {member}")]
    UnknownMember {
        /// The cluster.
        cluster: ClusterName,
        /// The member.
        member: MemberName,
    },
    /// A newer incarnation has taken over, or the number was never given.
    #[error("incarnation {found} of member {member} was asked for, and {expected} is the one in force")]
    Fenced {
        /// The member.
        member: MemberName,
        /// The incarnation in force.
        expected: Incarnation,
        /// The one that asked.
        found: Incarnation,
    },
    /// There is no room for one more member.
    #[error("cluster {cluster} has {limit} members, which is the most it can have")]
    ClusterFull {
        /// The cluster.
        cluster: ClusterName,
        /// The limit.
        limit: u32,
    },
    /// Only what has ended can be deleted.
    #[error("snapshot {snapshot} is {state}: only a snapshot that has ended can be deleted")]
    SnapshotOpen {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its state.
        state: SnapshotState,
    },
    /// Something needs the snapshot.
    #[error("snapshot {snapshot} is needed: {}", some_of(by))]
    SnapshotNeeded {
        /// The snapshot.
        snapshot: SnapshotId,
        /// What needs it.
        by: Vec<Keep>,
    },
    /// Only what is committed, or may come to be, can be held.
    #[error("snapshot {snapshot} is {state}: there is nothing to hold")]
    NothingToHold {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its state.
        state: SnapshotState,
    },
    /// The snapshot has too many holds.
    #[error("snapshot {snapshot} has {limit} holds, which is the most it can have")]
    TooManyHolds {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The limit.
        limit: usize,
    },
    /// No such hold.
    #[error("snapshot {snapshot} has no hold {hold}")]
    UnknownHold {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The hold.
        hold: HoldId,
    },
    /// Too few members would stay.
    #[error("if {member} left, {staying} members of cluster {cluster} would stay, and it needs {min_members} (min_members)")]
    TooFewStay {
        /// The cluster.
        cluster: ClusterName,
        /// Who is to leave.
        member: MemberName,
        /// How many would stay.
        staying: usize,
        /// How many must.
        min_members: u32,
    },
    /// What a member says it counted at its end isn't what the others say they sent it.
    #[error("{from} has sent {member}, which is leaving, {expected} messages, and it says that it received {found}")]
    NotDrained {
        /// Who is leaving.
        member: MemberName,
        /// Who sent.
        from: MemberName,
        /// How many.
        expected: u64,
        /// How many came, as the one that is leaving says.
        found: u64,
    },
    /// It is leaving already: what was asked can't be taken back.
    #[error("{member} is leaving since {since}: its peers send it nothing any more")]
    IsLeaving {
        /// The member.
        member: MemberName,
        /// Since when.
        since: Timestamp,
    },
    /// Nothing may be deleted for now.
    #[error("nothing is deleted until an operator confirms that the catalog is whole: {reason}")]
    CollectionSuspended {
        /// Why.
        reason: String,
    },
    /// A schedule can't be so.
    #[error("{detail}")]
    UnfitSchedule {
        /// What was expected, what was found.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// Aligned channels and logging senders exclude each other.
    #[error(
        "alignment aligned goes with channel_state marker only: a member that stops waiting records until the markers come, and senders that log \
         send none"
    )]
    AlignedAndLogged,
    /// The channels can't be aligned.
    #[error(
        "the channels of cluster {cluster} can't be aligned: in its latest committed snapshot {} form a cycle, in which every member would wait \
         for itself",
        alignment::round(cycle)
    )]
    ChannelsFormCycle {
        /// The cluster.
        cluster: ClusterName,
        /// The cycle, in the order of its channels.
        cycle: Vec<MemberName>,
    },
    /// The schedule is gone.
    #[error("cluster {cluster} has no such schedule any more")]
    UnknownSchedule {
        /// The cluster.
        cluster: ClusterName,
    },
}

pub(super) fn phase_name(phase: ClusterPhase) -> &'static str {
    match phase {
        ClusterPhase::Forming => "forming",
        ClusterPhase::Running => "running",
        ClusterPhase::Restoring => "restoring",
        ClusterPhase::Halted => "halted",
    }
}

/// Some members are so: "p1 is lost", "p1, p2 are lost".
pub(crate) fn are(members: &[MemberName], what: &str) -> String {
    format!("{} {} {what}", list(members), if members.len() == 1 { "is" } else { "are" })
}

/// Some members were so: "p1 was lost", "p1, p2 were lost".
pub(crate) fn were(members: &[MemberName], what: &str) -> String {
    format!("{} {} {what}", list(members), if members.len() == 1 { "was" } else { "were" })
}

pub(crate) fn list(members: &[MemberName]) -> String {
    members.iter().map(MemberName::as_str).collect::<Vec<_>>().join(", ")
}

/// How many reasons are named.
const NAMED: usize = 3;

/// The first reasons, and how many more there are.
fn some_of(by: &[Keep]) -> String {
    let mut text = by.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if by.len() > NAMED {
        text.push_str(&format!(", and for {} more reasons", by.len() - NAMED));
    }
    text
}
