//! The one way to run a transaction: in a task of its own, so that a caller that goes away can't leave a connection inside one, and again
//! when a race was lost.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool};
use stillframe_protocol::ClusterName;

use super::{continuity, facts, sqlstate, sqlstate::Kind, write};
use crate::store::{Rule, Scope, StoreError, TransactError, Transition};

/// How long a transaction may take: longer than the server's own limit for a statement.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a transaction is tried when others win.
const TRIES: u32 = 6;

/// Why a transaction's body gives up.
#[derive(Debug)]
pub(super) enum Stop {
    /// The database said so.
    Sql(sqlx::Error),
    /// We do.
    Other(TransactError),
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl From<TransactError> for Stop {
    fn from(error: TransactError) -> Self {
        Self::Other(error)
    }
}

/// What runs inside a transaction; perhaps several times. Gives whether there is anything to commit.
pub(super) type Body<T> = Box<dyn for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Stop>> + Send + Sync>;

/// Runs a transaction to its end, whatever becomes of the caller.
pub(super) async fn run<T: Send + 'static>(pool: &PgPool, body: Body<T>) -> Result<T, TransactError> {
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let mut tries = 0;
        loop {
            tries += 1;
            match once(&pool, &body).await {
                Err(Failed { kind: Some(Kind::Retry), .. }) if tries < TRIES => tokio::time::sleep(jitter(tries)).await,
                Err(Failed { error, .. }) => return Err(error),
                Ok(value) => return Ok(value),
            }
        }
    });
    match task.await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Unknown { reason: error.to_string() }.into()),
    }
}

/// What one try came to.
struct Failed {
    /// What to do about it; none when trying again is of no use or not ours to decide.
    kind: Option<Kind>,
    error: TransactError,
}

fn failed(error: sqlx::Error) -> Failed {
    Failed { kind: Some(sqlstate::kind(&error)), error: sqlstate::unavailable(error).into() }
}

async fn once<T>(pool: &PgPool, body: &Body<T>) -> Result<T, Failed> {
    let mut connection = pool.acquire().await.map_err(failed)?;
    let result = match tokio::time::timeout(PATIENCE, attempt(&mut connection, body)).await {
        Ok(result) => result,
        // The server gives each statement less; so it isn't heard any more, and whether it heard the commit can't be known.
        Err(_) => {
            let reason = format!("no answer within {} s", PATIENCE.as_secs());
            Err(Failed { kind: Some(Kind::Away), error: StoreError::Unknown { reason }.into() })
        }
    };
    if let Err(Failed { kind: Some(Kind::Away), .. }) = &result {
        // Not back into the pool: it may lead to a primary that was demoted.
        drop(connection.detach());
    }
    result
}

async fn attempt<T>(connection: &mut PgConnection, body: &Body<T>) -> Result<T, Failed> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let value = match body(&mut transaction).await {
        Ok(value) => value,
        Err(Stop::Sql(error)) => return Err(failed(error)),
        Err(Stop::Other(error)) => return Err(Failed { kind: None, error }),
    };
    transaction.commit().await.map_err(|error| match sqlstate::kind(&error) {
        Kind::Retry | Kind::Fault => failed(error),
        Kind::Away => Failed { kind: Some(Kind::Away), error: StoreError::Unknown { reason: sqlstate::describe(&error) }.into() },
    })?;
    Ok(value)
}

/// Full jitter: anything up to 5 ms after the first try, twice as much after each more.
fn jitter(tries: u32) -> Duration {
    let random = RandomState::new().hash_one(tries);
    Duration::from_micros(random % (5_000 << tries.min(6)))
}

/// A transition of one cluster.
pub(super) async fn transact(pool: &PgPool, cluster: ClusterName, scope: Scope, rule: Rule) -> Result<Transition, TransactError> {
    let body: Body<Transition> = Box::new(move |connection| {
        let (cluster, scope, rule) = (cluster.clone(), scope.clone(), rule.clone());
        Box::pin(async move {
            if let Some(found) = &scope.found {
                continuity::make_cluster(connection, &found.settings).await?;
            }
            facts::lock(connection, &cluster).await?;
            let before = facts::read(connection, &cluster, &scope).await?.ok_or(TransactError::UnknownCluster(cluster))?;
            let outcome = rule(&before).map_err(TransactError::Refused)?;
            let changed = write::write(connection, &before, &outcome, scope.request_id.as_deref()).await?;
            if let (Some(found), Some(snapshot), true) = (&scope.found, scope.snapshot, changed) {
                continuity::put_parts(connection, snapshot, &found.parts).await?;
            }
            Ok(Transition { facts: outcome.decision.next, changed })
        })
    });
    run(pool, body).await
}
