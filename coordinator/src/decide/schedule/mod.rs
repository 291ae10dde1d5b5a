//! Schedules: each slot is decided once.
//!
//! | to find | look in |
//! | --- | --- |
//! | when the slots are, and when they fire | [`timing`] |
//! | setting, pausing, triggering and deleting them | [`manage`] |
//! | deciding the slot that is due | [`fire`] |

use jiff::Timestamp;
use stillframe_protocol::SnapshotId;

pub mod fire;
pub mod manage;
pub mod timing;

#[cfg(test)]
mod clocks;
#[cfg(test)]
mod tests;

/// A slot, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The slot.
    pub at: Timestamp,
    /// The snapshot it took.
    pub snapshot: Option<SnapshotId>,
    /// Why it took none.
    pub skip: Option<String>,
}
