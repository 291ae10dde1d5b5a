//! What each command does: one file a command, named after it.

pub mod archive;
pub mod audit;
pub mod channels;
pub mod cluster;
pub mod completions;
pub mod coordinator;
pub mod dev;
pub mod gc;
pub mod hold;
pub mod member;
pub mod paging;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod snapshot;
