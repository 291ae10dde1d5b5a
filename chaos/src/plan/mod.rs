//! What is done to the system in a round: a pure function of the seed and the round's number, so that a seed says all.
//!
//! | module | concept |
//! | --- | --- |
//! | [`fault`] | what can break |
//! | [`step`] | what operators ask for meanwhile |
//! | [`draw`] | drawing a round |

pub mod draw;
pub mod fault;
pub mod step;

use std::time::Duration;

use stillframe_api::channel_state::ChannelState;

pub use draw::round;
pub use fault::{Break, Fault, Kind, StoreFault, Target};
pub use step::{Ask, Step};

/// How large the system is, and how long a round injects faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many members.
    pub members: usize,
    /// How many coordinator replicas.
    pub replicas: usize,
    /// For how long faults are injected in a round.
    pub window: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self { members: 5, replicas: 2, window: Duration::from_secs(12) }
    }
}

/// A fault, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    /// When it begins, after the beginning of the round.
    pub at: Duration,
    /// How long it lasts. No fault lasts longer than the round's window.
    pub lasts: Duration,
    /// What breaks.
    pub fault: Fault,
}

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The faults, in order of their beginning. No two of one [`Target`] overlap.
    pub injections: Vec<Injection>,
    /// What operators ask for, in order.
    pub steps: Vec<Step>,
    /// Who puts the messages under way into snapshots, from the round's first restore on.
    pub channel_state: ChannelState,
    /// Whether the database is dropped in the end and rebuilt from the bucket.
    pub loses_database: bool,
}
