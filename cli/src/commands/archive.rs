//! `stillframe archive`: the coordinator's archive.

use clap::Subcommand;
use stillframe_api::archive::ArchiveInfo;

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
