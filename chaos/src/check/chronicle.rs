//! What the audit tells of the past: no number is used twice, no snapshot ends twice, and nothing that was held is deleted. The audit has every
//! change in the order in which it was made, so nothing that happened between two looks is missed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stillframe_api::{
    Client,
    audit::{AuditRow, ListAudit},
};
use stillframe_protocol::ClusterName;

/// How many rows are asked for at once.
const PAGE: u32 = 500;

/// How a snapshot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Committed,
    Aborted,
}

/// What is remembered of the audit, over the loss of its database too.
#[derive(Debug, Default)]
pub struct Chronicle {
    /// The number and the time of the newest row that was read.
    newest: Option<(u64, Timestamp)>,
    /// Which snapshot has an epoch.
    epochs: BTreeMap<u64, String>,
    /// Which restore has a generation.
    generations: BTreeMap<u64, String>,
    /// The newest incarnation of a member.
    incarnations: BTreeMap<String, u64>,
    ends: BTreeMap<String, End>,
    /// The holds on a snapshot, and when each expires.
    holds: BTreeMap<String, BTreeMap<String, Option<Timestamp>>>,
    /// Snapshots that slots of schedules took, by their schedule.
    pub fired: BTreeMap<String, String>,
    /// What mustn't be.
    pub violations: Vec<String>,
}

impl Chronicle {
    /// Reads what was added since the last time.
    ///
    /// # Errors
    /// When it can't be read, or a row is missing.
    pub async fn read(&mut self, client: &Client, cluster: &ClusterName) -> Result<(), String> {
        let since = self.newest.map(|(_, at)| at);
        let mut query = ListAudit { cluster: Some(cluster.clone()), since, limit: Some(PAGE), ..ListAudit::default() };
        let mut rows = Vec::new();
        loop {
            let page = client.list_audit(&query).await.map_err(|error| format!("the audit can't be listed: {error}"))?;
            rows.extend(page.items);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        // Newest first, as they are listed; those of the newest time were read already.
        rows.sort_by_key(|row| row.seq);
        for row in &rows {
            self.add(row);
        }
        Ok(())
    }

    /// The database with the audit is gone: a new chain begins. Numbers, ends and what they belong to are remembered.
    pub fn forget_the_chain(&mut self) {
        self.newest = None;
        self.holds.clear();
        self.fired.clear();
    }

    /// Adds the next row of the chain; those that were added already change nothing.
    pub fn add(&mut self, row: &AuditRow) {
        let before = self.newest.map_or(0, |(seq, _)| seq);
        if row.seq <= before {
            return;
        }
        if row.seq != before + 1 {
            self.violations.push(format!("the audit goes from row {before} to row {}", row.seq));
        }
        self.newest = Some((row.seq, row.at));
        let detail: serde_json::Value = serde_json::from_str(&row.detail).unwrap_or_default();
        let number = |name: &str| detail.get(name).and_then(serde_json::Value::as_u64);
        match row.action.as_str() {
            "member.registered" => self.registers(row, number("incarnation")),
            "restore.planned" => {
                take(&mut self.generations, "generation", "restores", number("generation"), row, &mut self.violations)
            }
            "snapshot.recording" => take(&mut self.epochs, "epoch", "snapshots", number("epoch"), row, &mut self.violations),
            "snapshot.requested" => {
                if let Some(schedule) = row.actor.strip_prefix("schedule:") {
                    self.fired.insert(row.subject.clone(), schedule.to_owned());
                }
            }
            "snapshot.committed" => self.ends(row, End::Committed),
            "snapshot.aborted" => self.ends(row, End::Aborted),
            // What the bucket proves was committed, whatever a database without it says.
            "snapshot.taken_up" => drop(self.ends.insert(row.subject.clone(), End::Committed)),
            "snapshot.held" => {
                let expires = detail.get("expires_at").and_then(|at| at.as_str()).and_then(|at| at.parse().ok());
                self.holds.entry(row.subject.clone()).or_default().insert(text(&detail, "hold"), expires);
            }
            "snapshot.released" => {
                if let Some(holds) = self.holds.get_mut(&row.subject) {
                    holds.remove(&text(&detail, "hold"));
                }
            }
            "snapshot.deleting" => self.goes(row),
            _ => {}
        }
    }

    fn registers(&mut self, row: &AuditRow, incarnation: Option<u64>) {
        let Some(incarnation) = incarnation else { return };
        let before = self.incarnations.insert(row.subject.clone(), incarnation).unwrap_or(0);
        if incarnation <= before {
            self.violations.push(format!("{} was incarnation {before} and registered as {incarnation}", row.subject));
        }
    }

    fn ends(&mut self, row: &AuditRow, end: End) {
        if let Some(before) = self.ends.insert(row.subject.clone(), end) {
            self.violations.push(format!("snapshot {} ended twice: {before:?}, then {end:?}", row.subject));
        }
    }

    fn goes(&mut self, row: &AuditRow) {
        let holds = self.holds.remove(&row.subject).unwrap_or_default();
        // A hold counts by the clock of the transaction, which is before the row's time.
        let held: BTreeSet<_> =
            holds.iter().filter(|(_, until)| until.is_none_or(|until| until > row.at)).map(|(id, _)| id).collect();
        if !held.is_empty() {
            self.violations.push(format!("snapshot {} is deleted, and was held: {held:?}", row.subject));
        }
    }

    /// Compares the slots that the schedules decided with the snapshots that they took: each slot took one at most, and each was taken for one.
    pub fn slots_fired_once(&mut self, slots: &[Slot]) {
        let mut taken: BTreeMap<&str, &Slot> = BTreeMap::new();
        let mut at: BTreeMap<(&str, &str), &Slot> = BTreeMap::new();
        for slot in slots {
            if let Some(other) = taken.insert(&slot.snapshot, slot) {
                self.violations.push(format!("snapshot {} was taken for two slots, {} and {}", slot.snapshot, other.at, slot.at));
            }
            if let Some(other) = at.insert((&slot.schedule, &slot.at), slot) {
                let (schedule, at) = (&slot.schedule, &slot.at);
                self.violations.push(format!("slot {at} of {schedule} fired twice: {} and {}", other.snapshot, slot.snapshot));
            }
        }
        for (snapshot, schedule) in &self.fired {
            if !taken.contains_key(snapshot.as_str()) {
                self.violations.push(format!("{schedule} took snapshot {snapshot}, and no slot of it did"));
            }
        }
        // Each is looked at once: slots are forgotten by and by.
        self.fired.clear();
    }
}

/// A slot of a schedule that took a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The schedule.
    pub schedule: String,
    /// When it was due.
    pub at: String,
    /// The snapshot.
    pub snapshot: String,
}

fn text(detail: &serde_json::Value, name: &str) -> String {
    detail.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn take(
    taken: &mut BTreeMap<u64, String>,
    what: &str,
    of: &str,
    number: Option<u64>,
    row: &AuditRow,
    violations: &mut Vec<String>,
) {
    let Some(number) = number else { return };
    if taken.last_key_value().is_some_and(|(newest, _)| number < *newest) {
        violations.push(format!("{what} {number} of {} comes after a higher one", row.subject));
    }
    if let Some(other) = taken.insert(number, row.subject.clone())
        && (other != row.subject || what == "epoch")
    {
        violations.push(format!("{of} {other} and {} both have {what} {number}", row.subject));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: i64 = 3_600;

    /// What is found wrong in a chain of rows, which are numbered here and a second apart.
    fn found(rows: &[(&str, &str, serde_json::Value)]) -> Vec<String> {
        let mut chronicle = Chronicle::default();
        add(&mut chronicle, rows);
        chronicle.violations
    }

    fn add(chronicle: &mut Chronicle, rows: &[(&str, &str, serde_json::Value)]) {
        for (seq, (action, subject, detail)) in (1..).zip(rows) {
            chronicle.add(&row(seq, action, subject, detail));
        }
    }

    fn row(seq: u64, action: &str, subject: &str, detail: &serde_json::Value) -> AuditRow {
        let at = Timestamp::from_second(HOUR + i64::try_from(seq).expect("a small number")).expect("a time");
        serde_json::from_value(json!({
            "cluster": "bank", "seq": seq, "at": at, "actor": "schedule:often", "action": action, "subject": subject, "detail": detail,
            "reason": null, "request_id": null, "prev_hash": "", "hash": ""
        }))
        .expect("a row")
    }

    #[test]
    fn a_past_as_it_should_be_is_no_violation() {
        let rows = [
            ("member.registered", "m1", json!({ "incarnation": 1 })),
            ("snapshot.requested", "s1", json!({})),
            ("snapshot.recording", "s1", json!({ "epoch": 1 })),
            ("snapshot.committed", "s1", json!({ "epoch": 1 })),
            ("snapshot.held", "s1", json!({ "hold": "h", "expires_at": null })),
            ("member.registered", "m1", json!({ "incarnation": 2 })),
            ("restore.planned", "r1", json!({ "generation": 1 })),
            ("restore.planned", "r1", json!({ "generation": 1 })),
            ("restore.planned", "r1", json!({ "generation": 2 })),
            ("snapshot.released", "s1", json!({ "hold": "h" })),
            ("snapshot.deleting", "s1", json!({})),
        ];
        assert_eq!(found(&rows), Vec::<String>::new());
    }

    #[test]
    fn a_number_used_twice_is_found_whether_in_one_database_or_in_the_next() {
        let of = |action: &'static str, name: &str, subjects: [&'static str; 2], numbers: [u64; 2]| {
            [0, 1].map(|n| (action, subjects[n], json!({ name: numbers[n] })))
        };
        for rows in [
            of("member.registered", "incarnation", ["m1", "m1"], [4, 4]),
            of("member.registered", "incarnation", ["m1", "m1"], [4, 3]),
            of("snapshot.recording", "epoch", ["s1", "s2"], [4, 4]),
            of("snapshot.recording", "epoch", ["s1", "s2"], [4, 3]),
            of("restore.planned", "generation", ["r1", "r2"], [4, 4]),
            of("restore.planned", "generation", ["r1", "r2"], [4, 3]),
        ] {
            assert_ne!(found(&rows), Vec::<String>::new(), "{rows:?}");
            let mut chronicle = Chronicle::default();
            add(&mut chronicle, &rows[..1]);
            chronicle.forget_the_chain();
            add(&mut chronicle, &rows[1..]);
            assert_ne!(chronicle.violations, Vec::<String>::new(), "{rows:?}");
        }
    }

    #[test]
    fn a_snapshot_that_ends_twice_is_found() {
        let found = found(&[("snapshot.aborted", "s1", json!({})), ("snapshot.committed", "s1", json!({}))]);
        assert_eq!(found, ["snapshot s1 ended twice: Aborted, then Committed"]);
    }

    #[test]
    fn the_deletion_of_a_snapshot_that_is_held_is_found_and_that_of_one_whose_hold_expired_is_fine() {
        let deleted = |expires: Option<i64>| {
            let expires = expires.map(|at| Timestamp::from_second(at).expect("a time"));
            found(&[
                ("snapshot.held", "s1", json!({ "hold": "h", "expires_at": expires })),
                ("snapshot.deleting", "s1", json!({})),
            ])
        };
        assert_eq!(deleted(None).len(), 1);
        assert_eq!(deleted(Some(HOUR + 60)).len(), 1);
        assert_eq!(deleted(Some(HOUR + 1)).len(), 0);
    }

    #[test]
    fn a_missing_row_is_found() {
        let mut chronicle = Chronicle::default();
        chronicle.add(&row(1, "x", "y", &json!({})));
        chronicle.add(&row(3, "x", "y", &json!({})));
        assert_eq!(chronicle.violations, ["the audit goes from row 1 to row 3"]);
    }

    #[test]
    fn a_slot_that_fires_twice_is_found() {
        let slot = |at: &str, snapshot: &str| Slot { schedule: "often".into(), at: at.into(), snapshot: snapshot.into() };
        let fired = |slots: &[Slot]| {
            let mut chronicle = Chronicle::default();
            add(&mut chronicle, &[("snapshot.requested", "s1", json!({})), ("snapshot.requested", "s2", json!({}))]);
            chronicle.slots_fired_once(slots);
            chronicle.violations.len()
        };
        assert_eq!(fired(&[slot("1", "s1"), slot("2", "s2")]), 0);
        assert_eq!(fired(&[slot("1", "s1"), slot("1", "s2")]), 1, "two snapshots for one slot");
        assert_eq!(fired(&[slot("1", "s1"), slot("2", "s1"), slot("3", "s2")]), 1, "one snapshot for two slots");
        assert_eq!(fired(&[slot("1", "s1")]), 1, "a snapshot that no slot took");
    }
}
