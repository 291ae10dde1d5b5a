//! `stillframe cluster`: create, change and look at clusters.

use clap::{Args, Subcommand, ValueEnum};
use stillframe_api::{
    DurationOrZero, HumanDuration,
    cluster::{Cluster, ClusterPhase, CreateCluster, DEFAULT_SNAPSHOT_TIMEOUT, OnLoss},
    restore::MAX_FALLBACK,
    rollback::{DEFAULT_ROLLBACK_BACKOFF, DEFAULT_ROLLBACK_LIMIT, DEFAULT_ROLLBACK_WINDOW, ResumeCluster, RollbackSettings},
    settings::{UpdateCluster, UpdateRollback},
};
use stillframe_protocol::ClusterName;

use super::{
    channels::{self, ChannelArgs, ChannelChanges},
    paging::{self, PageArgs},
    snapshot::queue::holders,
};
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    text::{dash, facts, table, time},
};

/// What to do with clusters.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Create a cluster; creating it again with the same settings is fine
    Create {
        /// Its name: a-z, 0-9, '.', '_' and '-'
        name: ClusterName,
        /// How many members must have registered before it runs
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        min_members: u32,
        /// How long a snapshot may take before it is aborted
        #[arg(long, value_name = "DURATION", default_value_t = DEFAULT_SNAPSHOT_TIMEOUT)]
        snapshot_timeout: HumanDuration,
        /// What to do when a member is lost
        #[arg(long, value_enum, default_value_t)]
        on_loss: Loss,
        /// How many snapshots may be recording or committing at once (1 to 16)
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
        max_concurrent: u32,
        /// The least time between the beginnings of two snapshots; 0s for none
        #[arg(long, value_name = "DURATION", default_value_t)]
        min_pause: DurationOrZero,
        /// A folder of the coordinator's archive for this cluster's snapshots, an archive of its own
        #[arg(long, value_name = "FOLDER")]
        archive_prefix: Option<String>,
        /// How it is put back by itself.
        #[command(flatten)]
        rollback: RollbackArgs,
        /// How the messages under way get into its snapshots.
        #[command(flatten)]
        channels: ChannelArgs,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Change settings of a cluster while it runs; what isn't named stays as it is
    #[command(
        group = clap::ArgGroup::new("change").required(true).multiple(true),
        override_usage = "stillframe cluster update [OPTIONS] <CLUSTER> <--SETTING <VALUE>>..."
    )]
    Update {
        /// The cluster
        cluster: ClusterName,
        /// How many members must have registered before it runs
        #[arg(long, value_name = "N", group = "change", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        min_members: Option<u32>,
        /// How long a snapshot may take before it is aborted; for those that wait, too, unless they have a timeout of their own
        #[arg(long, value_name = "DURATION", group = "change")]
        snapshot_timeout: Option<HumanDuration>,
        /// What to do when a member is lost
        #[arg(long, value_enum, group = "change")]
        on_loss: Option<Loss>,
        /// How many snapshots may be recording or committing at once (1 to 16)
        #[arg(long, value_name = "N", group = "change", value_parser = clap::value_parser!(u32).range(1..=16))]
        max_concurrent: Option<u32>,
        /// The least time between the beginnings of two snapshots; 0s for none
        #[arg(long, value_name = "DURATION", group = "change")]
        min_pause: Option<DurationOrZero>,
        /// So many rollbacks that go through within the window; the next loss halts the cluster. 0 for any number
        #[arg(long, value_name = "N", group = "change", value_parser = clap::value_parser!(u32).range(0..=1_000))]
        rollback_limit: Option<u32>,
        /// Over which time rollbacks are counted
        #[arg(long, value_name = "DURATION", group = "change")]
        rollback_window: Option<HumanDuration>,
        /// The pause after the first rollback within the window; it doubles with each, up to a minute
        #[arg(long, value_name = "DURATION", group = "change")]
        rollback_backoff: Option<HumanDuration>,
        /// How many older committed snapshots a rollback may try if the latest proves unreadable
        #[arg(long, value_name = "N", group = "change", value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_FALLBACK)))]
        restore_fallback: Option<u32>,
        /// How the messages under way get into its snapshots.
        #[command(flatten)]
        channels: ChannelChanges,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// List clusters by name
    List {
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Have a halted cluster go on: in its generation where that is whole, else from its latest committed snapshot
    Resume {
        /// The cluster
        cluster: ClusterName,
        /// How many older committed snapshots may be tried if the latest proves unreadable, or is known to be
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_FALLBACK)))]
        fallback: u32,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show a cluster
    Show {
        /// The cluster
        cluster: ClusterName,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// How a cluster is put back by itself.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// So many rollbacks that go through within the window; the next loss halts the cluster. 0 for any number
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ROLLBACK_LIMIT, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    rollback_limit: u32,
    /// Over which time rollbacks are counted
    #[arg(long, value_name = "DURATION", default_value_t = DEFAULT_ROLLBACK_WINDOW)]
    rollback_window: HumanDuration,
    /// The pause after the first rollback within the window; it doubles with each, up to a minute
    #[arg(long, value_name = "DURATION", default_value_t = DEFAULT_ROLLBACK_BACKOFF)]
    rollback_backoff: HumanDuration,
    /// How many older committed snapshots a rollback may try if the latest proves unreadable
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_FALLBACK)))]
    restore_fallback: u32,
}

impl From<RollbackArgs> for RollbackSettings {
    fn from(args: RollbackArgs) -> Self {
        let RollbackArgs { rollback_limit, rollback_window, rollback_backoff, restore_fallback } = args;
        Self { limit: rollback_limit, window: rollback_window, backoff: rollback_backoff, fallback: restore_fallback }
    }
}

/// [`OnLoss`], as written on the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Loss {
    /// Put the cluster back to its latest committed snapshot as soon as the member is back
    #[default]
    #[value(alias = "restore_latest")]
    RestoreLatest,
    /// Halt the cluster until the member was started again and `stillframe cluster resume CLUSTER` has it go on
    Halt,
}

impl From<Loss> for OnLoss {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::RestoreLatest => Self::RestoreLatest,
            Loss::Halt => Self::Halt,
        }
    }
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: ClusterCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        ClusterCommand::Create {
            name,
            min_members,
            snapshot_timeout,
            on_loss,
            max_concurrent,
            min_pause,
            archive_prefix,
            rollback,
            channels,
            api,
        } => {
            let on_loss = on_loss.into();
            let request = CreateCluster {
                snapshot_timeout,
                on_loss,
                max_concurrent,
                min_pause,
                archive_prefix,
                rollback: rollback.into(),
                channel_state: channels.channel_state.into(),
                alignment: channels.alignment.into(),
                aligned_timeout: channels::timeout(channels.aligned_timeout),
                ..CreateCluster::new(name, min_members)
            };
            let cluster = api.client()?.create_cluster(&request).await?;
            out.result(&cluster, describe)
        }
        ClusterCommand::Update {
            cluster,
            min_members,
            snapshot_timeout,
            on_loss,
            max_concurrent,
            min_pause,
            rollback_limit: limit,
            rollback_window: window,
            rollback_backoff: backoff,
            restore_fallback: fallback,
            channels,
            api,
        } => {
            let on_loss = on_loss.map(Into::into);
            let rollback = UpdateRollback { limit, window, backoff, fallback };
            let rollback = Some(rollback).filter(|rollback| *rollback != UpdateRollback::default());
            let changes = UpdateCluster {
                min_members,
                snapshot_timeout,
                on_loss,
                max_concurrent,
                min_pause,
                rollback,
                channel_state: channels.channel_state.map(Into::into),
                alignment: channels.alignment.map(Into::into),
                aligned_timeout: channels.aligned_timeout.map(channels::timeout),
            };
            let cluster = api.client()?.update_cluster(&cluster, &changes).await?;
            out.result(&cluster, describe)
        }
        ClusterCommand::List { page, api } => {
            let client = api.client()?;
            let page = page.fetch(async |query| client.list_clusters(&query).await).await?;
            paging::print(out, &page, list)
        }
        ClusterCommand::Resume { cluster, fallback, api } => {
            let cluster = api.client()?.resume_cluster(&cluster, &ResumeCluster { fallback }).await?;
            out.result(&cluster, describe)
        }
        ClusterCommand::Show { cluster, api } => {
            let cluster = api.client()?.cluster(&cluster).await?;
            out.result(&cluster, describe)
        }
    }
}

fn phase(phase: ClusterPhase) -> &'static str {
    match phase {
        ClusterPhase::Forming => "forming",
        ClusterPhase::Running => "running",
        ClusterPhase::Restoring => "restoring",
        ClusterPhase::Halted => "halted",
    }
}

fn list(clusters: &[Cluster]) -> String {
    let rows = clusters.iter().map(|cluster| {
        [
            cluster.name.to_string(),
            phase(cluster.phase).to_owned(),
            members(cluster),
            cluster.generation.to_string(),
            cluster.epoch.to_string(),
            cluster.latest_committed.map_or_else(dash, |id| id.to_string()),
        ]
    });
    table(["CLUSTER", "PHASE", "MEMBERS", "GENERATION", "EPOCH", "LATEST COMMITTED"], rows)
}

fn members(cluster: &Cluster) -> String {
    let live = cluster.live_members;
    match cluster.lost_members {
        0 if live < cluster.min_members => format!("{live} of {}", cluster.min_members),
        0 => format!("{live} live"),
        lost => format!("{live} live, {lost} lost"),
    }
}

fn rollbacks(settings: &RollbackSettings) -> String {
    let RollbackSettings { limit, window, backoff, fallback } = settings;
    let limit = if *limit == 0 { "any number".to_owned() } else { format!("at most {limit}") };
    let fallback = if *fallback == 0 { String::new() } else { format!(", to one of {fallback} older snapshots if need be") };
    format!("{limit} in {window}, {backoff} apart at first{fallback}")
}

fn describe(cluster: &Cluster) -> String {
    let on_loss = match cluster.on_loss {
        OnLoss::RestoreLatest => "restore the latest committed snapshot",
        OnLoss::Halt => "halt",
    };
    let reason = cluster.phase_reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    facts([
        ("cluster", Some(cluster.name.to_string())),
        ("phase", Some(format!("{}{reason}", phase(cluster.phase)))),
        ("members", Some(format!("{}, runs from {}", members(cluster), cluster.min_members))),
        ("generation", Some(cluster.generation.to_string())),
        ("epoch", Some(cluster.epoch.to_string())),
        ("latest committed", Some(cluster.latest_committed.map_or_else(dash, |id| id.to_string()))),
        ("snapshot timeout", Some(cluster.snapshot_timeout.to_string())),
        ("snapshots at once", Some(cluster.max_concurrent.to_string())),
        ("min pause", (!cluster.min_pause.is_zero()).then(|| cluster.min_pause.to_string())),
        ("under way", (!cluster.under_way.is_empty()).then(|| holders(&cluster.under_way).join("\n"))),
        ("pending", (cluster.pending > 0).then(|| cluster.pending.to_string())),
        ("on loss", Some(on_loss.to_owned())),
        ("rollbacks", Some(rollbacks(&cluster.rollback))),
        ("channels", Some(channels::describe(cluster))),
        ("restore", cluster.restore.map(|restore| format!("{restore} is under way"))),
        ("archive prefix", cluster.archive_prefix.clone()),
        ("created", Some(time(cluster.created_at))),
    ])
}
