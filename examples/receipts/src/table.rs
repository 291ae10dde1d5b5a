//! The table, and the thread that writes to it: the application never waits for a database. A row's key is the member and the effect's name, so writing
//! one again changes nothing.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use stillframe_agent::{Effect, EffectId, Generation, MemberName};
use stillframe_api::backoff::Backoff;

use crate::shop::Receipt;

/// Rows written with one statement at most.
const BATCH: usize = 1_000;

/// The table of receipts, as one member writes to it.
#[derive(Debug)]
pub struct Table {
    queue: mpsc::Sender<Effect<Receipt>>,
    written: Arc<Mutex<Option<EffectId>>>,
}

impl Table {
    /// Starts the thread. It connects when there is something to write, and again whenever it has to.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn open(url: String, member: MemberName) -> io::Result<Self> {
        let (queue, rows) = mpsc::channel();
        let written = Arc::default();
        let writer = Writer { url, member, rows, written: Arc::clone(&written) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("receipts".to_owned()).spawn(move || runtime.block_on(writer.run()))?;
        Ok(Self { queue, written })
    }

    /// Has these written, in this order.
    pub fn write(&self, receipts: impl Iterator<Item = Effect<Receipt>>) {
        for receipt in receipts {
            // Only when the thread has panicked; what isn't written stays in the state.
            if self.queue.send(receipt).is_err() {
                tracing::error!("nobody writes receipts any more");
                return;
            }
        }
    }

    /// Up to which all are in the table.
    #[must_use]
    pub fn written(&self) -> Option<EffectId> {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    url: String,
    member: MemberName,
    rows: mpsc::Receiver<Effect<Receipt>>,
    written: Arc<Mutex<Option<EffectId>>>,
}

impl Writer {
    async fn run(self) {
        let mut connection = None;
        while let Ok(first) = self.rows.recv() {
            let mut batch = vec![first];
            batch.extend(self.rows.try_iter().take(BATCH - 1));
            let last = batch.last().map(|row| row.id);
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
            // An error may have come after the rows were written: writing them again is harmless.
            while let Err(error) = self.write(&mut connection, &batch).await {
                tracing::warn!(%error, rows = batch.len(), "receipts are not written yet; trying again");
                connection = None;
                backoff.wait().await;
            }
            *self.written.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
    }

    async fn write(&self, connection: &mut Option<PgConnection>, batch: &[Effect<Receipt>]) -> Result<(), sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.url).await?),
        };
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let column = |of: fn(&Effect<Receipt>) -> u64| batch.iter().map(|row| number(of(row))).collect::<Vec<_>>();
        let customers: Vec<String> = batch.iter().map(|row| row.value.customer.to_string()).collect();
        sqlx::query(
            "INSERT INTO receipts (member, generation, number, customer, order_number)
             SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::bigint[]) ON CONFLICT DO NOTHING",
        )
        .bind(self.member.as_str())
        .bind(column(|row| Generation::get(row.id.generation)))
        .bind(column(|row| row.id.number))
        .bind(customers)
        .bind(column(|row| row.value.order))
        .execute(connection)
        .await
        .map(drop)
    }
}

/// Connects, and makes the table if it isn't there. Nothing in it keeps an order from having two receipts: that is what the example has to show.
async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let mut transaction = connection.begin().await?;
    // One at a time: `IF NOT EXISTS` alone isn't enough for two that come at once.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('receipts'))").execute(&mut *transaction).await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS receipts (
             member       text   NOT NULL,
             generation   bigint NOT NULL,
             number       bigint NOT NULL,
             customer     text   NOT NULL,
             order_number bigint NOT NULL,
             PRIMARY KEY (member, generation, number))",
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(connection)
}
