//! What must hold of a cluster whatever raced: read from the database and the archive, not from what was answered.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::{PgConnection, Row, postgres::PgRow};
use stillframe_api::audit::VerifyAudit;
use stillframe_archive::{Part, Place};
use stillframe_protocol::{ClusterName, SnapshotId};
use uuid::Uuid;

use super::field::Field;

/// A row of the audit.
#[derive(Debug)]
struct Line {
    seq: i64,
    action: String,
    subject: String,
    detail: Value,
}

/// Everything that the database says of a cluster.
struct History {
    audit: Vec<Line>,
    snapshots: Vec<Value>,
    restores: Vec<Value>,
    members: Vec<Value>,
    slots: Vec<Value>,
    parts: BTreeMap<Uuid, Vec<Part>>,
}

/// What is wrong with the states of a cluster and its audit; nothing when all is well.
pub(crate) async fn states_without_audit(connection: &mut PgConnection, cluster: &ClusterName) -> Vec<String> {
    let mut wrong = Vec::new();
    History::read(connection, cluster).await.states_and_audit_agree(&mut wrong);
    wrong
}

/// What is wrong with a cluster; nothing when all is well.
pub(super) async fn violations(field: &Field, cluster: &ClusterName) -> Vec<String> {
    let history = History::read(&mut *field.connection().await, cluster).await;
    let mut wrong = Vec::new();
    history.states_and_audit_agree(&mut wrong);
    history.committed_and_aborted_exclude_each_other(&mut wrong);
    history.numbers_are_used_once(&mut wrong);
    history.one_restore_at_a_time(&mut wrong);
    history.nothing_is_deleted_under_a_restore(&mut wrong);
    history.one_snapshot_for_a_slot(&mut wrong);
    history.parts_are_those_of_the_view(&mut wrong);
    history.committed_verify(field, cluster, &mut wrong).await;
    let service = &field.replicas[0].service;
    let verified = service.verify_audit(&VerifyAudit { cluster: Some(cluster.clone()), head: None }).await.expect("an answer");
    if !verified.intact {
        wrong.push(format!("the audit's chain is broken: {verified:?}"));
    }
    wrong
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

impl History {
    async fn read(connection: &mut PgConnection, cluster: &ClusterName) -> Self {
        let mut rows = async |sql: &'static str| -> Vec<PgRow> {
            sqlx::query(sql).bind(cluster.as_str()).fetch_all(&mut *connection).await.expect(sql)
        };
        let json = |rows: Vec<PgRow>| rows.into_iter().map(|row| row.get::<Value, _>(0)).collect::<Vec<_>>();
        let audit = rows("SELECT seq, action, subject, detail FROM audit WHERE cluster = $1 ORDER BY seq").await;
        let audit =
            audit.into_iter().map(|row| Line { seq: row.get(0), action: row.get(1), subject: row.get(2), detail: row.get(3) });
        let audit = audit.collect();
        let snapshots = json(rows("SELECT to_jsonb(s) FROM snapshots s WHERE cluster = $1 ORDER BY id").await);
        let restores = json(rows("SELECT to_jsonb(r) FROM restores r WHERE cluster = $1 ORDER BY id").await);
        let members = json(rows("SELECT to_jsonb(m) FROM members m WHERE cluster = $1").await);
        let slots = json(rows("SELECT to_jsonb(s) FROM schedule_slots s WHERE cluster = $1").await);
        let of = "SELECT p.snapshot, p.content FROM parts p JOIN snapshots s ON s.id = p.snapshot WHERE s.cluster = $1";
        let mut parts: BTreeMap<Uuid, Vec<Part>> = BTreeMap::new();
        for row in rows(of).await {
            parts.entry(row.get(0)).or_default().push(serde_json::from_value(row.get(1)).expect("a part"));
        }
        Self { audit, snapshots, restores, members, slots, parts }
    }

    fn lines<'a>(&'a self, action: &'a str, subject: &'a str) -> impl Iterator<Item = &'a Line> {
        self.audit.iter().filter(move |line| line.action == action && line.subject == subject)
    }

    /// One row for each change of state, and none for what didn't happen.
    fn states_and_audit_agree(&self, wrong: &mut Vec<String>) {
        let mut expect = |action: &str, subject: &str, times: usize| {
            let found = self.lines(action, subject).count();
            if found != times {
                wrong.push(format!("expected {times} rows {action} of {subject} in the audit, found {found}"));
            }
        };
        for snapshot in &self.snapshots {
            let (id, state) = (text(snapshot, "id"), text(snapshot, "state"));
            let was = |field: &str| usize::from(!snapshot[field].is_null());
            let (aborted, deleting) = (was("abort"), usize::from(matches!(state, "deleting" | "deleted")));
            let committed = usize::from(matches!(state, "committed" | "deleting" | "deleted") && aborted == 0);
            expect("snapshot.requested", id, 1);
            expect("snapshot.recording", id, was("recording_at"));
            expect("snapshot.committing", id, was("committing_at"));
            expect("snapshot.committed", id, committed);
            expect("snapshot.aborted", id, aborted);
            expect("snapshot.deleting", id, deleting);
            expect("snapshot.deleted", id, usize::from(state == "deleted"));
        }
        for restore in &self.restores {
            let (id, state) = (text(restore, "id"), text(restore, "state"));
            expect("restore.resuming", id, usize::from(!restore["resumed_at"].is_null()));
            expect("restore.completed", id, usize::from(state == "completed"));
            expect("restore.failed", id, usize::from(state == "failed"));
        }
        for member in &self.members {
            let (name, is_lost) = (text(member, "name"), member["state"] == "lost");
            // No line without a change: they take turns.
            let turns: Vec<&str> =
                self.audit.iter().filter(|line| line.subject == name).map(|line| line.action.as_str()).collect();
            let mut lost = false;
            for action in turns {
                match (action, lost) {
                    ("member.lost", false) => lost = true,
                    ("member.returned" | "member.registered", _) => lost = false,
                    ("member.lost", true) => wrong.push(format!("{name} was lost twice in a row")),
                    _ => {}
                }
            }
            if lost != is_lost {
                wrong.push(format!("{name} is lost: {is_lost}; by the audit: {lost}"));
            }
        }
    }

    fn committed_and_aborted_exclude_each_other(&self, wrong: &mut Vec<String>) {
        for snapshot in &self.snapshots {
            let id = text(snapshot, "id");
            if self.lines("snapshot.committed", id).count() + self.lines("snapshot.aborted", id).count() > 1 {
                wrong.push(format!("snapshot {id} ended more than once"));
            }
        }
    }

    fn numbers_are_used_once(&self, wrong: &mut Vec<String>) {
        let mut used = BTreeSet::new();
        let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
        for Line { seq, action, subject, detail } in &self.audit {
            let number = |field: &str| detail[field].as_u64().unwrap_or_default();
            let is_new = match action.as_str() {
                "snapshot.recording" => used.insert(("epoch", String::new(), number("epoch"))),
                "restore.planned" => used.insert(("generation", String::new(), number("generation"))),
                "member.registered" => {
                    let before = highest.insert(subject, number("incarnation"));
                    before.is_none_or(|before| before < number("incarnation"))
                }
                _ => true,
            };
            if !is_new {
                wrong.push(format!("a number is used twice: {seq}. {action} {subject} {detail}"));
            }
        }
        for member in &self.members {
            let (name, incarnation) = (text(member, "name"), member["incarnation"].as_u64());
            if highest.get(name).copied() != incarnation {
                wrong.push(format!("{name} has incarnation {incarnation:?}, the last that was given is {:?}", highest.get(name)));
            }
        }
    }

    /// When a restore was planned and when it ended, by the audit.
    fn time_of(&self, restore: &Value) -> (i64, i64) {
        let id = text(restore, "id");
        let begun = self.lines("restore.planned", id).next().map_or(i64::MAX, |line| line.seq);
        let mut ends = self.lines("restore.completed", id).chain(self.lines("restore.failed", id));
        (begun, ends.next().map_or(i64::MAX, |line| line.seq))
    }

    fn one_restore_at_a_time(&self, wrong: &mut Vec<String>) {
        let mut times: Vec<(i64, i64)> = self.restores.iter().map(|restore| self.time_of(restore)).collect();
        times.sort_unstable();
        if times.iter().any(|(begun, _)| *begun == i64::MAX) {
            wrong.push(format!("a restore was never planned: {times:?}"));
        }
        if times.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            wrong.push(format!("two restores at once, from row to row of the audit: {times:?}"));
        }
    }

    fn nothing_is_deleted_under_a_restore(&self, wrong: &mut Vec<String>) {
        for restore in &self.restores {
            let (begun, ended) = self.time_of(restore);
            let snapshot = text(restore, "snapshot");
            if self.lines("snapshot.deleting", snapshot).any(|line| line.seq < ended) {
                wrong.push(format!("snapshot {snapshot} was deleted before its restore ({begun} to {ended}) ended"));
            }
        }
    }

    fn one_snapshot_for_a_slot(&self, wrong: &mut Vec<String>) {
        let slots: Vec<&str> = self.slots.iter().map(|slot| text(slot, "snapshot")).filter(|id| !id.is_empty()).collect();
        let scheduled = self.snapshots.iter().filter(|snapshot| snapshot["trigger"]["kind"] == "schedule");
        let scheduled: BTreeSet<&str> = scheduled.map(|snapshot| text(snapshot, "id")).collect();
        if slots.len() != scheduled.len() || slots.into_iter().collect::<BTreeSet<_>>() != scheduled {
            wrong.push(format!("slots {:?} have the snapshots {scheduled:?}", self.slots));
        }
    }

    /// Whatever counted as complete has exactly one part of each member of its view, captured by that incarnation in that generation.
    fn parts_are_those_of_the_view(&self, wrong: &mut Vec<String>) {
        for snapshot in &self.snapshots {
            let id = text(snapshot, "id");
            let generation = snapshot["generation"].as_u64().unwrap_or_default();
            let view: BTreeMap<&str, Option<u64>> =
                snapshot["view"].as_object().into_iter().flatten().map(|(name, n)| (name.as_str(), n.as_u64())).collect();
            let parts = self.parts.get(&id.parse().expect("an id")).map(Vec::as_slice).unwrap_or_default();
            for part in parts {
                let (member, incarnation) = (part.member.as_str(), part.incarnation.0);
                let expected = format!("{member}.{incarnation}@{generation}");
                let found: Vec<String> = part
                    .objects
                    .iter()
                    .map(|object| match &object.place {
                        Place::Inline(content) => String::from_utf8_lossy(content).into_owned(),
                        Place::Key(key) => key.to_string(),
                    })
                    .collect();
                if view.get(member) != Some(&Some(incarnation)) || found != [expected.clone()] {
                    wrong.push(format!("snapshot {id} took {found:?}, captured elsewhere than {expected} of the view {view:?}"));
                }
            }
            let rejected = snapshot["abort"]["reason"] == "certificate_rejected";
            let ended_as_complete = !snapshot["committing_at"].is_null() || rejected;
            if ended_as_complete && parts.len() != view.len() {
                wrong.push(format!("snapshot {id} counted as complete with {} of {} parts", parts.len(), view.len()));
            }
            if snapshot["state"] == "recording" && parts.len() == view.len() {
                wrong.push(format!("snapshot {id} has all its parts and nobody takes it forward"));
            }
        }
    }

    /// Restorable if and only if committed.
    async fn committed_verify(&self, field: &Field, cluster: &ClusterName, wrong: &mut Vec<String>) {
        for snapshot in &self.snapshots {
            let id = SnapshotId(text(snapshot, "id").parse().expect("an id"));
            let state = text(snapshot, "state");
            if state == "committed" {
                if let Err(error) = field.archive.verify_snapshot(cluster, id).await {
                    wrong.push(format!("committed snapshot {id} does not verify: {error}"));
                }
            } else if matches!(state, "pending" | "recording" | "aborted") {
                let has_manifest = field.archive.has_manifest(cluster, id).await.expect("an answer");
                wrong.extend(has_manifest.then(|| format!("snapshot {id} is {state} and has a manifest")));
            }
        }
    }
}
