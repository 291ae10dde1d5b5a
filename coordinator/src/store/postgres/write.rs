//! Writing a decision: the difference between the facts before and after, guarded by what was expected, with the audit.

use jiff_sqlx::ToSqlx;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use stillframe_api::cluster::CreateCluster;
use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::{
    continuity,
    json::{bigint, from_json, to_json},
    restores, sqlstate,
    transaction::{Body, Stop, run},
};
use crate::{
    decide::{
        Audit, Facts,
        facts::{ClusterFacts, DepartureFacts, ScheduleFacts, SnapshotFacts},
        schedule::Slot,
    },
    store::{
        Outcome, StoreError, TransactError,
        difference::{Change, Difference, ScheduleChange, is_nothing},
    },
};

/// Writes what a decision changed; says whether that was anything.
pub(super) async fn write(
    connection: &mut PgConnection,
    before: &Facts,
    outcome: &Outcome,
    request_id: Option<&str>,
) -> Result<bool, Stop> {
    if is_nothing(before, outcome) {
        return Ok(false);
    }
    let next = &outcome.decision.next;
    let cluster = &before.cluster.name;
    let difference = Difference::between(before, next);
    members(connection, cluster, &difference).await?;
    if !difference.departures.is_empty() {
        insert_departures(connection, cluster, difference.departures).await?;
    }
    if !difference.made.is_empty() {
        insert_snapshots(connection, cluster, &difference.made).await?;
    }
    if !difference.changed.is_empty() {
        update_snapshots(connection, &difference.changed).await?;
    }
    restores::write(connection, cluster, next, &difference).await?;
    holds(connection, &difference).await?;
    match difference.schedule {
        ScheduleChange::Put(schedule) => put_schedule(connection, cluster, schedule).await?,
        ScheduleChange::Delete(name) => delete_schedule(connection, cluster, name).await?,
        ScheduleChange::None => {}
    }
    if let Some(continuity) = difference.continuity {
        continuity::put(connection, cluster, continuity).await?;
    }
    if let Some(slot) = &outcome.slot {
        put_slot(connection, cluster, next, slot).await?;
    }
    finish(connection, before, next, &outcome.decision.audit, request_id).await?;
    Ok(true)
}

async fn members(connection: &mut PgConnection, cluster: &ClusterName, difference: &Difference<'_>) -> Result<(), Stop> {
    let Difference { members: changed, granted, .. } = difference;
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        INSERT INTO members (cluster, name, member_id, incarnation, instance, address, state, standing, seen, generation, epoch, restore,
                             registered_at, leave_wish, leaving, left_as)
        SELECT $1, m.name, m.member_id, m.incarnation, m.instance, m.address, m.state, m.standing, m.seen, m.generation, m.epoch, m.restore,
               m.registered_at, m.leave_wish, nullif(m.leaving, 'null'), nullif(m.left_as, 'null')
          FROM jsonb_to_recordset($2) AS m(name text, member_id integer, incarnation bigint, instance uuid, address text, state text,
                                           standing text, seen boolean, generation bigint, epoch bigint, restore uuid,
                                           registered_at timestamptz, leave_wish text, leaving jsonb, left_as jsonb)
        ON CONFLICT (cluster, name) DO UPDATE SET
            incarnation = excluded.incarnation, instance = excluded.instance, address = excluded.address, state = excluded.state,
            standing = excluded.standing, seen = excluded.seen, generation = excluded.generation, epoch = excluded.epoch,
            restore = excluded.restore, registered_at = excluded.registered_at, leave_wish = excluded.leave_wish,
            leaving = excluded.leaving, left_as = excluded.left_as
        "#,
        cluster.as_str(),
        to_json(changed)?,
    )
    .execute(&mut *connection)
    .await?;
    if granted.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        INSERT INTO leases (cluster, member, incarnation, holder, seen_at, expires_at)
        SELECT $1, m.name, m.incarnation, m.holder, clock_timestamp(), m.lease_expires_at
          FROM jsonb_to_recordset($2) AS m(name text, incarnation bigint, holder uuid, lease_expires_at timestamptz)
        ON CONFLICT (cluster, member) DO UPDATE SET
            incarnation = excluded.incarnation, holder = excluded.holder, seen_at = excluded.seen_at, expires_at = excluded.expires_at
        "#,
        cluster.as_str(),
        to_json(granted)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_departures(connection: &mut PgConnection, cluster: &ClusterName, gone: &[DepartureFacts]) -> Result<(), Stop> {
    sqlx::query!(
        r#"
        INSERT INTO departures (cluster, member, incarnation, generation, left_at, counters)
        SELECT $1, d.counters ->> 'member', (d.counters ->> 'incarnation')::bigint, d.generation, d.left_at, d.counters
          FROM jsonb_to_recordset($2) AS d(generation bigint, left_at timestamptz, counters jsonb)
        "#,
        cluster.as_str(),
        to_json(&gone)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_snapshots(connection: &mut PgConnection, cluster: &ClusterName, new: &[&SnapshotFacts]) -> Result<(), Stop> {
    sqlx::query!(
        r#"
        INSERT INTO snapshots (id, cluster, epoch, generation, state, abort, trigger, labels, timeout_ms, own_timeout, inline_limit, view,
                               view_members, created_at, begins_at, recording_at, committing_at, ended_at, deadline_at, messages_in_flight,
                               sweep_at)
        SELECT s.id, $1, s.epoch, s.generation, s.state, nullif(s.abort, 'null'), s.trigger, s.labels, s.timeout_ms, s.own_timeout,
               s.inline_limit, s.view, s.view_members, s.created_at, s.begins_at, s.recording_at, s.committing_at, s.ended_at, s.deadline_at,
               s.messages_in_flight, s.sweep_at
          FROM jsonb_to_recordset($2) AS s(id uuid, epoch bigint, generation bigint, state text, abort jsonb, trigger jsonb, labels jsonb,
                                           timeout_ms bigint, own_timeout boolean, inline_limit bigint, view jsonb, view_members integer,
                                           created_at timestamptz, begins_at timestamptz, recording_at timestamptz,
                                           committing_at timestamptz, ended_at timestamptz, deadline_at timestamptz,
                                           messages_in_flight bigint, sweep_at timestamptz)
        "#,
        cluster.as_str(),
        to_json(&new)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The rows of snapshots that change, with the state each is expected to be in.
pub(super) fn changed_rows(changed: &[Change<'_>]) -> Result<Value, StoreError> {
    let mut rows = Vec::new();
    for (old, new) in changed {
        let mut row = to_json(new)?;
        if let Value::Object(fields) = &mut row {
            fields.insert("was".to_owned(), to_json(&old.state)?);
            // The view is written once, when recording begins; leaving it out later saves writing it again.
            if old.epoch.is_some() {
                fields.remove("view");
            }
        }
        rows.push(row);
    }
    Ok(Value::Array(rows))
}

async fn update_snapshots(connection: &mut PgConnection, changed: &[Change<'_>]) -> Result<(), Stop> {
    let rows = changed_rows(changed)?;
    let done = sqlx::query!(
        r#"
        UPDATE snapshots s SET
            state = n.state, abort = nullif(n.abort, 'null'), epoch = n.epoch, generation = n.generation, timeout_ms = n.timeout_ms,
            own_timeout = n.own_timeout, inline_limit = n.inline_limit, view = coalesce(n.view, s.view), view_members = n.view_members,
            begins_at = n.begins_at, recording_at = n.recording_at, committing_at = n.committing_at, ended_at = n.ended_at,
            deadline_at = n.deadline_at, archive_error = n.archive_error, messages_in_flight = n.messages_in_flight, sweep_at = n.sweep_at,
            sweeps = n.sweeps
          FROM jsonb_to_recordset($1) AS n(id uuid, was text, state text, abort jsonb, epoch bigint, generation bigint, timeout_ms bigint,
                                           own_timeout boolean, inline_limit bigint, view jsonb, view_members integer,
                                           begins_at timestamptz, recording_at timestamptz, committing_at timestamptz, ended_at timestamptz,
                                           deadline_at timestamptz, archive_error text, messages_in_flight bigint, sweep_at timestamptz, sweeps integer)
         WHERE s.id = n.id AND s.state = n.was
        "#,
        rows,
    )
    .execute(connection)
    .await?;
    expect_rows(done.rows_affected(), changed.len(), "snapshots")
}

async fn holds(connection: &mut PgConnection, difference: &Difference<'_>) -> Result<(), Stop> {
    let Difference { held, released, .. } = difference;
    if held.is_empty() && released.is_empty() {
        return Ok(());
    }
    let gone: Vec<uuid::Uuid> = released.iter().map(|hold| hold.0).collect();
    sqlx::query!(
        r#"
        WITH gone AS (DELETE FROM holds WHERE id = ANY ($2))
        INSERT INTO holds (id, snapshot, owner, reason, created_at, expires_at)
        SELECT h.id, h.snapshot, h.owner, h.reason, h.created_at, h.expires_at
          FROM jsonb_to_recordset($1) AS h(id uuid, snapshot uuid, owner text, reason text, created_at timestamptz, expires_at timestamptz)
        "#,
        to_json(held)?,
        &gone,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_schedule(connection: &mut PgConnection, cluster: &ClusterName, schedule: &ScheduleFacts) -> Result<(), Stop> {
    let done = sqlx::query!(
        r#"
        INSERT INTO schedules (cluster, name, every_ms, cron, time_zone, jitter_ms, min_pause_ms, timeout_ms, labels, on_overlap, misfire, paused,
                               paused_until, next_at, next_slot_at, last_slot_at, last_snapshot, last_skip, missed, last_missed_at, created_at)
        SELECT $1, n.name, n.every_ms, n.cron, n.time_zone, n.jitter_ms, n.min_pause_ms, n.timeout_ms, n.labels, n.on_overlap, n.misfire, n.paused,
               n.paused_until, n.next_at, n.next_slot_at, n.last_slot_at, n.last_snapshot, n.last_skip, n.missed, n.last_missed_at, n.created_at
          FROM jsonb_to_record($2) AS n(name text, every_ms bigint, cron text, time_zone text, jitter_ms bigint, min_pause_ms bigint,
                                        timeout_ms bigint, labels jsonb, on_overlap text, misfire text, paused boolean,
                                        paused_until timestamptz, next_at timestamptz, next_slot_at timestamptz, last_slot_at timestamptz,
                                        last_snapshot uuid, last_skip text, missed bigint, last_missed_at timestamptz, created_at timestamptz)
        ON CONFLICT (cluster, name) DO UPDATE SET
            every_ms = excluded.every_ms, cron = excluded.cron, time_zone = excluded.time_zone, jitter_ms = excluded.jitter_ms,
            min_pause_ms = excluded.min_pause_ms, timeout_ms = excluded.timeout_ms, labels = excluded.labels, on_overlap = excluded.on_overlap,
            misfire = excluded.misfire, paused = excluded.paused, paused_until = excluded.paused_until, next_at = excluded.next_at,
            next_slot_at = excluded.next_slot_at, last_slot_at = excluded.last_slot_at, last_snapshot = excluded.last_snapshot,
            last_skip = excluded.last_skip, missed = excluded.missed, last_missed_at = excluded.last_missed_at
        "#,
        cluster.as_str(),
        to_json(schedule)?,
    )
    .execute(connection)
    .await?;
    expect_rows(done.rows_affected(), 1, "schedules")
}

async fn delete_schedule(connection: &mut PgConnection, cluster: &ClusterName, name: &ScheduleName) -> Result<(), Stop> {
    let deleted = sqlx::query!("DELETE FROM schedules WHERE cluster = $1 AND name = $2", cluster.as_str(), name.as_str());
    let done = deleted.execute(connection).await?;
    expect_rows(done.rows_affected(), 1, "schedules")
}

async fn put_slot(connection: &mut PgConnection, cluster: &ClusterName, next: &Facts, slot: &Slot) -> Result<(), Stop> {
    let Some(schedule) = &next.schedule else { return Ok(()) };
    let done = sqlx::query!(
        "INSERT INTO schedule_slots (cluster, schedule, slot_at, snapshot, skip) VALUES ($1, $2, $3, $4, $5)",
        cluster.as_str(),
        schedule.name.as_str(),
        slot.at.to_sqlx() as _,
        slot.snapshot.map(|id| id.0),
        slot.skip,
    )
    .execute(connection)
    .await?;
    expect_rows(done.rows_affected(), 1, "schedule_slots")
}

/// The cluster's row, guarded by the version that was read, and the audit: one statement.
async fn finish(
    connection: &mut PgConnection,
    before: &Facts,
    next: &Facts,
    audit: &[Audit],
    request_id: Option<&str>,
) -> Result<(), Stop> {
    let done = sqlx::query!(
        r#"
        WITH line AS (
            INSERT INTO audit (cluster, actor, action, subject, reason, detail, request_id)
            SELECT $1, a.actor, a.action, a.subject, a.reason, a.detail, coalesce(a.request_id, $4)
              FROM jsonb_to_recordset($3) AS a(actor text, action text, subject text, reason text, detail jsonb, request_id text)
        )
        UPDATE clusters c SET
            phase = n.phase, phase_reason = n.phase_reason, halt = n.halt, generation = n.generation, last_generation = n.last_generation,
            epoch = n.epoch, revision = n.revision, version = n.version, stamp = n.stamp, peers_revision = n.peers_revision, last_member_id = n.last_member_id,
            latest_committed = n.latest_committed, min_members = n.min_members, snapshot_timeout_ms = n.snapshot_timeout_ms,
            on_loss = n.on_loss, max_concurrent = n.max_concurrent, min_pause_ms = n.min_pause_ms,
            retention = nullif(n.retention, 'null'),
            latest_mapping = n.latest_mapping, rollback_at = n.rollback_at, rollbacks_since = n.rollbacks_since,
            rollback_limit = n.rollback_limit, rollback_window_ms = n.rollback_window_ms,
            rollback_backoff_ms = n.rollback_backoff_ms, restore_fallback = n.restore_fallback,
            channel_state = n.channel_state, alignment = n.alignment, aligned_timeout_ms = n.aligned_timeout_ms,
            channels_in_force = n.channels_in_force
          FROM jsonb_to_record($2) AS n(phase text, phase_reason text, halt text, generation bigint, last_generation bigint, epoch bigint,
                                        revision bigint, version bigint, stamp uuid, peers_revision bigint, last_member_id integer, latest_committed uuid,
                                        min_members integer, snapshot_timeout_ms bigint, on_loss text, max_concurrent integer,
                                        min_pause_ms bigint, retention jsonb, latest_mapping jsonb, rollback_at timestamptz,
                                        rollbacks_since timestamptz, rollback_limit integer, rollback_window_ms bigint,
                                        rollback_backoff_ms bigint, restore_fallback integer, channel_state text, alignment text,
                                        aligned_timeout_ms bigint, channels_in_force jsonb)
         WHERE c.name = $1 AND c.version = $5
        "#,
        before.cluster.name.as_str(),
        to_json(&next.cluster)?,
        audit_json(audit),
        request_id,
        bigint(before.cluster.version),
    )
    .execute(connection)
    .await?;
    expect_rows(done.rows_affected(), 1, "clusters")
}

pub(super) fn audit_json(audit: &[Audit]) -> Value {
    let line = |a: &Audit| {
        json!({ "actor": a.actor, "action": a.action, "subject": a.subject, "reason": a.reason, "detail": a.detail,
                "request_id": a.request_id })
    };
    audit.iter().map(line).collect()
}

/// Under the lock nobody else can have changed what we read, so other counts are a fault of ours.
fn expect_rows(found: u64, expected: usize, table: &str) -> Result<(), Stop> {
    if found == expected as u64 {
        return Ok(());
    }
    let reason = format!("expected to change {expected} rows of {table}, changed {found}");
    Err(Stop::Other(StoreError::Fault { reason }.into()))
}

/// Makes a cluster, or gives the one that there is.
pub(super) async fn create_cluster(
    pool: &PgPool,
    settings: CreateCluster,
    request_id: Option<String>,
) -> Result<(ClusterFacts, bool), StoreError> {
    let body: Body<(ClusterFacts, bool)> = Box::new(move |connection| {
        let (settings, request_id) = (settings.clone(), request_id.clone());
        Box::pin(async move {
            let on_loss = to_json(&settings.on_loss)?;
            let made = sqlx::query!(
                r#"
                WITH made AS (
                    INSERT INTO clusters (name, min_members, snapshot_timeout_ms, on_loss, archive_prefix, max_concurrent, min_pause_ms,
                                          rollback_limit, rollback_window_ms, rollback_backoff_ms, restore_fallback,
                                          channel_state, alignment, aligned_timeout_ms)
                    VALUES ($1, $2, $3, $4, $5, $8, $9, $10, $11, $12, $13, $14, $15, $16)
                    ON CONFLICT (name) DO NOTHING RETURNING name
                ), line AS (
                    INSERT INTO audit (cluster, actor, action, subject, detail, request_id)
                    SELECT name, 'request', 'cluster.created', name, $6, $7 FROM made
                )
                SELECT name FROM made
                "#,
                settings.name.as_str(),
                i32::try_from(settings.min_members).unwrap_or(i32::MAX),
                settings.snapshot_timeout.as_millis(),
                on_loss.as_str(),
                settings.archive_prefix,
                to_json(&settings)?,
                request_id,
                i32::try_from(settings.max_concurrent).unwrap_or(i32::MAX),
                bigint(settings.min_pause.as_millis()),
                i32::try_from(settings.rollback.limit).unwrap_or(i32::MAX),
                settings.rollback.window.as_millis(),
                settings.rollback.backoff.as_millis(),
                i32::try_from(settings.rollback.fallback).unwrap_or(i32::MAX),
                settings.channel_state.to_string(),
                settings.alignment.to_string(),
                settings.aligned_timeout.map(stillframe_api::HumanDuration::as_millis),
            )
            .fetch_optional(&mut *connection)
            .await?;
            let row =
                sqlx::query_scalar!(r#"SELECT to_jsonb(c) AS "c!" FROM clusters c WHERE name = $1"#, settings.name.as_str());
            let facts: ClusterFacts = from_json(row.fetch_one(connection).await?)?;
            Ok((facts, made.is_some()))
        })
    });
    run(pool, body).await.map_err(only_store)
}

/// The error of a transaction without a rule.
pub(super) fn only_store(error: TransactError) -> StoreError {
    match error {
        TransactError::Store(error) => error,
        other @ (TransactError::UnknownCluster(_) | TransactError::Refused(_)) => StoreError::Fault { reason: other.to_string() },
    }
}

/// The error of a single statement.
pub(super) fn statement(error: sqlx::Error) -> StoreError {
    sqlstate::unavailable(error)
}
