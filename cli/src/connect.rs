//! Finding the coordinator.

use clap::Args;
use stillframe_api::Client;

use crate::error::CliError;

/// Where a coordinator listens unless told.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7700";

/// Where a coordinator is looked for unless told.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7700";

/// Which coordinator to talk to. Every operator's command takes it, also before the command's name (`Cli::url`).
#[derive(Debug, Clone, Args)]
pub struct ApiArgs {
    /// The coordinator's URL; of several replicas, with commas between them, the first that answers is asked
    #[arg(long, env = "STILLFRAME_URL", default_value = DEFAULT_URL, value_name = "URL")]
    pub url: String,
}

impl ApiArgs {
    /// A client of that coordinator. Nothing is sent yet.
    ///
    /// # Errors
    /// [`CliError::Client`] when it is no URL.
    pub fn client(&self) -> Result<Client, CliError> {
        // An environment variable that is set to nothing is as good as unset.
        let url = if self.url.is_empty() { DEFAULT_URL } else { &self.url };
        Ok(Client::new(url)?)
    }
}
