//! `stillframe archive`: the coordinator's archive.

use clap::Subcommand;
use stillframe_api::{
    archive::ArchiveInfo,
    resync::{ResyncArchive, ResyncReport},
};

use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    text::{facts, time},
};

/// What to do with the archive.
#[derive(Debug, Subcommand)]
pub enum ArchiveCommand {
    /// Show which archive it is, and what its store was found to do
    Show {
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Rebuild the catalog of a lost database from the archive alone, or bring one up that has lost its last transactions
    Resync {
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Try out anew what the store does
    Probe {
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: ArchiveCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        ArchiveCommand::Show { api } => out.result(&api.client()?.archive().await?, describe),
        ArchiveCommand::Resync { dry_run, api } => {
            out.result(&api.client()?.resync_archive(&ResyncArchive { dry_run }).await?, resynced)
        }
        ArchiveCommand::Probe { api } => out.result(&api.client()?.probe_archive().await?, describe),
    }
}

fn describe(archive: &ArchiveInfo) -> String {
    let yes = |can: bool| if can { "yes" } else { "NO" }.to_owned();
    let probe = archive.probe.as_ref();
    facts([
        ("archive", Some(archive.id.to_string())),
        ("url", Some(archive.url.clone())),
        ("format", Some(archive.format.to_string())),
        ("store tried out", Some(probe.map_or_else(|| "not yet".to_owned(), |p| time(p.probed_at)))),
        ("keeps what it acknowledges", probe.map(|_| yes(true))),
        ("create if absent", probe.map(|p| p.create_if_absent.as_str().to_owned())),
        ("lists are current", probe.map(|p| yes(p.list_is_current))),
        ("uploads in pieces", probe.map(|p| yes(p.multipart))),
        ("deletes", probe.map(|p| yes(p.delete))),
        ("a put took", probe.map(|p| p.put_took.to_string())),
    ])
}

fn resynced(report: &ResyncReport) -> String {
    let would = if report.dry_run { "would be " } else { "" };
    let mut text = format!(
        "{} manifests in the archive; {} clusters {would}rebuilt, {} snapshots {would}taken up, {} rejected",
        report.manifests,
        report.rebuilt.len(),
        report.taken_up.len(),
        report.rejected.len()
    );
    for cluster in &report.rebuilt {
        let members: Vec<String> = cluster.members.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\n\ncluster {} with the members {}", cluster.cluster, members.join(", ")));
        text.push_str(&format!(
            "\n  new epochs are above {}, generations above {}, incarnations above {}",
            cluster.epoch, cluster.generation, cluster.incarnation
        ));
        cluster.defaults.iter().for_each(|default| text.push_str(&format!("\n  {default}")));
    }
    for taken in &report.taken_up {
        let was = taken.was.map_or_else(String::new, |was| format!(", which the database took for {was}"));
        text.push_str(&format!("\nsnapshot {} of {}, epoch {}{was}", taken.snapshot, taken.cluster, taken.epoch));
    }
    for rejected in &report.rejected {
        let what = match (&rejected.snapshot, &rejected.cluster) {
            (Some(snapshot), Some(cluster)) => format!("snapshot {snapshot} of {cluster}"),
            (_, Some(cluster)) => format!("cluster {cluster}"),
            (_, None) => "a folder".to_owned(),
        };
        let place = rejected.archive_prefix.as_ref().map_or_else(String::new, |prefix| format!(" in {prefix}"));
        text.push_str(&format!("\n\nnot taken up: {what}{place}"));
        rejected.problems.iter().for_each(|problem| text.push_str(&format!("\n  {problem}")));
    }
    for missing in &report.without_manifest {
        text.push_str(&format!("\n\nsnapshot {} of {} has no manifest in the archive", missing.snapshot, missing.cluster));
    }
    text
}
