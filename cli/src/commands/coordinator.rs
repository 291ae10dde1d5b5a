//! `stillframe coordinator`: one replica on a Postgres database and an archive.

use serde::Serialize;
use stillframe_coordinator::Coordinator;

use crate::{error::CliError, output::Output, settings::Settings, signals::StopSignal};

/// What is printed once it serves.
#[derive(Serialize)]
struct Serving {
    url: String,
    archive: String,
}

/// Runs until SIGTERM or SIGINT comes.
///
/// # Errors
/// [`CliError::Start`] when the database, the archive or the address can't be used.
pub async fn run(settings: Settings, out: &mut Output) -> Result<(), CliError> {
    let mut stop = StopSignal::install()?;
    let (archive, database) = (settings.config.archive.to_string(), settings.config.database());
    tracing::info!(database, archive, listen = %settings.config.listen, "starting");
    if !settings.config.listen.ip().is_loopback() {
        tracing::warn!(listen = %settings.config.listen, "listening beyond this machine: the API has no authentication of its own yet");
    }
    let mut coordinator = tokio::select! {
        started = stillframe_coordinator::start(settings.config) => started?,
        () = stop.received() => return Ok(()),
    };
    let url = url_of(&coordinator);
    out.result(&Serving { url, archive }, |serving| format!("coordinator on {}, archive {}", serving.url, serving.archive))?;
    let served = until_told(&mut coordinator, &mut stop).await;
    tracing::info!("stopping");
    stop.next_one_ends_at_once();
    coordinator.stop().await;
    tracing::info!("stopped");
    served
}

/// Serves until a signal comes.
///
/// # Errors
/// [`CliError::Failed`] when the coordinator ends by itself before.
pub async fn until_told(coordinator: &mut Coordinator, stop: &mut StopSignal) -> Result<(), CliError> {
    tokio::select! {
        () = coordinator.wait() => Err(CliError::Failed("the coordinator ended by itself; its log says why".to_owned())),
        () = stop.received() => Ok(()),
    }
}

/// The URL to reach a coordinator at from this machine.
#[must_use]
pub fn url_of(coordinator: &Coordinator) -> String {
    let mut address = coordinator.local_addr();
    if address.ip().is_unspecified() {
        // What listens everywhere also listens on loopback, and 0.0.0.0 is no address to connect to.
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    format!("http://{address}")
}
