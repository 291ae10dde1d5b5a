//! The coordinator: decides, schedules, restores, audits.
//!
//! Any number of replicas share one Postgres. Each transition is one short transaction: lock the cluster's row, read the facts, call the
//! pure [`decide`], write the difference, the audit rows and the raised revision together.
//!
//! ```text
//! http ---+
//!         +--> service --> decide      (pure: facts in, decision out)
//! loops --+        \-----> store (trait) <-- store/postgres, store/memory
//! ```
//!
//! | to find | look in |
//! | --- | --- |
//! | what may be chosen | [`config`] |
//! | starting and stopping | [`start`](mod@start) |
//! | the rules, pure | [`decide`] |
//! | where the facts are kept | [`store`] |
//! | what is done with both | [`service`] |
//! | what happens without a request | [`loops`] |
//! | routes and problems | [`http`] |
//! | how many connections are served | [`open_files`] |

pub mod config;
pub mod decide;
pub mod http;
pub mod loops;
pub mod open_files;
pub mod service;
pub mod start;
pub mod store;

pub use config::Config;
pub use http::openapi;
pub use start::{Coordinator, StartError, start};
