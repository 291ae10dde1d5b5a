//! `stillframe hold`: snapshots that nothing deletes.

use clap::Subcommand;
use serde::Serialize;
use stillframe_api::{
    HumanDuration,
    retention::{CreateHold, Hold},
};
use stillframe_protocol::{HoldId, SnapshotId};

use super::paging;
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    parse,
    text::{facts, table, time, time_or_dash},
};

/// What to do with holds.
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Hold a snapshot
    Add {
        /// The snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// Who holds it
        #[arg(long, value_name = "NAME")]
        owner: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// For how long [default: until it is removed]
        #[arg(long = "for", value_name = "DURATION")]
        expires_in: Option<HumanDuration>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// List the holds on a snapshot, those that have expired included
    List {
        /// The snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Remove a hold
    Remove {
        /// The snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// The hold
        #[arg(value_parser = parse::hold_id)]
        hold: HoldId,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// What is printed of a hold that is gone.
#[derive(Serialize)]
struct Removed {
    snapshot: SnapshotId,
    hold: HoldId,
    removed: bool,
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: HoldCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        HoldCommand::Add { snapshot, owner, reason, expires_in, api } => {
            let hold = api.client()?.hold_snapshot(snapshot, &CreateHold { owner, reason, expires_in }).await?;
            out.result(&hold, describe)
        }
        HoldCommand::List { snapshot, api } => {
            let page = api.client()?.list_holds(snapshot).await?;
            paging::print(out, &page, list)
        }
        HoldCommand::Remove { snapshot, hold, api } => {
            api.client()?.release_hold(snapshot, hold).await?;
            let removed = Removed { snapshot, hold, removed: true };
            out.result(&removed, |gone| format!("hold {} on {} is removed", gone.hold, gone.snapshot))
        }
    }
}

fn list(holds: &[Hold]) -> String {
    let row = |hold: &Hold| [hold.id.to_string(), hold.owner.clone(), time_or_dash(hold.expires_at), hold.reason.clone()];
    table(["HOLD", "OWNER", "EXPIRES", "REASON"], holds.iter().map(row))
}

fn describe(hold: &Hold) -> String {
    facts([
        ("hold", Some(hold.id.to_string())),
        ("snapshot", Some(hold.snapshot.to_string())),
        ("owner", Some(hold.owner.clone())),
        ("reason", Some(hold.reason.clone())),
        ("made", Some(time(hold.created_at))),
        ("expires", Some(time_or_dash(hold.expires_at))),
    ])
}
