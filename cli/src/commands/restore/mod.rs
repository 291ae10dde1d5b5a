//! `stillframe restore`: put a cluster back to a snapshot.

use clap::Subcommand;
use stillframe_api::restore::CancelRestore;
use stillframe_protocol::{ClusterName, RestoreId};

use super::paging::{self, PageArgs};
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    parse::{self, UNTIL_ENDED, Wait},
};

mod plan;
pub mod show;
mod start;

pub use start::StartArgs;

/// What to do with restores.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Put a cluster back to a committed snapshot; everything since is lost
    Start(Box<StartArgs>),
    /// List a cluster's restores, newest first
    List {
        /// The cluster
        cluster: ClusterName,
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show a restore and how far each member is
    Show {
        /// The restore
        #[arg(value_parser = parse::restore_id)]
        restore: RestoreId,
        /// Wait until it has ended, or for so long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = UNTIL_ENDED, value_parser = parse::wait)]
        wait: Option<Wait>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Give a restore up before its commit point
    Cancel {
        /// The restore
        #[arg(value_parser = parse::restore_id)]
        restore: RestoreId,
        /// Why, in a sentence, for the audit
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Does it.
///
/// # Errors
/// [`CliError`]: what the coordinator says; [`CliError::RestoreFailed`] and [`CliError::TimedOut`] after a wait; [`CliError::Failed`] when a
/// plan shows that the restore wouldn't succeed.
pub async fn run(command: RestoreCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        RestoreCommand::Start(args) => start::run(*args, out).await,
        RestoreCommand::List { cluster, page, api } => {
            let client = api.client()?;
            let page = page.fetch(async |query| client.list_restores(&cluster, &query).await).await?;
            paging::print(out, &page, show::list)
        }
        RestoreCommand::Show { restore, wait, api } => {
            let client = api.client()?;
            let restore = client.restore(restore).await?;
            show::print(&client, restore, wait, out).await
        }
        RestoreCommand::Cancel { restore, why, api } => {
            let restore = api.client()?.cancel_restore(restore, &CancelRestore { why }).await?;
            out.result(&restore, show::describe)
        }
    }
}
