//! A cluster of participants: applications that pass tokens around, a network, a coordinator, and a plan of what happens when.
//!
//! Whatever is checked here is computed from what the applications saw, not from the participants' own counters: the oracle is independent.

mod checks;
mod network;
mod plan;
mod process;
mod run;

pub(crate) use plan::{Channel, Orderings, Plan};
pub(crate) use run::{Reached, run};

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
