//! Starting and stopping a coordinator.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use stillframe_archive::{Archive, ArchiveError};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    http::{
        self,
        connection::{Connection, TrackedListener},
    },
    loops,
    service::{Service, Settings},
    store::postgres::PostgresStore,
};

/// How long requests under way may take when the coordinator stops.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

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

/// Starts a coordinator: connects to the database and brings its schema up to date, opens the archive or creates it, listens, serves.
///
/// # Errors
/// [`StartError`], which says what to do.
pub async fn start(config: Config) -> Result<Coordinator, StartError> {
    // First what is cheapest to find out.
    let listen = |error: std::io::Error| StartError::Listen { listen: config.listen, reason: error.to_string() };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let local_addr = listener.local_addr().map_err(listen)?;
    let store = PostgresStore::connect(&config.database_url, config.max_connections);
    let store = store.await.map_err(|reason| StartError::Database { database: config.database(), reason })?;
    let archive = Archive::open_or_create(&config.archive).await.map_err(|error| StartError::Archive(Box::new(error)))?;
    let stopping = CancellationToken::new();
    let settings = Settings {
        lease: config.lease,
        suspect_grace: config.suspect_grace,
        restore_timeout: config.restore_timeout,
        collection: config.collection,
    };
    let archive_id = archive.id();
    let (service, suspicions) =
        Service::new(Arc::new(store.clone()), settings, config.archive.clone(), archive, stopping.clone());
    let loops = loops::start(&service, suspicions);
    let router = http::router(service.clone()).into_make_service_with_connect_info::<Connection>();
    let listener = TrackedListener::new(listener, service.registry.clone());
    let ended = CancellationToken::new();
    let ends = ended.clone().drop_guard();
    let server = tokio::spawn(async move {
        let _ends = ends;
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "the server ended");
        }
    });
    tracing::info!(%local_addr, database = %config.database(), archive = %config.archive, %archive_id, "coordinator started");
    Ok(Coordinator { local_addr, service, store, server, ended, loops })
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
