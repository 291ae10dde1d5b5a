//! Leases. They take part in no transition's lock; a transition that rests on one reads it under the cluster's lock.

use std::time::Duration;

use sqlx::PgPool;
use stillframe_protocol::{Incarnation, NameError};
use uuid::Uuid;

use super::{
    bounded::{PATIENCE, within},
    json::{bigint, unsigned},
    write::statement,
};
use crate::store::{LeaseKey, Renewal, StoreError};

/// Renews leases with one statement, and without waiting for the disk.
pub(super) async fn renew(pool: &PgPool, holder: Uuid, lease: Duration, renewals: &[Renewal]) -> Result<(), StoreError> {
    let keys = || renewals.iter().map(|renewal| &renewal.lease);
    let clusters: Vec<String> = keys().map(|(cluster, _, _)| cluster.to_string()).collect();
    let members: Vec<String> = keys().map(|(_, member, _)| member.to_string()).collect();
    let incarnations: Vec<i64> = keys().map(|(_, _, incarnation)| bigint(incarnation.0)).collect();
    let takes: Vec<bool> = renewals.iter().map(|renewal| renewal.take).collect();
    let mut connection = pool.acquire().await.map_err(statement)?;
    let renewed = sqlx::query!(
        r#"
        WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        UPDATE leases l SET holder = $1, seen_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $2)
          FROM lazily, unnest($3::text[], $4::text[], $5::bigint[], $6::boolean[]) AS r(cluster, member, incarnation, take)
         WHERE l.cluster = r.cluster AND l.member = r.member AND l.incarnation = r.incarnation AND (r.take OR l.holder = $1)
        "#,
        holder,
        lease.as_secs_f64(),
        &clusters,
        &members,
        &incarnations,
        &takes,
    )
    .execute(&mut *connection);
    let renewed = tokio::time::timeout(PATIENCE, renewed).await;
    within(connection, renewed).map(drop)
}

/// The live members whose lease ran out.
pub(super) async fn expired(pool: &PgPool) -> Result<Vec<LeaseKey>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT m.cluster, m.name, m.incarnation FROM members m JOIN leases l ON l.cluster = m.cluster AND l.member = m.name
         WHERE m.state = 'live' AND l.expires_at <= clock_timestamp() LIMIT 1000
        "#
    )
    .fetch_all(pool)
    .await
    .map_err(statement)?;
    let fault = |error: NameError| StoreError::Fault { reason: error.to_string() };
    rows.into_iter()
        .map(|row| {
            let incarnation = Incarnation(unsigned(row.incarnation));
            Ok((row.cluster.parse().map_err(fault)?, row.name.parse().map_err(fault)?, incarnation))
        })
        .collect()
}
