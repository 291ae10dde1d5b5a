//! Connecting: the schema first, as the user of the URL, then the pool, as the role that serves requests.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use stillframe_archive::ArchiveUrl;
use uuid::Uuid;

use super::{
    MIGRATOR, PostgresStore, hints, role, sqlstate,
    writable::{self, TRUSTED_IDLE},
    write::statement,
};
use crate::store::StoreError;

/// How long a request waits for a connection before it is told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl PostgresStore {
    /// Connects and migrates.
    ///
    /// # Errors
    /// What is wrong with the database, in a sentence.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, String> {
        let options = PgConnectOptions::from_str(url).map_err(|error| error.to_string())?;
        let options = options.application_name("stillframe coordinator").options([
            ("TimeZone", "UTC"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "15s"),
            ("jit", "off"),
            // Every query here goes by a key, so one plan serves all arguments; planning anew would cost more than most of them.
            ("plan_cache_mode", "force_generic_plan"),
        ]);
        // The pool only says that it had no connection in time; one connection of its own says why.
        let first = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
        let first = first.map_err(|_| format!("it didn't answer within {} s", CONNECT_TIMEOUT.as_secs()))?;
        let mut first = first.map_err(|error| sqlstate::describe(&error))?;
        let version = sqlx::query_scalar!(r#"SELECT current_setting('server_version_num')::integer AS "version!""#);
        let version = version.fetch_one(&mut first).await.map_err(|error| sqlstate::describe(&error))?;
        if version < 150_000 {
            return Err(format!("expected Postgres 15 or later, found {}", version / 10_000));
        }
        migrate(&mut first).await?;
        let mut options = options.options([("statement_timeout", "15s")]);
        if role::prepare(&mut first).await? {
            options = options.options([("role", role::SERVING_ROLE)]);
        }
        first.close().await.map_err(|error| sqlstate::describe(&error))?;
        let listening = PgPoolOptions::new().max_connections(1).min_connections(0).max_lifetime(None).idle_timeout(None);
        let listener = hints::Listener::new(listening.acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options.clone()));
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.max(2))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE || writable::is_doubted() {
                        return writable::takes_writes(connection).await;
                    }
                    Ok(true)
                })
            })
            .connect_with(options)
            .await
            .map_err(|error| sqlstate::describe(&error))?;
        Ok(Self { pool, listener })
    }
}

impl PostgresStore {
    /// Writes down which archive this database is the catalog of, unless that is known. Gives the archive that it is, and where that was.
    pub(crate) async fn remember_archive(&self, id: Uuid, url: &ArchiveUrl) -> Result<(Uuid, String), StoreError> {
        sqlx::query!("INSERT INTO catalog (archive, archive_url) VALUES ($1, $2) ON CONFLICT DO NOTHING", id, url.to_string())
            .execute(&self.pool)
            .await
            .map_err(statement)?;
        let row = sqlx::query!("SELECT archive, archive_url FROM catalog").fetch_one(&self.pool).await.map_err(statement)?;
        Ok((row.archive, row.archive_url))
    }
}

/// Brings the schema up to date. A user that may not change it finds it so, or the coordinator doesn't start.
async fn migrate(connection: &mut PgConnection) -> Result<(), String> {
    let describe = |error: sqlx::Error| sqlstate::describe(&error);
    let may = sqlx::query_scalar!(r#"SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS "may!""#);
    if may.fetch_one(&mut *connection).await.map_err(describe)? {
        return MIGRATOR.run(connection).await.map_err(|error| format!("its schema could not be brought up to date: {error}"));
    }
    // Not a checked query: the table is the migrator's own.
    let applied: Result<Vec<i64>, _> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(connection).await;
    let applied: BTreeSet<i64> = applied.unwrap_or_default().into_iter().collect();
    let missing: Vec<String> =
        MIGRATOR.iter().map(|m| m.version).filter(|v| !applied.contains(v)).map(|v| format!("{v:04}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "its schema lacks the migrations {}, and this user may not change it: start a coordinator of this version once with the URL of the \
         schema's owner",
        missing.join(", ")
    ))
}
