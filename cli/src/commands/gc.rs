//! `stillframe gc`: what would go from the archive and why, and having it go.

use clap::{Args, Subcommand};
use stillframe_api::gc::{Collection, GcOptions, GcPlan, GcReport, Orphans};
use stillframe_protocol::ClusterName;

use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    text::{bytes, facts, table, time},
};

/// What to do about garbage.
#[derive(Debug, Subcommand)]
pub enum GcCommand {
    /// Show what would go from a cluster's archive now, and why; nothing is changed
    Plan {
        /// The cluster
        cluster: ClusterName,
        /// What becomes of orphans.
        #[command(flatten)]
        options: Options,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Do what the plan says
    Run {
        /// The cluster
        cluster: ClusterName,
        /// What becomes of orphans.
        #[command(flatten)]
        options: Options,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show whether anything is deleted at all
    Show {
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Confirm that the catalog is whole, so that deletion goes on
    Confirm {
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// What becomes of objects that nobody owns.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// Report or delete objects that nobody owns [default: as the coordinator is set]
    #[arg(long, value_name = "report|delete")]
    orphans: Option<Orphans>,
    /// Delete them even if they are more than the coordinator lets go at once
    #[arg(long)]
    ignore_breaker: bool,
}

impl From<Options> for GcOptions {
    fn from(Options { orphans, ignore_breaker }: Options) -> Self {
        Self { orphans, ignore_breaker }
    }
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: GcCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        GcCommand::Plan { cluster, options, api } => {
            out.result(&api.client()?.plan_gc(&cluster, &options.into()).await?, describe)
        }
        GcCommand::Run { cluster, options, api } => out.result(&api.client()?.run_gc(&cluster, &options.into()).await?, report),
        GcCommand::Show { api } => out.result(&api.client()?.collection().await?, collection),
        GcCommand::Confirm { api } => out.result(&api.client()?.confirm_collection().await?, collection),
    }
}

fn collection(collection: &Collection) -> String {
    match &collection.reason {
        Some(reason) => format!("nothing is deleted since {}: {reason}", time(collection.changed_at)),
        None => "what is to go is deleted".to_owned(),
    }
}

fn describe(plan: &GcPlan) -> String {
    let go = plan.expiring().count();
    let orphans = &plan.orphans;
    let mut text = facts([
        ("cluster", Some(plan.cluster.to_string())),
        ("suspended", plan.collection.reason.clone()),
        ("retention", Some(plan.retention.map_or_else(|| "keeps everything".to_owned(), |keeps| keeps.to_string()))),
        ("snapshots", Some(format!("{go} of {} committed go", plan.snapshots.len()))),
        ("sweeps", Some(format!("{} snapshots of which nothing may stay", plan.sweeps.len()))),
        ("uploads", Some(format!("{} that may be unfinished", plan.uploads.len()))),
        (
            "orphans",
            Some(format!("{} of {} objects, {}; {} go", orphans.orphans, orphans.objects, bytes(orphans.bytes), orphans.go)),
        ),
        ("withheld", orphans.withheld.clone()),
    ]);
    let section = |text: &mut String, rows: Vec<[String; 3]>, header| {
        if !rows.is_empty() {
            text.push_str("\n\n");
            text.push_str(&table(header, rows));
        }
    };
    let snapshots = plan.snapshots.iter().map(|snapshot| {
        let why: Vec<String> = snapshot.keep.iter().map(ToString::to_string).collect();
        let why = if why.is_empty() { "GOES: no rule keeps it".to_owned() } else { why.join(", ") };
        [snapshot.snapshot.to_string(), time(snapshot.recording_at), why]
    });
    section(&mut text, snapshots.collect(), ["COMMITTED", "TAKEN", "KEPT BY"]);
    let sweeps = plan.sweeps.iter().map(|sweep| [sweep.snapshot.to_string(), sweep.state.to_string(), time(sweep.sweep_at)]);
    section(&mut text, sweeps.collect(), ["TO SWEEP", "STATE", "AT"]);
    let uploads = plan.uploads.iter().map(|upload| [upload.key.clone(), time(upload.begun_at), time(upload.abort_at)]);
    section(&mut text, uploads.collect(), ["UPLOAD", "BEGUN", "ABORTED AT"]);
    let listed = orphans.items.iter().map(|orphan| {
        let goes = if orphan.goes { "GOES" } else { "stays" };
        [orphan.key.clone(), format!("{goes}: {}", orphan.because), time(orphan.last_modified)]
    });
    section(&mut text, listed.collect(), ["ORPHAN", "", "WRITTEN"]);
    text
}

fn report(report: &GcReport) -> String {
    facts([
        ("cluster", Some(report.plan.cluster.to_string())),
        ("suspended", report.plan.collection.reason.clone()),
        ("snapshots", Some(format!("{} are being deleted", report.snapshots))),
        ("swept", Some(format!("{} objects", report.swept_objects))),
        ("uploads", Some(format!("{} aborted", report.uploads))),
        ("orphans", Some(format!("{} of {} deleted", report.orphans, report.plan.orphans.orphans))),
        ("withheld", report.plan.orphans.withheld.clone()),
    ])
}
