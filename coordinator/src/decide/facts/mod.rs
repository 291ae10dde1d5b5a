//! What is known of one cluster: the input of every decision. Fields are named after the columns that hold them.
//!
//! | to find | look in |
//! | --- | --- |
//! | the cluster's own row, what its channels go by | [`ClusterFacts`], [`ChannelFacts`] |
//! | whether its numbers go on from the last that was given out | [`ContinuityFacts`] |
//! | its members | [`MemberFacts`] |
//! | those of them that leave, and what they counted | [`LeavingFacts`], [`DepartureFacts`] |
//! | its snapshots, and how they ended | [`SnapshotFacts`], [`OutcomeFacts`] |
//! | its restores, and what they may go back to | [`RestoreFacts`], [`OlderFacts`] |
//! | schedules | [`ScheduleFacts`] |
//! | what may be deleted | [`KeptFacts`] |

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stillframe_api::cluster::ClusterPhase;
use stillframe_protocol::{MemberName, SnapshotId};

mod channels;
mod cluster;
mod continuity;
mod kept;
mod leaving;
mod member;
mod restore;
mod schedule;
mod snapshot;

pub use channels::ChannelFacts;
pub use cluster::{ClusterFacts, HaltCause};
pub use continuity::ContinuityFacts;
pub use kept::{CollectionState, CommittedFacts, HoldFacts, KeptFacts};
pub use leaving::{DepartureFacts, DrainedFacts, LeaveWish, LeavingFacts, LeftFacts};
pub use member::{MemberFacts, Presence, Standing};
pub use restore::{OlderFacts, RestoreFacts, RestoreMemberFacts, RollbackFacts, UnreadableFacts};
pub use schedule::ScheduleFacts;
pub use snapshot::{OUTCOMES, OutcomeFacts, ProgressFacts, SnapshotFacts};

/// Everything that a decision about a cluster may rest on, as of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The database's clock when the facts were read.
    pub now: Timestamp,
    /// The cluster itself.
    pub cluster: ClusterFacts,
    /// Every member that was ever registered.
    pub members: BTreeMap<MemberName, MemberFacts>,
    /// The snapshots that haven't ended, oldest first, and the one that was asked about, ended or not.
    pub snapshots: Vec<SnapshotFacts>,
    /// How the last few snapshots ended, by epoch.
    pub outcomes: Vec<OutcomeFacts>,
    /// The restore under way.
    pub restore: Option<RestoreFacts>,
    /// The one before it, where that ended in the same decision in which the next began. Never read.
    pub ended_restore: Option<RestoreFacts>,
    /// The members of the latest committed snapshot, by the names they have now.
    pub latest_view: BTreeSet<MemberName>,
    /// Where to fall back to: the newest committed snapshot of an older epoch than that of the restore under way (else, than that of the latest
    /// committed one) that isn't known to be unreadable. Read only, and only while a restore is under way or the latest one is unreadable.
    pub older: Option<OlderFacts>,
    /// What is known to be unreadable of the latest committed snapshot, that of the restore under way, and the one that was asked about.
    pub unreadable: BTreeMap<SnapshotId, UnreadableFacts>,
    /// The automatic restores that were begun within the cluster's window, oldest first. Read only.
    pub rollbacks: Vec<RollbackFacts>,
    /// The schedule that was asked about.
    pub schedule: Option<ScheduleFacts>,
    /// Whether its numbers go on from the last that was given out.
    pub continuity: ContinuityFacts,
    /// What is kept; only when that was asked about.
    pub kept: Option<KeptFacts>,
    /// What members counted that leave with this decision. Never read.
    pub departures: Vec<DepartureFacts>,
}

impl Facts {
    /// A snapshot that hasn't ended, or the one that was asked about.
    #[must_use]
    pub fn snapshot(&self, id: SnapshotId) -> Option<&SnapshotFacts> {
        self.snapshots.iter().find(|snapshot| snapshot.id == id)
    }

    /// The members that belong to the cluster.
    pub fn belonging(&self) -> impl Iterator<Item = &MemberFacts> {
        self.members.values().filter(|member| !matches!(member.standing, Standing::Excluded | Standing::Left))
    }

    /// The members that others may send to. One that hasn't joined yet isn't among them: what waits for it would be part of snapshots that it isn't in.
    pub fn peers(&self) -> impl Iterator<Item = &MemberFacts> {
        self.belonging().filter(|member| member.standing != Standing::Waiting)
    }

    /// The members because of which the generation isn't whole: lost, or replaced by a newer incarnation.
    pub fn missing_members(&self) -> impl Iterator<Item = &MemberFacts> {
        let generation = self.cluster.generation;
        self.belonging().filter(move |member| match member.standing {
            Standing::Active => !member.runs_in(generation),
            Standing::Replacing => true,
            Standing::Waiting | Standing::Excluded | Standing::Left => false,
        })
    }

    /// Takes note that all parts of a snapshot are known to be stored, or are stored with the decision.
    pub fn know_complete(&mut self, id: SnapshotId) {
        for snapshot in self.snapshots.iter_mut().filter(|snapshot| snapshot.id == id) {
            snapshot.reported = snapshot.view.keys().cloned().collect();
        }
    }

    /// Whether nothing is wrong and nothing is being put right: the cluster runs, whole, and no restore is under way. Then decisions about
    /// snapshots rest on nothing that changes without a new version.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.cluster.phase == ClusterPhase::Running && self.restore.is_none() && self.missing_members().next().is_none()
    }

    /// Whether a member of this name is there, in whatever standing.
    #[must_use]
    pub fn is_there(&self, member: &MemberName) -> bool {
        self.members.get(member).is_some_and(MemberFacts::is_there)
    }

    /// The facts without what has ended: what the next decision would read.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.snapshots.retain(|snapshot| !snapshot.state.has_ended());
        self.restore = self.restore.take().filter(|restore| !restore.state.has_ended());
        self.ended_restore = None;
        self.schedule = None;
        self.kept = None;
        self.departures.clear();
        self
    }
}
