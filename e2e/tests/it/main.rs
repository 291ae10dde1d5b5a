//! Real processes, real Postgres, real S3: happy, crash, restore.

mod bad_input;
mod bad_objects;
mod channel_states;
mod coordinator_loss;
mod deletion;
mod happy;
mod lost_database;
mod member_loss;
mod membership;
mod outages;
mod processes;
mod promotion;
mod replicas;
mod restore;
mod restore_trouble;
mod snapshots;
mod store;

use stillframe_e2e::WorldOptions;

/// What a test asks for unless it says otherwise.
fn options() -> WorldOptions {
    WorldOptions::new(env!("CARGO_BIN_EXE_stillframe-e2e-node"))
}
