//! Which committed snapshots are kept, and why; holds.
//!
//! A snapshot goes only if no rule keeps it, so one more rule never lets anything go. Hours, days and weeks are those of UTC: they have no
//! gaps and no repeats, and mean the same to every replica. A bucket without a snapshot doesn't count, so an outage uses none up.

use std::collections::BTreeMap;

use jiff::{
    SignedDuration, Timestamp, ToSpan, Unit,
    civil::{Time, Weekday},
    tz::TimeZone,
};
use serde_json::json;
use stillframe_api::{
    retention::{Keep, MAX_HOLDS, Retention},
    snapshot::SnapshotState,
};
use stillframe_protocol::{HoldId, RestoreId, SnapshotId};

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::{CommittedFacts, HoldFacts, KeptFacts},
};

/// Whether a snapshot is kept: the reasons, none when it may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Why it is kept; empty when it goes.
    pub keep: Vec<Keep>,
}

/// What needs snapshots, whatever a retention says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needed {
    /// The one that a rollback goes back to.
    pub latest: Option<SnapshotId>,
    /// The restore under way. It may come to need any.
    pub restore: Option<RestoreId>,
}

/// Judges the committed snapshots of a cluster; the verdicts are in their order, oldest first. Nothing is judged unless the facts have them.
#[must_use]
pub fn verdicts(facts: &Facts) -> Vec<Verdict> {
    let Some(kept) = &facts.kept else { return Vec::new() };
    let restore = facts.restore.as_ref().filter(|restore| !restore.state.has_ended()).map(|restore| restore.id);
    let needed = Needed { latest: facts.cluster.latest_committed, restore };
    judge(facts.cluster.retention.as_ref(), kept, needed, facts.now)
}

/// Judges committed snapshots, given oldest first.
#[must_use]
pub fn judge(retention: Option<&Retention>, kept: &KeptFacts, needed: Needed, now: Timestamp) -> Vec<Verdict> {
    let committed = &kept.committed;
    let mut verdicts: Vec<Verdict> =
        committed.iter().map(|c| Verdict { snapshot: c.id, keep: standing(c, kept, needed, now) }).collect();
    let Some(retention) = retention else {
        for verdict in &mut verdicts {
            verdict.keep.push(Keep::NoRetention);
        }
        return verdicts;
    };
    let newest = |n: u32| committed.len().saturating_sub(n as usize)..committed.len();
    for verdict in &mut verdicts[newest(retention.floor)] {
        verdict.keep.push(Keep::Floor);
    }
    if let Some(n) = retention.keep_last {
        for verdict in &mut verdicts[newest(n)] {
            verdict.keep.push(Keep::Last);
        }
    }
    if let Some(age) = retention.keep_for {
        let age = SignedDuration::try_from(age.get()).unwrap_or(SignedDuration::MAX);
        // Kept when the bound is no time at all: nothing is that old.
        let bound = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        for (verdict, _) in verdicts.iter_mut().zip(committed).filter(|(_, c)| c.recording_at >= bound) {
            verdict.keep.push(Keep::Age);
        }
    }
    let mut bucketed = |n: Option<u32>, begin: fn(Timestamp) -> Timestamp, reason: fn(Timestamp) -> Keep| {
        let Some(n) = n else { return };
        // Later ones replace earlier ones of the same bucket.
        let newest: BTreeMap<Timestamp, usize> = committed.iter().enumerate().map(|(i, c)| (begin(c.recording_at), i)).collect();
        for (bucket, index) in newest.into_iter().rev().take(n as usize) {
            verdicts[index].keep.push(reason(bucket));
        }
    };
    bucketed(retention.hourly, hour, |of| Keep::Hourly { of });
    bucketed(retention.daily, day, |of| Keep::Daily { of });
    bucketed(retention.weekly, week, |of| Keep::Weekly { of });
    verdicts
}

/// What keeps a snapshot whatever a retention says: somebody's hold, a rollback, a restore.
#[must_use]
pub fn standing(committed: &CommittedFacts, kept: &KeptFacts, needed: Needed, now: Timestamp) -> Vec<Keep> {
    let mut keep: Vec<Keep> = kept
        .holds
        .iter()
        .filter(|hold| hold.snapshot == committed.id && holds_at(hold, now))
        .map(|hold| Keep::Held { hold: hold.id, owner: hold.owner.clone(), reason: hold.reason.clone() })
        .collect();
    if needed.latest == Some(committed.id) {
        keep.push(Keep::LatestCommitted);
    }
    keep.extend(needed.restore.map(|restore| Keep::RestoreUnderWay { restore }));
    keep
}

/// Whether a hold holds at this time.
#[must_use]
pub fn holds_at(hold: &HoldFacts, now: Timestamp) -> bool {
    hold.expires_at.is_none_or(|expires_at| now < expires_at)
}

fn hour(at: Timestamp) -> Timestamp {
    at.round(jiff::TimestampRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Floor)).unwrap_or(at)
}

fn day(at: Timestamp) -> Timestamp {
    civil_midnight(at, 0)
}

fn week(at: Timestamp) -> Timestamp {
    civil_midnight(at, i64::from(at.to_zoned(TimeZone::UTC).weekday().since(Weekday::Monday)))
}

/// The midnight that began the day so many days before.
fn civil_midnight(at: Timestamp, days_before: i64) -> Timestamp {
    let date = at.to_zoned(TimeZone::UTC).date();
    let date = date.checked_sub(days_before.days()).unwrap_or(date);
    date.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC).map_or(at, |zoned| zoned.timestamp())
}

/// Sets a cluster's retention, or takes it away. What it lets go is decided when it is carried out, not here.
#[must_use]
pub fn set(facts: &Facts, occasion: &Occasion, retention: Option<Retention>) -> Decision {
    if facts.cluster.retention == retention {
        return Decision::nothing(facts);
    }
    let mut draft = Draft::new(facts, occasion);
    let cluster = draft.next.cluster.name.clone();
    draft.audit("retention.set", cluster, json!({ "retention": retention, "was": facts.cluster.retention }));
    draft.next.cluster.retention = retention;
    draft.decide()
}

/// What a hold is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    /// Its id.
    pub id: HoldId,
    /// Who holds.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// For how long; until it is removed unless told.
    pub expires_in: Option<SignedDuration>,
}

/// Holds a snapshot that is committed or may come to be.
///
/// # Errors
/// When there is no such snapshot, it has ended otherwise, or it has too many holds.
pub fn hold(facts: &Facts, occasion: &Occasion, snapshot: SnapshotId, new: NewHold) -> Result<Decision, Refusal> {
    let Some(found) = facts.snapshot(snapshot) else {
        return Err(Refusal::UnknownSnapshot { cluster: facts.cluster.name.clone(), snapshot });
    };
    match found.state {
        SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing | SnapshotState::Committed => {}
        state @ (SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted) => {
            return Err(Refusal::NothingToHold { snapshot, state });
        }
    }
    let mut draft = Draft::new(facts, occasion);
    let now = draft.now();
    let NewHold { id, owner, reason, expires_in } = new;
    let expires_at = expires_in.map(|length| now.checked_add(length).unwrap_or(Timestamp::MAX));
    let kept = draft.next.kept.get_or_insert_default();
    // Made by an earlier attempt under the same idempotency key.
    if kept.holds.iter().any(|hold| hold.id == id) {
        return Ok(Decision::nothing(facts));
    }
    if kept.holds.iter().filter(|hold| hold.snapshot == snapshot).count() >= MAX_HOLDS {
        return Err(Refusal::TooManyHolds { snapshot, limit: MAX_HOLDS });
    }
    let detail = json!({ "hold": id, "owner": owner, "reason": reason, "expires_at": expires_at });
    kept.holds.push(HoldFacts { id, snapshot, owner, reason, created_at: now, expires_at });
    draft.audit("snapshot.held", snapshot, detail);
    Ok(draft.decide())
}

/// Removes a hold.
///
/// # Errors
/// When there is none of that id on that snapshot.
pub fn release(facts: &Facts, occasion: &Occasion, snapshot: SnapshotId, id: HoldId) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(facts, occasion);
    let kept = draft.next.kept.get_or_insert_default();
    let Some(index) = kept.holds.iter().position(|hold| hold.id == id && hold.snapshot == snapshot) else {
        return Err(Refusal::UnknownHold { snapshot, hold: id });
    };
    let HoldFacts { owner, reason, .. } = kept.holds.remove(index);
    draft.audit("snapshot.released", snapshot, json!({ "hold": id, "owner": owner, "reason": reason }));
    Ok(draft.decide())
}
