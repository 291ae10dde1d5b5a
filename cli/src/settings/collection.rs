//! What is deleted from the archive, when and how fast.

use clap::Args;
use stillframe_api::HumanDuration;
use stillframe_coordinator::config::CollectionConfig;

use super::file::SettingsFile;
use crate::error::CliError;

/// What `stillframe coordinator` takes about deleting.
#[derive(Debug, Clone, Args)]
pub struct CollectionArgs {
    /// How often each cluster's retention is carried out, over all replicas [default: 1m]
    #[arg(long, env = "STILLFRAME_GC_INTERVAL", value_name = "DURATION")]
    pub gc_interval: Option<HumanDuration>,
    /// After how long what was deleted is swept once more: longer than the upload of a lost member can go on [default: 10m]
    #[arg(long, env = "STILLFRAME_SWEEP_AGAIN", value_name = "DURATION")]
    pub sweep_again: Option<HumanDuration>,
    /// How many objects this replica deletes a second at most [default: 500]
    #[arg(long, env = "STILLFRAME_DELETE_RATE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub delete_rate: Option<u32>,
}

impl CollectionArgs {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// [`CliError::Usage`] for what is out of bounds in the file.
    pub fn settle(self, file: &SettingsFile) -> Result<CollectionConfig, CliError> {
        let mut config = CollectionConfig::default();
        if let Some(interval) = self.gc_interval.or(file.gc_interval) {
            config.interval = interval.get();
        }
        if let Some(again) = self.sweep_again.or(file.sweep_again) {
            config.sweep_again = again.get();
        }
        match self.delete_rate.or(file.delete_rate) {
            Some(n @ 1..=100_000) => config.delete_rate = n,
            Some(n) => return Err(CliError::usage(format!("delete_rate is {n}: expected 1 to 100000"))),
            None => {}
        }
        Ok(config)
    }
}
