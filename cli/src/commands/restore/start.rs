//! `stillframe restore start`.

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use stillframe_api::{
    HumanDuration,
    restore::{MAX_FALLBACK, MAX_RETRIES, StartRestore},
};
use stillframe_protocol::{ClusterName, MemberName, SnapshotId};

use super::{plan, show};
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    parse::{self, UNTIL_ENDED, Wait},
};

/// What to put back, to where, and how.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true),
    override_usage = "stillframe restore start [OPTIONS] <CLUSTER> <SNAPSHOT|--latest|--before <TIME>>"
)]
pub struct StartArgs {
    /// The cluster
    pub cluster: ClusterName,
    /// The committed snapshot
    #[arg(group = "target", value_parser = parse::snapshot_id)]
    pub snapshot: Option<SnapshotId>,
    /// To the snapshot that a rollback would go to
    #[arg(long, group = "target")]
    pub latest: bool,
    /// To the newest committed snapshot that was complete at this time, such as 2026-03-01T14:00:00Z
    #[arg(long, group = "target", value_name = "TIME", value_parser = parse::timestamp)]
    pub before: Option<Timestamp>,
    /// Show what it would do, and change nothing; exits 1 if it wouldn't succeed now
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// The part of OLD is taken up by NEW, and every channel is renamed; may be given several times
    #[arg(long = "map", value_name = "OLD=NEW", value_parser = parse::renaming)]
    pub mapping: Vec<(MemberName, MemberName)>,
    /// How many older committed snapshots may be tried if the chosen one proves unreadable
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_FALLBACK)))]
    pub fallback: u32,
    /// How often each member tries again when it can't load its part for a reason that may pass [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_RETRIES)))]
    pub retries: Option<u32>,
    /// How long each snapshot that is tried may take [default: the coordinator's --restore-timeout]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<HumanDuration>,
    /// Wait until it has ended, or for so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = UNTIL_ENDED, value_parser = parse::wait)]
    pub wait: Option<Wait>,
    /// Which coordinator.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Starts it, or shows what it would do.
pub(super) async fn run(args: StartArgs, out: &mut Output) -> Result<(), CliError> {
    let StartArgs { cluster, snapshot, latest, before, dry_run, mapping, fallback, retries, timeout, wait, api } = args;
    let mut request = StartRestore { snapshot, latest, before, dry_run, timeout, fallback, retries, ..StartRestore::default() };
    for (part, name) in mapping {
        if let Some(other) = request.mapping.insert(part.clone(), name.clone()).filter(|other| *other != name) {
            return Err(CliError::usage(format!("--map: {part} can't be both {other} and {name}")));
        }
    }
    let client = api.client()?;
    if dry_run {
        let found = client.plan_restore(&cluster, &request).await?;
        out.result(&found, plan::describe)?;
        return if found.ready { Ok(()) } else { Err(CliError::Failed(plan::not_ready(&found))) };
    }
    let restore = client.start_restore(&cluster, &request).await?;
    show::print(&client, restore, wait, out).await
}
