//! Real processes, real Postgres, real S3: happy, crash, restore.
//!
//! | to find | look in |
//! | --- | --- |
//! | an S3 server over HTTP, and a gate that holds or fails requests | [`s3`] |
//! | the network between processes, and its weather | [`proxy`] |
//! | processes: starting, freezing, killing, and what they logged | [`process`] |
//! | one test's world: database, bucket, coordinator, members | [`world`] |
//! | waiting for a condition | [`wait`] |
//!
//! `cargo test -p stillframe-e2e` runs the tests, which are in `tests/`. They need nothing: a private Postgres is started unless
//! `DATABASE_URL` names one, and an S3 server unless [`s3::external`] names one. When a test fails it
//! shows the last lines of every process; with `STILLFRAME_E2E_KEEP=1` all logs stay in the system's temporary directory.
//!
//! Every process of a test runs the code of the product's binary: `stillframe-e2e-node` is `stillframe` under
//! a name that Cargo builds for the tests of this package.

pub mod process;
pub mod proxy;
pub mod s3;
pub mod wait;
pub mod world;

pub use world::{World, WorldOptions};
