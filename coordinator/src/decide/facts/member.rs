//! Members, as their latest incarnations.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{Epoch, Generation, Incarnation, MemberId, MemberName, RestoreId};
use uuid::Uuid;

use super::leaving::{LeaveWish, LeavingFacts, LeftFacts};

/// Whether a member's incarnation is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is.
    Live,
    /// It didn't come back in time, or its lease ran out.
    Lost,
}

/// What a member's incarnation is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It hasn't run yet: it waits for the cluster to run.
    Waiting,
    /// It runs in the active generation.
    Active,
    /// An older incarnation of its name ran in the generation; it waits for a restore.
    Replacing,
    /// A restore put it out of the cluster.
    Excluded,
    /// It has left the active generation in good order.
    Left,
}

/// A member, as its latest incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    /// Its name.
    pub name: MemberName,
    /// Its number.
    pub member_id: MemberId,
    /// The number of its latest registration.
    pub incarnation: Incarnation,
    /// The random id of its process.
    pub instance: Uuid,
    /// Where its data plane listens.
    pub address: String,
    /// Whether it is there.
    pub state: Presence,
    /// What it is to the cluster.
    pub standing: Standing,
    /// Whether it has asked for its assignment since it registered. It is told to run nothing before that is kept, so one that wasn't seen has run
    /// nothing.
    pub seen: bool,
    /// The generation it runs in, when active.
    pub generation: Generation,
    /// The epoch that counted as cut when it started in that generation.
    pub epoch: Epoch,
    /// The restore from whose part it started.
    pub restore: Option<RestoreId>,
    /// When this incarnation registered.
    pub registered_at: Timestamp,
    /// The replica that holds its poll.
    #[serde(default)]
    pub holder: Option<Uuid>,
    /// When its lease runs out unless renewed.
    pub lease_expires_at: Timestamp,
    /// That an operator asked it to leave.
    #[serde(default)]
    pub leave_wish: Option<LeaveWish>,
    /// That it is leaving; only while it is active.
    #[serde(default)]
    pub leaving: Option<LeavingFacts>,
    /// The latest incarnation of it that left; kept when a newer one registers.
    #[serde(default, rename = "left_as")]
    pub left: Option<LeftFacts>,
}

impl MemberFacts {
    /// Whether this incarnation can be counted on: it registered, was heard of since, and isn't lost.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.state == Presence::Live && self.seen
    }

    /// Whether it is the incarnation that left this generation.
    #[must_use]
    pub fn has_left(&self, generation: Generation) -> bool {
        self.standing == Standing::Left
            && self.left.is_some_and(|left| (left.incarnation, left.generation) == (self.incarnation, generation))
    }

    /// Whether this incarnation is there and runs in the generation.
    #[must_use]
    pub fn runs_in(&self, generation: Generation) -> bool {
        self.state == Presence::Live && self.standing == Standing::Active && self.generation == generation
    }
}
