//! Being told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;

/// What a shell reports of a process that SIGINT ended.
const EXIT_BY_SIGINT: i32 = 130;

/// SIGINT (Ctrl-C) and SIGTERM.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// Takes over both signals; from here on they no longer end the process by themselves.
    ///
    /// # Errors
    /// [`CliError::System`] when the system refuses.
    pub fn install() -> Result<Self, CliError> {
        let install = |kind| signal(kind).map_err(CliError::system("listen for signals"));
        Ok(Self { interrupt: install(SignalKind::interrupt())?, terminate: install(SignalKind::terminate())? })
    }

    /// Returns when one of them comes.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Lets a second signal end the process at once, for whoever doesn't want to wait for an orderly stop.
    pub fn next_one_ends_at_once(mut self) {
        tokio::spawn(async move {
            self.received().await;
            std::process::exit(EXIT_BY_SIGINT);
        });
    }
}
