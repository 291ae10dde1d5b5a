//! `stillframe snapshot`: take, look at, change, abort and verify snapshots.

pub mod queue;
pub mod show;
pub mod verify;

use clap::Subcommand;
use stillframe_api::{
    Client, HumanDuration,
    settings::UpdateSnapshot,
    snapshot::{AbortSnapshot, ListSnapshots, Snapshot, SnapshotState, TakeSnapshot},
};
use stillframe_protocol::{ClusterName, SnapshotId};

use self::verify::VerifyArgs;
use super::paging::{self, PageArgs};
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    parse::{self, UNTIL_ENDED, Wait},
    progress::Progress,
    wait::{timed_out, until_ended},
};

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Take a snapshot of a running cluster
    Take {
        /// The cluster
        cluster: ClusterName,
        /// A label to keep with it, in the manifest too; may be given up to 32 times
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
        labels: Vec<(String, String)>,
        /// How long it may take before it is aborted [default: the cluster's snapshot timeout]
        #[arg(long, value_name = "DURATION")]
        timeout: Option<HumanDuration>,
        /// Wait until it has ended, or for so long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = UNTIL_ENDED, value_parser = parse::wait)]
        wait: Option<Wait>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// List a cluster's snapshots, newest first
    List {
        /// The cluster
        cluster: ClusterName,
        /// Only those in this state: pending, recording, committing, committed, aborted, deleting, deleted
        #[arg(long, value_name = "STATE")]
        status: Option<SnapshotState>,
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show a snapshot: how far it is, what is missing, why it was aborted
    Show {
        /// The snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// Wait until it has ended, or for so long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = UNTIL_ENDED, value_parser = parse::wait)]
        wait: Option<Wait>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Change how long a snapshot that is pending or recording may take
    Update {
        /// The snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// How long it may take, from when its recording began
        #[arg(long, value_name = "DURATION")]
        timeout: HumanDuration,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Abort a snapshot that hasn't ended
    Abort {
        /// The snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// Why, in a sentence, for the audit
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Delete a snapshot whatever the retention says; its objects go in the background. Not what is held or needed
    Delete {
        /// The snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Verify snapshots from the archive alone: digests, lengths and the certificate. No coordinator is asked
    Verify(VerifyArgs),
}

/// Does it.
///
/// # Errors
/// [`CliError`]: what the coordinator says; [`CliError::SnapshotAborted`] and [`CliError::TimedOut`] after a wait; [`CliError::Failed`] when
/// a snapshot doesn't verify.
pub async fn run(command: SnapshotCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        SnapshotCommand::Take { cluster, labels, timeout, wait, api } => {
            let client = api.client()?;
            let request = TakeSnapshot { labels: labels.into_iter().collect(), timeout };
            let snapshot = client.take_snapshot(&cluster, &request).await?;
            print(&client, snapshot, wait, out).await
        }
        SnapshotCommand::List { cluster, status, page, api } => {
            let client = api.client()?;
            let page = page
                .fetch(async |query| {
                    let query = ListSnapshots { status, limit: query.limit, cursor: query.cursor };
                    client.list_snapshots(&cluster, &query).await
                })
                .await?;
            paging::print(out, &page, show::list)
        }
        SnapshotCommand::Show { snapshot, wait, api } => {
            let client = api.client()?;
            let snapshot = client.snapshot(snapshot).await?;
            print(&client, snapshot, wait, out).await
        }
        SnapshotCommand::Update { snapshot, timeout, api } => {
            let changes = UpdateSnapshot { timeout: Some(timeout) };
            let snapshot = api.client()?.update_snapshot(snapshot, &changes).await?;
            out.result(&snapshot, show::describe)
        }
        SnapshotCommand::Abort { snapshot, why, api } => {
            let snapshot = api.client()?.abort_snapshot(snapshot, &AbortSnapshot { why }).await?;
            out.result(&snapshot, show::describe)
        }
        SnapshotCommand::Delete { snapshot, api } => {
            let snapshot = api.client()?.delete_snapshot(snapshot).await?;
            out.result(&snapshot, show::describe)
        }
        SnapshotCommand::Verify(args) => verify::run(args, out).await,
    }
}

/// Prints it, once it has ended if that is to be waited for; the outcome counts only then.
pub(super) async fn print(client: &Client, snapshot: Snapshot, wait: Option<Wait>, out: &mut Output) -> Result<(), CliError> {
    let Some(wait) = wait else {
        return out.result(&snapshot, show::describe);
    };
    let (progress, id) = (Progress::new(out.is_json()), snapshot.id);
    let snapshot = until_ended(snapshot, wait, &progress, async |hold| client.wait_snapshot(id, hold).await).await?;
    drop(progress);
    out.result(&snapshot, show::describe)?;
    match snapshot.state {
        SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing => {
            Err(timed_out(format!("snapshot {id}"), &snapshot, wait))
        }
        SnapshotState::Committed => Ok(()),
        // What was aborted is cleaned up after; what was committed may have been deleted since.
        SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted => {
            CliError::of_aborted(&snapshot).map_or(Ok(()), Err)
        }
    }
}
