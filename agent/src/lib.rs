//! The agent: the library in each process that captures its state and its channels, and puts them back.
//!
//! A process implements [`Application`], makes an [`AgentConfig`], and hands both to [`run_blocking`] (or, inside a tokio runtime, to
//! [`Agent`]). `docs/agent.md` shows a whole one in under 60 lines.
//!
//! | to find | look in |
//! | --- | --- |
//! | what an application implements | [`application`], [`capture`], [`state`] |
//! | what it may do in a callback | [`context`] |
//! | effects on the outside, released when a snapshot covers them | [`effects`] |
//! | settings and limits | [`config`] |
//! | starting, watching and ending an agent | [`agent`], [`status`], [`error`] |
//! | what the coordinator is to an agent: register, poll, report, the lease | [`control`] |
//! | byte streams between members: TCP, and in memory for tests | [`transport`] |
//! | for applications that carry their messages themselves | [`wrap`] |
//! | one connection: preamble, frames, batching, reconnecting | `link` |
//! | the task that owns the participant and the application | `driver` |
//! | recorded messages: memory, then a file, then the end | `spool` |
//! | from a sealed part to a report | `upload` |
//! | loading and verifying a part before a restore | `prepare` |

pub mod agent;
pub mod application;
pub mod capture;
pub mod config;
pub mod context;
pub mod control;
mod deadline;
mod directory;
mod driver;
pub mod effects;
pub mod error;
mod link;
mod prepare;
mod spool;
pub mod state;
pub mod status;
pub mod transport;
mod upload;
pub mod wrap;

pub use agent::{Agent, AgentHandle, run_blocking};
pub use application::{Application, Committed, Covers, Cut, TimerId};
pub use capture::Capture;
pub use config::{AgentConfig, DataPlane, Limits, TlsFiles};
pub use context::{Context, Room, SendError};
pub use effects::{Effect, EffectId, Effects};
pub use error::AgentError;
pub use state::{RestoreError, StateReader};
pub use status::{Phase, Status};
pub use stillframe_api::Coordinators;
pub use stillframe_archive::ArchiveUrl;
pub use stillframe_protocol::{
    ChannelOrdering, ClusterName, Epoch, Generation, Incarnation, MemberName, NameError, RestoreId, SnapshotId,
};
