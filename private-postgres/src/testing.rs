//! Databases for tests.
//!
//! A test makes a [`TestDatabase`] and has it for itself:
//!
//! ```no_run
//! # async fn example() {
//! let database = stillframe_private_postgres::testing::TestDatabase::create().await;
//! // connect to database.url()
//! # }
//! ```
//!
//! When `DATABASE_URL` is set, the databases are made on that server, whose user must be allowed to. Otherwise one private server
//! is started for the whole test process, with the first database, and ends with the process.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

use crate::{Options, PrivatePostgres, start};

/// Enough for many tests at once, each with a pool.
const MAX_CONNECTIONS: u16 = 400;

/// The private server of this process: temporary, without fsync, started by the first call.
///
/// # Panics
///
/// When it can't be started, with the reason.
pub async fn shared() -> &'static PrivatePostgres {
    static SHARED: OnceCell<PrivatePostgres> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let options = Options { max_connections: MAX_CONNECTIONS, ..Options::temporary() };
            start(options, |_| {}).await.unwrap_or_else(|error| panic!("no Postgres for the tests: {error}"))
        })
        .await
}

/// A fresh, empty database for one test. It is dropped with this value, also when the test fails and when connections are open.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    server: String,
}

impl TestDatabase {
    /// Makes a database with a name that no other has.
    ///
    /// # Panics
    ///
    /// When there is no server or it refuses, with the reason.
    pub async fn create() -> Self {
        let server = match std::env::var("DATABASE_URL") {
            Ok(url) if !url.is_empty() => url,
            Ok(_) | Err(_) => shared().await.url(),
        };
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut url = Url::parse(&server).unwrap_or_else(|error| panic!("DATABASE_URL is not a URL: {error}"));
        url.set_path(&name);
        execute(&server, format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await
            .unwrap_or_else(|error| panic!("could not create the database {name} for a test: {error}"));
        Self { name, url: url.into(), server }
    }

    /// Drops it, also when connections are open, and makes an empty one of the same name.
    ///
    /// # Panics
    ///
    /// When the server refuses, with the reason.
    pub async fn empty(&self) {
        let name = &self.name;
        let statements = [format!("DROP DATABASE {name} WITH (FORCE)"), format!("CREATE DATABASE {name} TEMPLATE template0")];
        for statement in statements {
            execute(&self.server, statement)
                .await
                .unwrap_or_else(|error| panic!("could not empty the database {name} of a test: {error}"));
        }
    }

    /// The URL to connect to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // On a thread of its own, because a runtime can't wait within a runtime.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(execute(&server, statement)))
        });
        match dropping.join() {
            Ok(Ok(Ok(()))) => {}
            // A test may have stopped its server: no reason to fail it.
            other => eprintln!("could not drop the test database {}: {other:?}", self.name),
        }
    }
}

async fn execute(server: &str, statement: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(server).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}
