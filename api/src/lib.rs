//! REST request and response types, problem types, and a typed client.
//!
//! | to find | look in |
//! | --- | --- |
//! | durations as people write them | [`duration`] |
//! | times as they are given | `moment` |
//! | limits as they are given | `bounded` |
//! | problems (RFC 9457) | [`problem`] |
//! | lists with cursors | [`page`] |
//! | clusters and members | [`cluster`] |
//! | how messages under way get into a snapshot | [`channel_state`] |
//! | changing a cluster's settings | [`settings`] |
//! | snapshots and why they were aborted | [`snapshot`] |
//! | what a snapshot waits for | [`waiting`] |
//! | schedules | [`schedule`] |
//! | restores, and what one would do | [`restore`], [`restore_plan`] |
//! | automatic rollbacks, and going on after a halt | [`rollback`] |
//! | the archive, and a catalog rebuilt from it | [`archive`], [`resync`] |
//! | the audit, and checking its chains of hashes | [`audit`], [`chain`] |
//! | what is kept, and holds | [`retention`] |
//! | garbage collection | [`gc`] |
//! | what agents register, poll and report | [`agent`] |
//! | the client | [`client`] |
//! | how long to wait before trying again | [`backoff`] |
//! | the addresses of replicas | [`coordinators`] |
//! | asking another replica when one dies | `transport` |

pub mod agent;
pub mod archive;
pub mod audit;
pub mod backoff;
mod bounded;
pub mod chain;
pub mod channel_state;
pub mod client;
pub mod cluster;
pub mod coordinators;
pub mod duration;
pub mod gc;
mod moment;
pub mod page;
pub mod problem;
pub mod restore;
pub mod restore_plan;
pub mod resync;
pub mod retention;
pub mod rollback;
pub mod schedule;
pub mod settings;
pub mod snapshot;
mod transport;
pub mod waiting;

pub use client::{Client, ClientError};
pub use coordinators::Coordinators;
pub use duration::{DurationOrZero, HumanDuration};
pub use page::Page;
pub use problem::{Problem, ProblemCode};
pub use transport::IDEMPOTENCY_KEY;
