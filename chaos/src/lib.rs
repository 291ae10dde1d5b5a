//! Breaks everything at random, heals it, and checks that nothing was lost. `docs/chaos.md` says how to run and replay it.
//!
//! | to find | look in |
//! | --- | --- |
//! | what is done to the system, a pure function of the seed | [`plan`] |
//! | database, store, network, replicas and members | [`stage`] |
//! | carrying faults out and healing them | [`nemesis`] |
//! | what operators ask for meanwhile | [`workload`] |
//! | what must hold after each heal | [`check`] |
//! | watching, printing, counting | [`observer`], [`timeline`], [`summary`] |
//! | rounds, and what is kept of a violation | [`run`] |

pub mod check;
pub mod nemesis;
pub mod observer;
pub mod plan;
pub mod run;
pub mod stage;
pub mod summary;
pub mod timeline;
pub mod workload;

pub use run::{Options, run};
pub use summary::Summary;
