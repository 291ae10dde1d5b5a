//! The promises of the protocol, shown on whole clusters of participants.
//!
//! | to find | look in |
//! | --- | --- |
//! | a cluster of participants, its network, its coordinator and all that is checked after each step | [`world`] |
//! | random schedules on random topologies | [`random`] |
//! | that each rule is needed | [`mutants`] |
//! | every schedule within small bounds | [`model`] |
//! | the bytes of a frame | [`frame`] |
//! | what the verifier accepts and refuses | [`certificate`] |
//! | schedules that were thought out to break the machine | [`adversarial`] |

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod adversarial;
mod certificate;
mod frame;
mod model;
mod mutants;
mod random;
mod world;
