//! `stillframe retention`: which committed snapshots of a cluster are kept.

use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;
use stillframe_api::{
    HumanDuration,
    retention::{ClusterRetention, Retention},
};
use stillframe_protocol::ClusterName;

use crate::{connect::ApiArgs, error::CliError, output::Output, text::facts};

/// What to do with a retention.
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Set it: a committed snapshot goes once no rule keeps it. Replaces the whole of it
    #[command(
        override_usage = "stillframe retention set [OPTIONS] <CLUSTER> <--keep-last <N>|--keep-for <DURATION>|--hourly <N>|--daily <N>|--weekly <N>>..."
    )]
    Set {
        /// The cluster
        cluster: ClusterName,
        /// The rules.
        #[command(flatten)]
        rules: Rules,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show it
    Show {
        /// The cluster
        cluster: ClusterName,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Take it away: everything is kept
    Delete {
        /// The cluster
        cluster: ClusterName,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// The rules of a retention; what any one of them keeps is kept.
#[derive(Debug, Clone, Copy, Args)]
#[command(group = ArgGroup::new("rule").multiple(true).required(true).args(["keep_last", "keep_for", "hourly", "daily", "weekly"]))]
pub struct Rules {
    /// Keep the newest so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keep_last: Option<u32>,
    /// Keep those that are no older
    #[arg(long, value_name = "DURATION")]
    keep_for: Option<HumanDuration>,
    /// Keep the newest of each of the last so many hours (UTC) that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    hourly: Option<u32>,
    /// Keep the newest of each of the last so many days (UTC) that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    daily: Option<u32>,
    /// Keep the newest of each of the last so many weeks (Monday to Sunday, UTC) that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    weekly: Option<u32>,
    /// Never keep fewer than so many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    floor: u32,
}

/// What is printed of a retention that is gone.
#[derive(Serialize)]
struct Deleted {
    cluster: ClusterName,
    deleted: bool,
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: RetentionCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        RetentionCommand::Set { cluster, rules, api } => {
            let Rules { keep_last, keep_for, hourly, daily, weekly, floor } = rules;
            let retention = Retention { keep_last, keep_for, hourly, daily, weekly, floor };
            out.result(&api.client()?.put_retention(&cluster, &retention).await?, describe)
        }
        RetentionCommand::Show { cluster, api } => out.result(&api.client()?.retention(&cluster).await?, describe),
        RetentionCommand::Delete { cluster, api } => {
            api.client()?.delete_retention(&cluster).await?;
            out.result(&Deleted { cluster, deleted: true }, |gone| format!("{} keeps everything from now on", gone.cluster))
        }
    }
}

fn describe(retention: &ClusterRetention) -> String {
    let keeps = retention.retention.map_or_else(|| "everything".to_owned(), |retention| retention.to_string());
    facts([("cluster", Some(retention.cluster.to_string())), ("keeps", Some(keeps))])
}
