//! Reading the facts of a cluster: one statement, after the one that locks. (One statement for both would read, of the other tables, what was
//! true before it waited for the lock.)

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::PgConnection;
use stillframe_protocol::{ClusterName, MemberName};

use super::{json::from_json, sqlstate};
use crate::{
    decide::{
        Facts,
        facts::{ContinuityFacts, MemberFacts},
    },
    store::{Scope, StoreError},
};

/// Locks the cluster for the rest of the transaction.
pub(super) async fn lock(connection: &mut PgConnection, cluster: &ClusterName) -> Result<(), sqlx::Error> {
    let lock = sqlx::query_scalar!("SELECT 1 FROM clusters WHERE name = $1 FOR NO KEY UPDATE", cluster.as_str());
    lock.fetch_optional(connection).await.map(drop)
}

/// Reads everything that a decision may rest on; nothing when there is no such cluster.
pub(super) async fn read(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    scope: &Scope,
) -> Result<Option<Facts>, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT
            clock_timestamp() AS "now!: jiff_sqlx::Timestamp",
            to_jsonb(c) AS "cluster!",
            (SELECT coalesce(jsonb_agg(to_jsonb(m) || jsonb_build_object('holder', l.holder, 'lease_expires_at', l.expires_at)), '[]')
               FROM members m JOIN leases l ON l.cluster = m.cluster AND l.member = m.name
              WHERE m.cluster = c.name) AS "members!",
            (SELECT coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object(
                        'reported', (SELECT coalesce(jsonb_agg(p.member), '[]') FROM parts p WHERE p.snapshot = s.id),
                        'progress', CASE WHEN s.state = 'recording' THEN
                            (SELECT coalesce(jsonb_object_agg(g.member, jsonb_build_object('missing', g.missing, 'at', g.at)), '{}')
                               FROM progress g WHERE g.snapshot = s.id) ELSE '{}' END)
                    ORDER BY s.created_at, s.id), '[]')
               FROM snapshots s
              WHERE s.cluster = c.name AND (s.state IN ('pending', 'recording', 'committing') OR s.id = $2)) AS "snapshots!",
            (SELECT coalesce(jsonb_agg(to_jsonb(o) ORDER BY o.epoch), '[]')
               FROM ((SELECT e.id, e.epoch, e.abort IS NULL AS committed, e.recording_at FROM snapshots e
                       WHERE e.cluster = c.name AND e.epoch IS NOT NULL AND e.ended_at IS NOT NULL ORDER BY e.epoch DESC LIMIT 16)
                     UNION
                     (SELECT e.id, e.epoch, true, e.recording_at FROM snapshots e
                       WHERE e.cluster = c.name AND e.epoch IS NOT NULL AND e.ended_at IS NOT NULL AND e.abort IS NULL
                       ORDER BY e.epoch DESC LIMIT 16)) o) AS "outcomes!",
            (SELECT to_jsonb(r) FROM restores r
              WHERE r.cluster = c.name AND r.state IN ('planned', 'preparing', 'resuming')) AS restore,
            (SELECT coalesce(jsonb_agg(coalesce(c.latest_mapping ->> v.name, v.name)), '[]')
               FROM snapshots s, jsonb_object_keys(s.view) AS v(name)
              WHERE s.id = c.latest_committed) AS "latest_view!",
            (SELECT jsonb_build_object('id', o.id, 'view', (SELECT jsonb_agg(v.name) FROM jsonb_object_keys(o.view) AS v(name)))
               FROM snapshots o, snapshots anchor
              WHERE anchor.id = coalesce((SELECT r.snapshot FROM restores r WHERE r.cluster = c.name AND r.state IN ('planned', 'preparing')),
                                         (SELECT u.snapshot FROM unreadable_snapshots u WHERE u.snapshot = c.latest_committed))
                AND o.cluster = c.name AND o.state = 'committed' AND o.epoch < anchor.epoch
                AND NOT EXISTS (SELECT 1 FROM unreadable_snapshots u WHERE u.snapshot = o.id)
              ORDER BY o.epoch DESC LIMIT 1) AS older,
            (SELECT coalesce(jsonb_object_agg(u.snapshot, to_jsonb(u)), '{}') FROM unreadable_snapshots u
              WHERE u.cluster = c.name
                AND (u.snapshot IN (c.latest_committed, $2)
                     OR u.snapshot IN (SELECT r.snapshot FROM restores r
                                        WHERE r.cluster = c.name AND r.state IN ('planned', 'preparing', 'resuming')))) AS "unreadable!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('created_at', b.created_at, 'went_through', b.resumed_at IS NOT NULL)
                                       ORDER BY b.created_at), '[]')
               FROM restores b
              WHERE b.cluster = c.name AND b.trigger ->> 'kind' = 'automatic'
                AND b.created_at > clock_timestamp() - make_interval(secs => c.rollback_window_ms / 1000.0)
                AND (c.rollbacks_since IS NULL OR b.created_at > c.rollbacks_since)) AS "rollbacks!",
            (SELECT to_jsonb(k) FROM continuity k WHERE k.cluster = c.name) AS continuity,
            database_identity() AS here,
            (SELECT to_jsonb(d) FROM schedules d WHERE d.cluster = c.name AND d.name = $3) AS schedule,
            CASE WHEN $4 THEN jsonb_build_object(
                'collection', (SELECT jsonb_build_object('state', g.state, 'reason', g.reason) FROM collection_now g),
                'committed', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', s.id, 'epoch', s.epoch, 'recording_at', s.recording_at)
                                                        ORDER BY s.epoch), '[]')
                                FROM snapshots s WHERE s.cluster = c.name AND s.state = 'committed'),
                'holds', (SELECT coalesce(jsonb_agg(to_jsonb(h) ORDER BY h.id), '[]')
                            FROM holds h JOIN snapshots s ON s.id = h.snapshot WHERE s.cluster = c.name)) END AS kept
        FROM clusters c
        WHERE c.name = $1
        "#,
        cluster.as_str(),
        scope.snapshot.map(|id| id.0),
        scope.schedule.as_ref().map(|name| name.as_str()),
        scope.kept,
    )
    .fetch_optional(connection)
    .await
    .map_err(sqlstate::unavailable)?;
    let Some(row) = row else { return Ok(None) };
    let members: Vec<MemberFacts> = from_json(row.members)?;
    let members: BTreeMap<MemberName, MemberFacts> = members.into_iter().map(|member| (member.name.clone(), member)).collect();
    let latest_view: BTreeSet<MemberName> = from_json(row.latest_view)?;
    Ok(Some(Facts {
        now: row.now.to_jiff(),
        cluster: from_json(row.cluster)?,
        members,
        snapshots: from_json(row.snapshots)?,
        outcomes: from_json(row.outcomes)?,
        restore: optional(row.restore)?,
        ended_restore: None,
        latest_view,
        older: optional(row.older)?,
        unreadable: from_json(row.unreadable)?,
        rollbacks: from_json(row.rollbacks)?,
        schedule: optional(row.schedule)?,
        continuity: ContinuityFacts { here: row.here, ..optional(row.continuity)?.unwrap_or_default() },
        kept: optional(row.kept)?,
        departures: Vec::new(),
    }))
}

fn optional<T: serde::de::DeserializeOwned>(value: Option<Value>) -> Result<Option<T>, StoreError> {
    value.map(from_json).transpose()
}
