//! Many participants and the coordinator's decisions, in virtual time, all drawn from a seed: the same seed does the same again.
//!
//! The rules are the product's: `stillframe_protocol::Participant` and `certificate::verify`, `stillframe_coordinator::decide`. What is around them is made
//! up: members that follow their assignments, an application, a network, a database that is a struct, an archive that is a map. There is one thread, no
//! clock, no I/O and no other source of randomness than the seed. See `docs/simulation.md`.
//!
//! | to find | look in |
//! | --- | --- |
//! | what a seed stands for, what goes wrong | `plan`, `fault` |
//! | what can happen, and when | `event`, `world` |
//! | members | `member`, `ledger` |
//! | the coordinator | `coordinator` |
//! | what must hold | `check`, `operator` |
//! | what is broken on purpose | [`mutant`] |

mod archive;
mod check;
mod coordinator;
mod event;
mod fault;
mod ledger;
mod member;
pub mod mutant;
mod network;
mod operator;
mod plan;
mod stats;
mod trace;
mod words;
mod world;

pub use mutant::{BrokenCoordinator, Mutant};
pub use stats::Stats;

use world::World;

/// Nothing, or what is wrong, in words.
pub(crate) type Checked = Result<(), String>;

/// More events than any run has.
const MOST_EVENTS: u64 = 2_000_000;

/// How a seed is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What is broken on purpose.
    pub mutant: Option<Mutant>,
    /// Whether each line of the trace is printed.
    pub trace: bool,
}

/// A run in which everything held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What it came to.
    pub stats: Stats,
    /// A hash of its whole trace: the same for the same seed.
    pub trace_hash: u64,
    /// How many lines the trace has.
    pub trace_lines: u64,
}

/// A run in which something didn't hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, at {} ms: {what}\nreplay: cargo sim --from {seed} --seeds 1 --trace", at_us / 1_000)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was found, and what was expected.
    pub what: String,
    /// When, in microseconds of virtual time.
    pub at_us: u64,
    /// The last lines of the trace.
    pub tail: Vec<String>,
    /// A hash of the trace up to there.
    pub trace_hash: u64,
}

/// Runs a seed to its end.
///
/// # Errors
/// The first thing that doesn't hold.
pub fn run(seed: u64, options: Options) -> Result<Run, Box<Failure>> {
    let failure = |what, at_us, trace_hash, tail| Box::new(Failure { seed, what, at_us, tail, trace_hash });
    let mut world = World::new(seed, options.mutant, options.trace).map_err(|what| failure(what, 0, 0, Vec::new()))?;
    loop {
        let step = match world.step() {
            Ok(true) if world.stats.events > MOST_EVENTS => Err(format!("more than {MOST_EVENTS} things happen")),
            step => step,
        };
        match step {
            Ok(true) => {}
            Ok(false) => {
                world.stats.virtual_us = world.now;
                return Ok(Run { trace_hash: world.trace.hash(), trace_lines: world.trace.lines(), stats: world.stats });
            }
            Err(what) => return Err(failure(what, world.now, world.trace.hash(), world.trace.into_tail())),
        }
    }
}
