//! Hands on the database itself, past the replicas: what the API doesn't show, and losing it.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stillframe_private_postgres::PrivatePostgres;

use crate::check::chronicle::Slot;

/// The database of the replicas.
pub const DATABASE: &str = "chaos";

/// The slots of schedules that took a snapshot.
///
/// # Errors
/// When the database can't be asked.
pub async fn slots(postgres: &PrivatePostgres) -> Result<Vec<Slot>, String> {
    let query = "SELECT schedule, slot_at::text, snapshot::text FROM schedule_slots WHERE snapshot IS NOT NULL";
    let rows = async {
        let mut connection = PgConnection::connect(&postgres.url_of(DATABASE)).await?;
        let rows: Vec<(String, String, String)> = sqlx::query_as(query).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(rows)
    };
    let rows = rows.await.map_err(|error| format!("the slots can't be read: {error}"))?;
    Ok(rows.into_iter().map(|(schedule, at, snapshot)| Slot { schedule, at, snapshot }).collect())
}

/// Drops the database, whoever is connected to it, and makes an empty one.
///
/// # Errors
/// When the server refuses.
pub async fn lose(postgres: &PrivatePostgres) -> Result<(), String> {
    let lost = async {
        let mut connection = PgConnection::connect(&postgres.url()).await?;
        let statement = format!("DROP DATABASE {DATABASE} WITH (FORCE)");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await
    };
    lost.await.map_err(|error| format!("the database can't be dropped: {error}"))?;
    postgres.create_database(DATABASE).await.map(drop).map_err(|error| format!("no new database: {error}"))
}
