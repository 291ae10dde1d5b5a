//! A transition that was decided on remembered facts: one statement, one round trip. It is guarded by the version of the facts, which every
//! transition raises, and by their stamp, which no other history of the database has; whoever loses the race has changed nothing, and decides again
//! under the lock.

use jiff::Timestamp;
use sqlx::PgPool;

use super::{
    json::{bigint, to_json},
    reports::PartColumns,
    sqlstate::{self, Kind},
    write::{audit_json, changed_rows},
};
use crate::{
    decide::{Decision, Facts},
    store::{
        PartRow, StoreError,
        difference::{self, is_only_about_snapshots},
    },
};

/// Carries it out, if the facts are still those; gives the database's time.
pub(super) async fn transact(
    pool: &PgPool,
    before: &Facts,
    decision: &Decision,
    parts: &[PartRow],
    request_id: Option<&str>,
) -> Result<Option<Timestamp>, StoreError> {
    let next = &decision.next;
    if !is_only_about_snapshots(before, next) {
        return Ok(None);
    }
    let (new, changed) = difference::snapshots(before, next);
    let expected = i64::try_from(changed.len()).unwrap_or(i64::MAX);
    let (cluster, name) = (to_json(&next.cluster)?, before.cluster.name.to_string());
    let (new, changed, audit) = (to_json(&new)?, changed_rows(&changed)?, audit_json(&decision.audit));
    let (version, stamp) = (bigint(before.cluster.version), before.cluster.stamp);
    let (request_id, pool) = (request_id.map(str::to_owned), pool.clone());
    let expected_parts = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    let columns = PartColumns::of(parts)?;
    // A task of its own: the caller may go away, the transition goes to its end.
    let task = tokio::spawn(async move {
        let mut connection = pool.acquire().await.map_err(sqlstate::unavailable)?;
        let done = sqlx::query_scalar!(
            r#"
            WITH guard AS (
                UPDATE clusters c SET
                    phase = n.phase, phase_reason = n.phase_reason, halt = n.halt, generation = n.generation,
                    last_generation = n.last_generation, epoch = n.epoch, revision = n.revision, version = n.version, stamp = n.stamp,
                    peers_revision = n.peers_revision, last_member_id = n.last_member_id, latest_committed = n.latest_committed,
                    latest_mapping = n.latest_mapping
                  FROM jsonb_to_record($2) AS n(phase text, phase_reason text, halt text, generation bigint, last_generation bigint,
                                                epoch bigint, revision bigint, version bigint, stamp uuid, peers_revision bigint,
                                                last_member_id integer, latest_committed uuid, latest_mapping jsonb)
                 WHERE c.name = $1 AND c.version = $3 AND c.stamp = $15
                   AND (SELECT k.home FROM continuity k WHERE k.cluster = $1) IS NOT DISTINCT FROM database_identity()
                RETURNING c.name
            ), made AS (
                INSERT INTO snapshots (id, cluster, epoch, generation, state, abort, trigger, labels, timeout_ms, own_timeout, inline_limit,
                                       view, view_members, created_at, begins_at, recording_at, committing_at, ended_at, deadline_at,
                                       messages_in_flight, sweep_at)
                SELECT s.id, guard.name, s.epoch, s.generation, s.state, nullif(s.abort, 'null'), s.trigger, s.labels, s.timeout_ms,
                       s.own_timeout, s.inline_limit, s.view, s.view_members, s.created_at, s.begins_at, s.recording_at, s.committing_at,
                       s.ended_at, s.deadline_at, s.messages_in_flight, s.sweep_at
                  FROM guard, jsonb_to_recordset($4) AS s(
                       id uuid, epoch bigint, generation bigint, state text, abort jsonb, trigger jsonb, labels jsonb, timeout_ms bigint,
                       own_timeout boolean, inline_limit bigint, view jsonb, view_members integer, created_at timestamptz,
                       begins_at timestamptz, recording_at timestamptz, committing_at timestamptz, ended_at timestamptz,
                       deadline_at timestamptz, messages_in_flight bigint, sweep_at timestamptz)
            ), changed AS (
                UPDATE snapshots s SET
                    state = n.state, abort = nullif(n.abort, 'null'), epoch = n.epoch, generation = n.generation,
                    timeout_ms = n.timeout_ms, own_timeout = n.own_timeout, inline_limit = n.inline_limit,
                    view = coalesce(n.view, s.view), view_members = n.view_members, begins_at = n.begins_at,
                    recording_at = n.recording_at, committing_at = n.committing_at, ended_at = n.ended_at, deadline_at = n.deadline_at,
                    archive_error = n.archive_error, messages_in_flight = n.messages_in_flight, sweep_at = n.sweep_at,
                    sweeps = n.sweeps
                  FROM guard, jsonb_to_recordset($5) AS n(
                       id uuid, was text, state text, abort jsonb, epoch bigint, generation bigint, timeout_ms bigint,
                       own_timeout boolean, inline_limit bigint, view jsonb, view_members integer, begins_at timestamptz,
                       recording_at timestamptz, committing_at timestamptz, ended_at timestamptz, deadline_at timestamptz,
                       archive_error text, messages_in_flight bigint, sweep_at timestamptz, sweeps integer)
                 WHERE s.id = n.id AND s.state = n.was
                RETURNING s.id
            ), inserted AS (
                INSERT INTO parts (snapshot, member, incarnation, content, bytes)
                SELECT p.snapshot, p.member, p.incarnation, p.content, p.bytes
                  FROM guard, unnest($9::uuid[], $10::text[], $11::bigint[], $12::jsonb[], $13::bigint[])
                       AS p(snapshot, member, incarnation, content, bytes)
                ON CONFLICT (snapshot, member) DO NOTHING
                RETURNING member
            ), line AS (
                INSERT INTO audit (cluster, actor, action, subject, reason, detail, request_id)
                SELECT guard.name, a.actor, a.action, a.subject, a.reason, a.detail, $7
                  FROM guard, jsonb_to_recordset($6) AS a(actor text, action text, subject text, reason text, detail jsonb)
            )
            -- All or nothing: a snapshot or part that isn't as expected divides by zero, which undoes the statement.
            SELECT clock_timestamp() + make_interval(secs => 0 / ((SELECT count(*) FROM changed) = $8
                                                              AND (SELECT count(*) FROM inserted) = $14)::integer) AS "now!: jiff_sqlx::Timestamp"
              FROM guard
            "#,
            name,
            cluster,
            version,
            new,
            changed,
            audit,
            request_id,
            expected,
            &columns.snapshots,
            &columns.members,
            &columns.incarnations,
            &columns.contents,
            &columns.bytes,
            expected_parts,
            stamp,
        )
        .fetch_optional(&mut *connection)
        .await;
        match done {
            Ok(now) => Ok(now.map(|now| now.to_jiff())),
            Err(error) => match sqlstate::kind(&error) {
                // Not carried out; under the lock it may be.
                Kind::Retry => Ok(None),
                Kind::Away => {
                    drop(connection.detach());
                    // A read-only server refused; anything else may have happened before the answer was lost.
                    let reason = sqlstate::describe(&error);
                    Err(if error.as_database_error().is_some() {
                        StoreError::Unavailable { reason }
                    } else {
                        StoreError::Unknown { reason }
                    })
                }
                Kind::Fault => Err(sqlstate::unavailable(error)),
            },
        }
    });
    task.await.unwrap_or_else(|error| Err(StoreError::Unknown { reason: error.to_string() }))
}
