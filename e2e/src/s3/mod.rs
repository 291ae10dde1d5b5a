//! A real S3 server over HTTP, in the test's process, and a gate in front of it.
//!
//! | module | concept |
//! | --- | --- |
//! | [`server`] | the server: listens on loopback, checks signatures, keeps objects in a temporary directory |
//! | [`exact`] | makes `s3s-fs` exact: conditional puts, preconditions, and no half-done work when a client goes away |
//! | [`gate`] | holds or fails requests whose key matches, and counts them |
//! | [`bucket`] | one test's bucket (or prefix): its URL, its credentials, and hands that tamper with its objects |
//! | [`external`] | another endpoint instead, named by `STILLFRAME_TEST_S3_*` |

pub mod bucket;
pub mod exact;
pub mod external;
pub mod gate;
pub mod server;

pub use bucket::Bucket;
pub use gate::{Failing, Failure, Gate, Held, Operation, Point, Requests};
pub use server::S3Server;
