//! What may be chosen about a coordinator.

use std::{fmt, net::SocketAddr, time::Duration};

use stillframe_api::gc::Orphans;
use stillframe_archive::ArchiveUrl;

use crate::http::deadlines::Patience;

/// How long a member's lease is unless told. A killed process is noticed by its connection, at once; the lease is for those whose connection says
/// nothing, and four polls a lease are what an idle member costs.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(10);

/// How long a member whose connection closed may take to come back unless told.
pub const DEFAULT_SUSPECT_GRACE: Duration = Duration::from_millis(200);

/// How often a replica looks for changes made by others, besides being told of them, unless told.
pub const DEFAULT_LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a restore may take to its commit point unless told.
pub const DEFAULT_RESTORE_TIMEOUT: Duration = Duration::from_secs(60);

/// After how long what was deleted is swept once more, unless told: longer than an upload of a lost member can go on.
pub const DEFAULT_SWEEP_AGAIN: Duration = Duration::from_secs(600);

/// How often an archive is looked through for orphans unless told.
pub const DEFAULT_ORPHAN_INTERVAL: Duration = Duration::from_secs(3600);

/// How old an orphan has to be to be deleted unless told.
pub const DEFAULT_ORPHAN_GRACE: Duration = Duration::from_secs(24 * 3600);

/// How many orphans may go at once unless told.
pub const DEFAULT_ORPHAN_MAX_COUNT: u64 = 10_000;

/// How many of a hundred objects may go at once as orphans unless told.
pub const DEFAULT_ORPHAN_MAX_PERCENT: u8 = 10;

/// How often retention is carried out unless told.
pub const DEFAULT_GC_INTERVAL: Duration = Duration::from_secs(60);

/// How many objects a replica deletes a second at most unless told.
pub const DEFAULT_DELETE_RATE: u32 = 500;

/// How many database connections a replica opens at most unless told.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 16;

/// How many connections of clients are served at once at most unless told.
pub const DEFAULT_MOST_CONNECTIONS: usize = 65_536;

/// Settings of one coordinator replica. Begin with [`Config::new`] and change what you need.
#[derive(Clone)]
pub struct Config {
    /// The Postgres database (15 or later), `postgres://...`. May hold a password, so it is never printed.
    pub database_url: String,
    /// The archive that holds the snapshots.
    pub archive: ArchiveUrl,
    /// Where to listen for HTTP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long a member's lease is; a held poll renews it.
    pub lease: Duration,
    /// How long a member whose connection closed is only suspect, before it is lost.
    pub suspect_grace: Duration,
    /// How often to look for changes made by other replicas, besides being told of them; also how it is known that the database answers.
    pub look_every: Duration,
    /// How long a restore may take to its commit point.
    pub restore_timeout: Duration,
    /// How many database connections are opened at most.
    pub max_connections: u32,
    /// What is deleted, when and how fast.
    pub collection: CollectionConfig,
    /// How many connections of clients are served at once at most; fewer where the process may not have as many files open. Others wait.
    pub most_connections: usize,
    /// How long clients may take with their requests.
    pub patience: Patience,
}

/// What is deleted from the archive, when and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionConfig {
    /// After how long what was deleted is swept once more.
    pub sweep_again: Duration,
    /// How many objects this replica deletes a second at most.
    pub delete_rate: u32,
    /// How often each cluster's retention is carried out, over all replicas.
    pub interval: Duration,
    /// How often each cluster's archive is looked through for objects that nobody owns, over all replicas.
    pub orphan_interval: Duration,
    /// What becomes of them.
    pub orphans: Orphans,
    /// How old they have to be to be deleted, by the store's clock.
    pub orphan_grace: Duration,
    /// How many of them may go at once.
    pub orphan_max_count: u64,
    /// How many of a hundred objects may go at once, when they are more than a few.
    pub orphan_max_percent: u8,
}

impl Default for CollectionConfig {
    fn default() -> Self {
        Self {
            sweep_again: DEFAULT_SWEEP_AGAIN,
            delete_rate: DEFAULT_DELETE_RATE,
            interval: DEFAULT_GC_INTERVAL,
            orphan_interval: DEFAULT_ORPHAN_INTERVAL,
            orphans: Orphans::Report,
            orphan_grace: DEFAULT_ORPHAN_GRACE,
            orphan_max_count: DEFAULT_ORPHAN_MAX_COUNT,
            orphan_max_percent: DEFAULT_ORPHAN_MAX_PERCENT,
        }
    }
}

impl Config {
    /// Settings with every default.
    #[must_use]
    pub fn new(database_url: impl Into<String>, archive: ArchiveUrl, listen: SocketAddr) -> Self {
        Self {
            database_url: database_url.into(),
            archive,
            listen,
            lease: DEFAULT_LEASE,
            suspect_grace: DEFAULT_SUSPECT_GRACE,
            look_every: DEFAULT_LOOK_EVERY,
            restore_timeout: DEFAULT_RESTORE_TIMEOUT,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            collection: CollectionConfig::default(),
            most_connections: DEFAULT_MOST_CONNECTIONS,
            patience: Patience::default(),
        }
    }

    /// The database URL without its password, for logs and errors.
    #[must_use]
    pub fn database(&self) -> String {
        match url::Url::parse(&self.database_url) {
            Ok(mut url) => {
                if url.password().is_some() && url.set_password(Some("***")).is_err() {
                    return "(a database URL with a password)".to_owned();
                }
                let secret = url.query_pairs().any(|(key, _)| key.contains("password"));
                if secret {
                    url.set_query(None);
                }
                url.into()
            }
            Err(_) => "(not a URL)".to_owned(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("database_url", &self.database())
            .field("archive", &self.archive)
            .field("listen", &self.listen)
            .field("lease", &self.lease)
            .field("suspect_grace", &self.suspect_grace)
            .field("look_every", &self.look_every)
            .field("restore_timeout", &self.restore_timeout)
            .field("max_connections", &self.max_connections)
            .field("collection", &self.collection)
            .field("most_connections", &self.most_connections)
            .field("patience", &self.patience)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let archive: ArchiveUrl = "file:///tmp/archive".parse().expect("an archive URL");
        for url in ["postgres://me:hunter2@db/x", "postgres:///x?host=/run&password=hunter2"] {
            let config = Config::new(url, archive.clone(), SocketAddr::from(([127, 0, 0, 1], 0)));
            assert!(!format!("{config:?}").contains("hunter2"));
            assert!(!config.database().contains("hunter2"));
        }
    }
}
