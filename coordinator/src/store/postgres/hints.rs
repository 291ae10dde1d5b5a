//! Telling other replicas of changes, by `NOTIFY`: only a hint. It takes a lock of the whole server at its commit, so it goes in a transaction of
//! its own that waits for no disk, once a revision at most, and never for reports.

use std::sync::Arc;

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::Mutex;

use super::write::statement;
use crate::store::{Hint, StoreError};

const CHANNEL: &str = "stillframe";

/// The connection that listens, apart from the pool that serves requests.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pool: PgPool,
    listening: Arc<Mutex<Option<PgListener>>>,
}

impl Listener {
    /// Over a pool of one connection. Nothing is connected yet.
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, listening: Arc::default() }
    }

    /// The pool waits for its connection to come back, so it is given back first. Whoever listens just now gives it up when it is stopped.
    pub(super) async fn close(&self) {
        if let Ok(mut listening) = self.listening.try_lock() {
            *listening = None;
        }
        self.pool.close().await;
    }

    /// The next hint; whatever else is on the channel is passed over.
    pub(super) async fn next(&self) -> Result<Hint, StoreError> {
        let mut listening = self.listening.lock().await;
        let listener = match &mut *listening {
            Some(listener) => listener,
            none => {
                let mut listener = PgListener::connect_with(&self.pool).await.map_err(statement)?;
                listener.listen(CHANNEL).await.map_err(statement)?;
                none.insert(listener)
            }
        };
        loop {
            match listener.recv().await {
                Ok(notification) => {
                    if let Some(hint) = read(notification.payload()) {
                        return Ok(hint);
                    }
                }
                Err(error) => {
                    *listening = None;
                    return Err(statement(error));
                }
            }
        }
    }
}

fn read(payload: &str) -> Option<Hint> {
    let mut words = payload.split(' ');
    let (replica, cluster, revision) = (words.next()?, words.next()?, words.next()?);
    Some(Hint { replica: replica.parse().ok()?, cluster: cluster.parse().ok()?, revision: revision.parse().ok()? })
}

fn write(hint: &Hint) -> String {
    format!("{} {} {}", hint.replica, hint.cluster, hint.revision)
}

/// Announces changes.
pub(super) async fn announce(pool: &PgPool, hints: &[Hint]) -> Result<(), StoreError> {
    let payloads: Vec<String> = hints.iter().map(write).collect();
    sqlx::query!(
        r#"
        WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        SELECT count(pg_notify($1, payload)) FROM lazily, unnest($2::text[]) AS payload
        "#,
        CHANNEL,
        &payloads,
    )
    .fetch_one(pool)
    .await
    .map_err(statement)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_as_it_was_written_and_anything_else_is_none() {
        let hint = Hint { replica: uuid::Uuid::now_v7(), cluster: "a.b".parse().expect("a name"), revision: 7 };
        assert_eq!(read(&write(&hint)), Some(hint));
        for payload in ["", "x", "x y 7", "0190 a -1"] {
            assert_eq!(read(payload), None, "{payload:?}");
        }
    }
}
