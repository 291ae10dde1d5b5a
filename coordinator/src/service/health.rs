//! Whether this replica can serve.

use std::time::Duration;

use super::Service;

/// How long the database and the archive may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

impl Service {
    /// Whether the database takes writes, and whether the archive answers; else why not.
    pub async fn ready(&self) -> (Result<(), String>, Result<(), String>) {
        let late = |_| format!("no answer within {PATIENCE:?}");
        let database =
            async { tokio::time::timeout(PATIENCE, self.store.check()).await.map_err(late)?.map_err(|error| error.to_string()) };
        let archive = async {
            let archive = self.archives.get(None).await.map_err(|error| error.to_string())?;
            tokio::time::timeout(PATIENCE, archive.check()).await.map_err(late)?.map_err(|error| error.to_string())
        };
        tokio::join!(database, archive)
    }
}
