//! The coordinator: the product's own rules (`stillframe_coordinator::decide`) on facts that are held in memory.
//!
//! | to find | look in |
//! | --- | --- |
//! | what the database holds, and what is read for a decision | [`database`] |
//! | which rule is called with what | [`command`] |
//! | replicas: remembered facts, races, answers to members | [`replica`] |
//! | taking parts, certifying, writing manifests | [`commit`] |

pub(crate) mod command;
pub(crate) mod commit;
pub(crate) mod database;
pub(crate) mod replica;
