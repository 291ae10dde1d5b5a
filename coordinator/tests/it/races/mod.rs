//! Operations that conflict, at the same time, at two replicas on one real Postgres: in every order that one preemption makes, and as chance has
//! it. After each, what must always hold.
//!
//! | to find | look in |
//! | --- | --- |
//! | the pairs | [`pairs`] |
//! | in which orders they are run | [`explore`] |
//! | what must hold | [`invariants`] |
//! | rules that are broken on purpose | [`mutants`] |
//! | two replicas, and what races begin from | [`field`] |
//! | stopping a replica between two steps | [`gate`], [`stepped`] |

mod explore;
mod field;
mod gate;
pub(crate) mod invariants;
mod mutants;
mod pairs;
mod stepped;
