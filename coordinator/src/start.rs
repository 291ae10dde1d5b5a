//! Starting and stopping a coordinator.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use stillframe_archive::{Archive, ArchiveError, Probe, ProbeError};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    config::Config,
    http, loops, open_files,
    service::{Service, Settings},
    store::postgres::PostgresStore,
};

/// How long requests under way may take when the coordinator stops.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// How long trying out the store may keep the coordinator from serving.
const PROBE_PATIENCE: Duration = Duration::from_secs(15);

/// Why a coordinator didn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database can't be reached or used.
    #[error("the database {database} can't be used: {reason}; check --database-url (or DATABASE_URL), and that the server runs")]
    Database {
        /// The URL without its password.
        database: String,
        /// What was wrong.
        reason: String,
    },
    /// The archive can't be reached, or is none.
    #[error("the archive can't be used: {0}; check --archive")]
    Archive(#[source] Box<ArchiveError>),
    /// The database is the catalog of another archive.
    #[error(
        "the database {database} is the catalog of the archive {expected} (at {expected_url} when it was first used), and --archive {url} is \
         the archive {found}: give the coordinator the archive of its database, or a database of its own to this archive"
    )]
    OtherArchive {
        /// The database's URL without its password.
        database: String,
        /// The archive of the database.
        expected: Uuid,
        /// Where that was.
        expected_url: String,
        /// The archive that was given.
        found: Uuid,
        /// Where that is.
        url: String,
    },
    /// The archive's store loses what it acknowledges.
    #[error("{0}")]
    Unreliable(#[source] Box<ProbeError>),
    /// The address can't be listened on.
    #[error("can't listen on {listen}: {reason}; stop what uses it, or choose another with --listen")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What was wrong.
        reason: String,
    },
}

/// A running coordinator replica.
#[derive(Debug)]
pub struct Coordinator {
    local_addr: SocketAddr,
    service: Arc<Service>,
    store: PostgresStore,
    server: JoinHandle<()>,
    ended: CancellationToken,
    loops: JoinSet<()>,
}

/// Starts a coordinator: connects to the database and brings its schema up to date, opens the archive or creates it, listens, serves. Raises
/// the process's soft limit of open files to its hard one.
///
/// # Errors
/// [`StartError`], which says what to do.
pub async fn start(config: Config) -> Result<Coordinator, StartError> {
    open_files::raise();
    // First what is cheapest to find out.
    let listen = |error: std::io::Error| StartError::Listen { listen: config.listen, reason: error.to_string() };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let local_addr = listener.local_addr().map_err(listen)?;
    let store = PostgresStore::connect(&config.database_url, config.max_connections);
    let store = store.await.map_err(|reason| StartError::Database { database: config.database(), reason })?;
    let archive = Archive::open_or_create(&config.archive).await.map_err(|error| StartError::Archive(Box::new(error)))?;
    let database =
        |error: crate::store::StoreError| StartError::Database { database: config.database(), reason: error.to_string() };
    let (expected, expected_url) = store.remember_archive(archive.id(), archive.url()).await.map_err(database)?;
    if expected != archive.id() {
        let (found, url) = (archive.id(), archive.url().to_string());
        return Err(StartError::OtherArchive { database: config.database(), expected, expected_url, found, url });
    }
    let probe = probe(&archive).await?;
    let stopping = CancellationToken::new();
    let settings = Settings {
        lease: config.lease,
        suspect_grace: config.suspect_grace,
        look_every: config.look_every,
        restore_timeout: config.restore_timeout,
        collection: config.collection,
    };
    let archive_id = archive.id();
    let (service, suspicions) =
        Service::new(Arc::new(store.clone()), settings, config.archive.clone(), archive, stopping.clone());
    match probe {
        Some(found) => service.probed(found),
        None => service.probe_later(),
    }
    let loops = loops::start(&service, suspicions);
    let router = http::router(service.clone(), config.patience);
    let serving =
        http::serve::serve(listener, router, service.registry.clone(), (config.patience, config.most_connections), stopping);
    let ended = CancellationToken::new();
    let ends = ended.clone().drop_guard();
    let server = tokio::spawn(async move {
        let _ends = ends;
        serving.await;
    });
    tracing::info!(%local_addr, database = %config.database(), archive = %config.archive, %archive_id, "coordinator started");
    Ok(Coordinator { local_addr, service, store, server, ended, loops })
}

/// What the store does; nothing when that can't be found out just now. Only one that loses what it acknowledges is a reason not to start.
async fn probe(archive: &Archive) -> Result<Option<Probe>, StartError> {
    match tokio::time::timeout(PROBE_PATIENCE, archive.probe()).await {
        Ok(Ok(found)) => Ok(Some(found)),
        Ok(Err(error @ ProbeError::Loses { .. })) => Err(StartError::Unreliable(Box::new(error))),
        Ok(Err(error @ ProbeError::Archive(_))) => {
            tracing::warn!(%error, "the store is tried out later");
            Ok(None)
        }
        Err(_) => {
            tracing::warn!("the store did not do everything within {PROBE_PATIENCE:?}; it is tried out later");
            Ok(None)
        }
    }
}

impl Coordinator {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops it. What is under way is taken up by another replica, or at the next start; no member counts as lost for it.
    pub async fn stop(mut self) {
        self.service.registry.stop();
        self.service.stopping.cancel();
        if tokio::time::timeout(STOP_PATIENCE, &mut self.server).await.is_err() {
            self.server.abort();
        }
        self.loops.shutdown().await;
        if tokio::time::timeout(STOP_PATIENCE, self.store.close()).await.is_err() {
            tracing::debug!("database connections were left open");
        }
    }

    /// Waits until the server ends by itself, which only a fault makes it do.
    pub async fn wait(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.service.registry.stop();
        self.service.stopping.cancel();
    }
}
