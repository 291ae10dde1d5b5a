//! What the members need around them: a private Postgres, a coordinator, an archive.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use stillframe_api::Client;
use stillframe_archive::{Archive, ArchiveUrl};
use stillframe_coordinator::{Config, Coordinator};
use stillframe_private_postgres::{DataDir, Options, PrivatePostgres};
use stillframe_protocol::ClusterName;
use tempfile::TempDir;

use super::view::View;
use crate::{commands::dev::make_dir, error::CliError};

/// Postgres, coordinator and archive of one demo.
pub(super) struct Stage {
    pub(super) client: Client,
    pub(super) cluster: ClusterName,
    pub(super) archive_dir: PathBuf,
    pub(super) archive_url: ArchiveUrl,
    coordinator: Coordinator,
    postgres: PrivatePostgres,
    // Removed when the demo ends.
    _temporary: Option<TempDir>,
}

impl Stage {
    /// Starts all of it, saying what happens meanwhile.
    pub(super) async fn set(data_dir: Option<&Path>, view: &View) -> Result<Self, CliError> {
        let (dir, temporary, postgres_dir) = match data_dir {
            Some(dir) => {
                let dir = make_dir(dir)?;
                let postgres = DataDir::Kept(dir.join("postgres"));
                (dir, None, postgres)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("stillframe-demo-").tempdir();
                let temporary = temporary.map_err(CliError::system("make a temporary directory"))?;
                (temporary.path().to_owned(), Some(temporary), DataDir::Temporary)
            }
        };
        let options = Options { data_dir: postgres_dir, ..Options::kept("") };
        let postgres = stillframe_private_postgres::start(options, |progress| view.say(&progress.to_string())).await?;
        // A database of its own for each demo, so that one in a kept directory doesn't find the members of the one before lost.
        let database = postgres.create_database(&format!("demo_{}", Timestamp::now().as_millisecond())).await?;

        let archive_dir = dir.join("archive");
        let archive_url = ArchiveUrl::from_dir(&archive_dir).map_err(CliError::usage)?;
        let archive = Archive::open_or_create(&archive_url).await?;
        let cluster = free_name(&archive).await?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let coordinator = stillframe_coordinator::start(Config::new(database, archive_url.clone(), listen)).await?;
        let url = format!("http://{}", coordinator.local_addr());
        view.say(&format!("coordinator on {url}, archive {archive_url}"));
        let client = Client::new(&url)?;
        Ok(Self { client, cluster, archive_dir, archive_url, coordinator, postgres, _temporary: temporary })
    }

    /// Stops all of it.
    pub(super) async fn strike(self) {
        self.coordinator.stop().await;
        if let Err(error) = self.postgres.stop().await {
            tracing::warn!(%error, "Postgres did not stop well");
        }
    }
}

/// `bank`, or `bank-2` and so on where the archive holds snapshots of that name.
async fn free_name(archive: &Archive) -> Result<ClusterName, CliError> {
    let taken = archive.manifests(None).await?;
    let names = std::iter::once("bank".to_owned()).chain((2u32..).map(|n| format!("bank-{n}")));
    for name in names {
        let name = ClusterName::new(name).map_err(CliError::usage)?;
        if taken.iter().all(|(cluster, _)| *cluster != name) {
            return Ok(name);
        }
    }
    Err(CliError::Failed("no cluster name is free in the archive".to_owned()))
}
