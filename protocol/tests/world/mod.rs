//! A cluster of participants: applications that pass tokens around, a network, a coordinator, and a plan of what happens when.
//!
//! Whatever is checked here is computed from what the applications saw, not from the participants' own counters: the oracle is independent.

mod checks;
mod network;
mod plan;
mod process;
mod run;

pub(crate) use plan::{Channel, Orderings, Plan};
pub(crate) use run::{Broken, Reached, run};

/// A rule of putting a sender-logged snapshot back that isn't kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrokenRestore {
    /// Sends all of the log again, also what had arrived.
    RepeatsArrived,
    /// Sends nothing of the log again.
    ForgetsLog,
}

/// What is wrong, in words.
pub(crate) type Checked = Result<(), String>;

/// Fails with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;
