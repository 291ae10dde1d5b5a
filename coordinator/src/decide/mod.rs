//! The rules of the coordinator. Pure: facts in, decision out; no clock, no randomness, no tokio, no SQL. Times and ids come in.
//!
//! Each function takes the [`Facts`] of one cluster, read under its lock, and gives a [`Decision`]: the facts as they are to be next, and
//! what the audit has to say. The store writes the difference.
//!
//! | to find | look in |
//! | --- | --- |
//! | what is known of a cluster | [`facts`] |
//! | drafting a decision, refusals | [`decision`], [`refusal`] |
//! | what follows by itself from any change | [`settle`] |
//! | members that register, come, are lost and come back | [`member`] |
//! | members that leave in good order | [`leave`] |
//! | asking for, aborting and committing snapshots | [`snapshot`], [`part`] |
//! | which snapshots wait, and for what | [`queue`] |
//! | why a snapshot was aborted, and who is to blame | [`blame`] |
//! | changing settings, and a snapshot's timeout | [`settings`] |
//! | cycles of channels, which can't be aligned | [`alignment`] |
//! | restores | [`restore`] |
//! | rollbacks by themselves, going on after a halt | [`rollback`] |
//! | taking up what the archive proves, leaping over numbers that may have been given out | [`resync`] |
//! | what agents say, as evidence that transactions were lost | [`claims`] |
//! | schedules | [`schedule`] |
//! | what is kept, holds | [`retention`] |
//! | deleting snapshots | [`deletion`] |
//! | objects that nobody owns, what was collected | [`orphans`], [`collection`] |
//! | what a member is to be doing | [`assignment`] |

pub mod alignment;
pub mod assignment;
pub mod blame;
pub mod claims;
pub mod collection;
pub mod decision;
pub mod deletion;
pub mod facts;
pub mod leave;
pub mod member;
pub mod orphans;
pub mod part;
pub mod queue;
pub mod refusal;
pub mod restore;
pub mod resync;
pub mod retention;
pub mod rollback;
pub mod schedule;
pub mod settings;
pub mod settle;
pub mod snapshot;

#[cfg(test)]
mod aligned;
#[cfg(test)]
mod blamed;
#[cfg(test)]
mod kept_properties;
#[cfg(test)]
mod leaving;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod queued;
#[cfg(test)]
pub(crate) mod world;

pub use decision::{Audit, Decision, Draft, Occasion};
pub use facts::Facts;
pub use refusal::Refusal;
