//! What is deleted from the archive, when and how fast.

use clap::Args;
use stillframe_api::{HumanDuration, gc::Orphans};
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
    /// Whether objects that nobody owns are only reported, in the log and by `gc plan`, or deleted [default: report]
    #[arg(long, env = "STILLFRAME_ORPHANS", value_name = "report|delete")]
    pub orphans: Option<Orphans>,
    /// How often each cluster's archive is looked through for such objects, over all replicas [default: 1h]
    #[arg(long, env = "STILLFRAME_ORPHAN_INTERVAL", value_name = "DURATION")]
    pub orphan_interval: Option<HumanDuration>,
    /// How old such an object has to be to be deleted, by the store's clock [default: 1d]
    #[arg(long, env = "STILLFRAME_ORPHAN_GRACE", value_name = "DURATION")]
    pub orphan_grace: Option<HumanDuration>,
    /// How many such objects may be deleted at once; when there are more, none is [default: 10000]
    #[arg(long, env = "STILLFRAME_ORPHAN_MAX_COUNT", value_name = "N")]
    pub orphan_max_count: Option<u64>,
    /// How many of a hundred objects may be deleted so at once, when they are more than 20 [default: 10]
    #[arg(long, env = "STILLFRAME_ORPHAN_MAX_PERCENT", value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub orphan_max_percent: Option<u8>,
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
        if let Some(orphans) = self.orphans.or(file.orphans) {
            config.orphans = orphans;
        }
        if let Some(interval) = self.orphan_interval.or(file.orphan_interval) {
            config.orphan_interval = interval.get();
        }
        if let Some(grace) = self.orphan_grace.or(file.orphan_grace) {
            config.orphan_grace = grace.get();
        }
        if let Some(count) = self.orphan_max_count.or(file.orphan_max_count) {
            config.orphan_max_count = count;
        }
        match self.orphan_max_percent.or(file.orphan_max_percent) {
            Some(n @ 0..=100) => config.orphan_max_percent = n,
            Some(n) => return Err(CliError::usage(format!("orphan_max_percent is {n}: expected 0 to 100"))),
            None => {}
        }
        Ok(config)
    }
}
