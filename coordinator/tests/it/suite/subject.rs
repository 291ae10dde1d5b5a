//! A store to be tried out, with the clock that it goes by and the server that it takes itself to be on: both are the test's to choose, in Postgres too.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{Connection, PgConnection};
use stillframe_coordinator::store::{
    Store,
    memory::{Clock, MemoryStore},
    postgres::PostgresStore,
};
use stillframe_private_postgres::testing::TestDatabase;
use tokio::sync::OnceCell;

/// When every test begins.
const BEGINNING: &str = "2026-01-05T08:00:00Z";

/// What a store in memory takes itself for.
pub(crate) const HOME: &str = "memory/1";

/// Has this database's clock stand still, and its server and timeline be called as the test says. Functions of the schema come before the built-in ones
/// of the same name from here on, for whatever is made or called in this database.
const PREPARE: &str = "
    CREATE TABLE suite (now timestamptz NOT NULL, identity text NOT NULL);
    CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now FROM public.suite';
    CREATE FUNCTION pg_control_system() RETURNS TABLE (system_identifier text) LANGUAGE sql STABLE
        AS $$ SELECT split_part(identity, '/', 1) FROM public.suite $$;
    CREATE FUNCTION pg_walfile_name(pg_lsn) RETURNS text LANGUAGE sql STABLE
        AS $$ SELECT split_part(identity, '/', 2) FROM public.suite $$;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$;
";

/// One store under two handles, as two replicas have it.
pub(crate) struct Subject {
    store: Arc<dyn Store>,
    /// Only where it is asked for.
    other: OnceCell<Arc<dyn Store>>,
    reality: Reality,
}

enum Reality {
    Memory(MemoryStore),
    Postgres { database: TestDatabase, store: PostgresStore, other: OnceCell<PostgresStore> },
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl Subject {
    pub(crate) async fn memory() -> Self {
        let store = MemoryStore::new(Clock::still(BEGINNING.parse().expect("a time")));
        Self { store: Arc::new(store.clone()), other: OnceCell::new(), reality: Reality::Memory(store) }
    }

    pub(crate) async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        execute(&database, format!("{PREPARE} INSERT INTO suite VALUES ('{BEGINNING}', '{HOME}')")).await;
        let store = PostgresStore::connect(database.url(), 4).await.expect("a store");
        let reality = Reality::Postgres { database, store: store.clone(), other: OnceCell::new() };
        Self { store: Arc::new(store), other: OnceCell::new(), reality }
    }

    /// This replica's handle.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The same, to be taken along.
    pub(crate) fn shared(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Another replica's handle.
    pub(crate) async fn other(&self) -> &dyn Store {
        let make = async || -> Arc<dyn Store> {
            match &self.reality {
                Reality::Memory(store) => Arc::new(store.replica()) as Arc<dyn Store>,
                Reality::Postgres { database, other, .. } => {
                    let store = PostgresStore::connect(database.url(), 4).await.expect("a store");
                    other.set(store.clone()).expect("made once");
                    Arc::new(store)
                }
            }
        };
        &**self.other.get_or_init(make).await
    }

    /// Lets time pass at once.
    pub(crate) async fn pass(&self, time: Duration) {
        match &self.reality {
            Reality::Memory(store) => store.clock().advance(time),
            Reality::Postgres { database, .. } => {
                execute(database, format!("UPDATE suite SET now = now + interval '{} microseconds'", time.as_micros())).await;
            }
        }
    }

    /// What time it is by the store's clock.
    pub(crate) async fn now(&self) -> Timestamp {
        let name = "clock".parse().expect("a name");
        match self.store.facts(&name).await.expect("facts") {
            Some(facts) => facts.now,
            None => {
                let settings = stillframe_api::cluster::CreateCluster::new(name, 1);
                self.store.create_cluster(&settings, None).await.expect("a cluster").0.created_at
            }
        }
    }

    /// Has the database be another server or timeline than before: `<server>/<timeline>`, the latter of 8 characters at most.
    pub(crate) async fn fail_over(&self, identity: &str) {
        match &self.reality {
            Reality::Memory(store) => store.fail_over(identity),
            Reality::Postgres { database, .. } => execute(database, format!("UPDATE suite SET identity = '{identity}'")).await,
        }
    }

    /// Leaves nothing open, so that the database can be dropped at once.
    pub(crate) async fn close(self) {
        if let Reality::Postgres { store, other, .. } = &self.reality {
            store.close().await;
            if let Some(other) = other.get() {
                other.close().await;
            }
        }
    }
}

async fn execute(database: &TestDatabase, sql: impl Into<String>) {
    let sql = sql.into();
    let mut connection = PgConnection::connect(database.url()).await.expect("a connection");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone()))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.expect("closing");
}
