//! The algorithm, model-checked: every schedule within small bounds, with the production [`Participant`](stillframe_protocol::Participant) as each member.
//!
//! | to find | look in |
//! | --- | --- |
//! | the models, their bounds, and what each of them has to reach | [`bounds`] |
//! | what one state is | [`state`] |
//! | the network: connections that break, and datagrams | [`network`] |
//! | what may happen next | [`actions`] |
//! | what a member does, and what is checked of it | [`member`] |
//! | what the coordinator does: snapshots, commits, crashes, restores | [`coordinator`] |
//! | what is promised of every state, and what some state has to be | [`promises`] |
//! | running a model | [`check`] |
//!
//! `cargo model` reports on the same models in release, `cargo model --deep` with larger bounds.

#![allow(dead_code, unreachable_pub, reason = "shared by the integration tests and the report of `cargo model`")]

pub mod actions;
pub mod bounds;
pub mod check;
pub mod coordinator;
pub mod member;
pub mod network;
pub mod promises;
pub mod state;
#[cfg(test)]
mod tests;
