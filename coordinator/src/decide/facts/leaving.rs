//! Members that leave, and what they counted at their end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillframe_protocol::{Departed, Generation, Incarnation, MemberName};

/// That an operator asked a member to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveWish {
    /// It is to leave.
    Asked,
    /// It is to leave even if fewer than `min_members` stay.
    Forced,
}

/// A member on its way out: it runs, and the others send it nothing new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingFacts {
    /// Since when.
    pub since: Timestamp,
    /// Who has said to send it nothing any more, and how many messages it has sent it in all.
    pub drained: BTreeMap<MemberName, DrainedFacts>,
}

/// A member's word that it sends another, which is leaving, nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainedFacts {
    /// The incarnation that said so.
    pub incarnation: Incarnation,
    /// How many messages it has sent.
    pub sent: u64,
}

/// The latest incarnation of a member that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftFacts {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The generation that it left.
    pub generation: Generation,
}

/// What a member that left counted at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartureFacts {
    /// The generation that it left.
    pub generation: Generation,
    /// When it did. Snapshots that began later are without it.
    pub left_at: Timestamp,
    /// Who, and the counters.
    pub counters: Departed,
}
