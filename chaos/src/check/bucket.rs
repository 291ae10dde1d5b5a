//! The archive alone: every committed snapshot verifies and adds up, and nothing is left without an owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use stillframe_api::snapshot::SnapshotState;
use stillframe_archive::Archive;
use stillframe_bank::audit::{Audit, audit};
use stillframe_protocol::SnapshotId;

use super::{History, within_bound};
use crate::stage::Stage;

/// Verifies the committed snapshots that weren't yet, or all of them, and adds up the money in each. Gives how many were verified for the
/// first time.
pub async fn committed_verify(stage: &Stage, history: &mut History, all: bool) -> usize {
    let archive = stage.bucket.archive().await;
    let mut verified = 0;
    let mut violations = Vec::new();
    for (id, seen) in &mut history.snapshots {
        if seen.state != SnapshotState::Committed || (seen.manifest.is_some() && !all) {
            continue;
        }
        match verify(stage, &archive, *id).await {
            Ok(digest) if seen.manifest.is_some_and(|before| before != digest) => {
                violations.push(format!("the manifest of snapshot {id} has other bytes than before"));
            }
            Ok(digest) => {
                verified += usize::from(seen.manifest.replace(digest).is_none());
            }
            // Deleted since it was listed: what is being deleted is no violation.
            Err(_) if is_gone(stage, *id).await => {}
            Err(violation) => violations.push(format!("committed snapshot {id}: {violation}")),
        }
    }
    history.violations.extend(violations);
    verified
}

/// The snapshots whose manifests are in the bucket.
pub async fn proved(stage: &Stage) -> BTreeSet<SnapshotId> {
    let manifests = stage.bucket.keys("/manifest.json").await;
    manifests.iter().filter_map(|key| key.split('/').nth(3)?.parse().ok()).collect()
}

async fn is_gone(stage: &Stage, id: SnapshotId) -> bool {
    let now = stage.client(0).snapshot(id).await;
    now.is_ok_and(|snapshot| matches!(snapshot.state, SnapshotState::Deleting | SnapshotState::Deleted))
}

async fn verify(stage: &Stage, archive: &Archive, id: SnapshotId) -> Result<blake3::Hash, String> {
    let verified = archive.verify_snapshot(&stage.cluster, id).await.map_err(|error| error.to_string())?;
    let sum = audit(archive, &verified.manifest).await.map_err(|error| error.to_string())?;
    conserved(&sum, stage.money())?;
    if sum.messages_in_flight != verified.messages_in_flight {
        return Err(format!(
            "{} messages are recorded, the certificate says {}",
            sum.messages_in_flight, verified.messages_in_flight
        ));
    }
    let key = format!("clusters/{}/snapshots/{id}/manifest.json", stage.cluster);
    Ok(blake3::hash(&stage.bucket.try_read(&key).await?))
}

/// Whether a snapshot holds all the money there is.
fn conserved(sum: &Audit, expected: u64) -> Result<(), String> {
    let found = sum.total();
    if found == expected { Ok(()) } else { Err(format!("expected {expected} in all, found {found}: {sum:?}")) }
}

/// An upload that came to its end after its snapshot was aborted or deleted is left to the second sweep, which is to be over after so long. The
/// replicas are told 20 s.
const LATE: Duration = Duration::from_secs(60);

/// What a listed time may be short of the real one: some stores keep whole seconds only.
const COARSE_MS: i64 = 1_000;

/// The keys in the bucket, and when each was written, by their snapshot.
async fn keys(stage: &Stage) -> BTreeMap<String, BTreeMap<String, i64>> {
    let mut keys: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    // Floors belong to the cluster, and stay.
    for (key, written_at_ms) in stage.bucket.written("/snapshots/").await {
        let snapshot = key.split('/').nth(3).unwrap_or_default().to_owned();
        keys.entry(snapshot).or_default().insert(key, written_at_ms);
    }
    keys
}

/// The keys that a committed snapshot owns.
async fn owned(stage: &Stage, archive: &Archive, id: SnapshotId) -> Result<BTreeSet<String>, String> {
    let manifest = archive.read_manifest(&stage.cluster, id).await.map_err(|error| error.to_string())?;
    let objects = manifest.parts.iter().flat_map(|part| &part.objects);
    let mut owned: BTreeSet<String> = objects.filter_map(|object| object.key().map(ToString::to_string)).collect();
    owned.insert(format!("clusters/{}/snapshots/{id}/manifest.json", stage.cluster));
    Ok(owned)
}

/// Waits until nothing in the bucket is without an owner: each object is named by the manifest of a committed snapshot, or is its manifest, or
/// belongs to a snapshot that is being taken; and no upload in pieces was given up. Gives how many objects were uploaded after their snapshot had been
/// aborted and aren't swept yet, which is fine for a while, unless `all` is asked for.
///
/// # Errors
/// When something stays.
pub async fn nothing_without_owner(stage: &Stage, history: &mut History, all: bool) -> Result<usize, String> {
    let archive = stage.bucket.archive().await;
    let there: BTreeSet<String> = stage.store.unfinished_pieces().into_keys().collect();
    // Snapshots are deleted all the time: what is without an owner now is to go, whatever is on its way out by then.
    let mut left: Option<BTreeSet<String>> = None;
    within_bound("nothing in the bucket is without an owner", async || {
        // First the bucket, then the catalog: what was there has its row by then.
        let keys = keys(stage).await;
        let pieces = stage.store.unfinished_pieces();
        history.update(&stage.client(0), &stage.cluster).await?;
        let mut owned_by = BTreeMap::new();
        for snapshot in keys.keys().filter_map(|snapshot| snapshot.parse().ok()) {
            if history.snapshots.get(&snapshot).is_some_and(|seen| seen.state == SnapshotState::Committed) {
                owned_by.insert(snapshot, owned(stage, &archive, snapshot).await?);
            }
        }
        let (mut orphans, late) = ownerless(&keys, history, &owned_by, now_ms(), all);
        orphans.extend(given_up(&pieces, &there, SystemTime::from(jiff::Timestamp::now()), all));
        let left = still_there(&mut left, orphans);
        if left.is_empty() { Ok(late) } else { Err(left.iter().map(String::as_str).collect::<Vec<_>>().join(", ")) }
    })
    .await
}

/// What was found the first time and every time since.
fn still_there(left: &mut Option<BTreeSet<String>>, found: Vec<String>) -> &BTreeSet<String> {
    let found: BTreeSet<String> = found.into_iter().collect();
    let left = left.get_or_insert_with(|| found.clone());
    left.retain(|orphan| found.contains(orphan));
    left
}

/// What in a list of the bucket nobody owns, and how many objects came too late and may stay for a while.
fn ownerless(
    keys: &BTreeMap<String, BTreeMap<String, i64>>,
    history: &History,
    owned_by: &BTreeMap<SnapshotId, BTreeSet<String>>,
    now_ms: i64,
    all: bool,
) -> (Vec<String>, usize) {
    let (mut orphans, mut late) = (Vec::new(), 0);
    for (snapshot, keys) in keys {
        let id = snapshot.parse::<SnapshotId>().ok();
        let state = id.and_then(|id| history.snapshots.get(&id)).map(|seen| seen.state);
        let what_and_since = match (id, state) {
            (Some(_), Some(SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing)) => continue,
            (Some(id), Some(SnapshotState::Committed)) => {
                let foreign = keys.keys().filter(|key| !owned_by.get(&id).is_some_and(|owned| owned.contains(*key)));
                orphans.extend(foreign.map(|key| format!("{key} (not in the manifest)")));
                continue;
            }
            (Some(_), Some(SnapshotState::Deleting)) => ("its snapshot has ended", None),
            (Some(id), Some(SnapshotState::Aborted)) => {
                ("its snapshot has ended", history.snapshots.get(&id).and_then(|seen| seen.ended_at_ms))
            }
            (Some(id), Some(SnapshotState::Deleted)) => {
                ("its snapshot has ended", history.snapshots.get(&id).and_then(|seen| seen.ended_at_ms))
            }
            // The database that knew it is lost: whatever it left is swept once it is as old as the grace period.
            (Some(id), None) if history.forgotten.contains_key(&id) => ("lost with its database", Some(i64::MIN)),
            (_, None) | (None, Some(_)) => ("no such snapshot", None),
        };
        for (key, written_at_ms) in keys {
            let (what, since) = what_and_since;
            let may_stay = !all && is_late(since, *written_at_ms, now_ms);
            late += usize::from(may_stay);
            if !may_stay {
                orphans.push(format!("{key} ({what})"));
            }
        }
    }
    (orphans, late)
}

/// The uploads in pieces that nobody goes on with. Those that were `there` must go, in the end at once, else when no piece has come for long.
fn given_up(pieces: &BTreeMap<String, SystemTime>, there: &BTreeSet<String>, now: SystemTime, all: bool) -> Vec<String> {
    let old = |last: &SystemTime| now.duration_since(*last).is_ok_and(|age| age > LATE);
    let stays = pieces.iter().filter(|(upload, last)| there.contains(*upload) && (all || old(last)));
    stays.map(|(upload, _)| format!("the pieces of the unfinished upload {upload}")).collect()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Whether an object was written after its snapshot had ended, not long ago.
fn is_late(ended_at_ms: Option<i64>, written_at_ms: i64, now_ms: i64) -> bool {
    let limit_ms = i64::try_from(LATE.as_millis()).unwrap_or(i64::MAX);
    ended_at_ms.is_some_and(|ended| written_at_ms.saturating_add(COARSE_MS) >= ended && now_ms - written_at_ms < limit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::history::Seen;

    const ID: &str = "00000000-0000-7000-8000-000000000001";
    const NOW_MS: i64 = 1_000_000;
    const LONG_AGO_MS: i64 = 10_000;

    /// How many objects nobody owns, when there is one of a snapshot in this state that ended long ago.
    fn found(state: Option<SnapshotState>, written_at_ms: i64, all: bool) -> usize {
        let mut history = History::default();
        let id: SnapshotId = ID.parse().expect("an id");
        if let Some(state) = state {
            let seen = Seen { state, epoch: None, abort: None, ended_at_ms: Some(LONG_AGO_MS), manifest: None };
            history.snapshots.insert(id, seen);
        }
        let keys = BTreeMap::from([(ID.to_owned(), BTreeMap::from([("key".to_owned(), written_at_ms)]))]);
        let owned_by = BTreeMap::from([(id, BTreeSet::from(["another key".to_owned()]))]);
        ownerless(&keys, &history, &owned_by, NOW_MS, all).0.len()
    }

    #[test]
    fn an_object_that_nobody_owns_is_found() {
        assert_eq!(found(None, NOW_MS, false), 1, "of no snapshot");
        assert_eq!(found(Some(SnapshotState::Committed), NOW_MS, false), 1, "not in the manifest");
        assert_eq!(found(Some(SnapshotState::Deleting), NOW_MS, false), 1);
        for state in [SnapshotState::Aborted, SnapshotState::Deleted] {
            assert_eq!(found(Some(state), LONG_AGO_MS - 5_000, false), 1, "written before its end");
            assert_eq!(found(Some(state), NOW_MS - 100_000, false), 1, "late, and not swept in time");
            assert_eq!(found(Some(state), NOW_MS - 10_000, false), 0, "late");
            assert_eq!(found(Some(state), NOW_MS - 10_000, true), 1, "late, at the end of the run");
        }
        assert_eq!(found(Some(SnapshotState::Recording), NOW_MS, true), 0);
    }

    #[test]
    fn what_stays_is_told_from_what_goes_while_other_things_come() {
        let found = |orphans: &[&str]| orphans.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut left = None;
        assert_eq!(still_there(&mut left, found(&["a", "b"])).len(), 2);
        assert_eq!(still_there(&mut left, found(&["b", "c"])).len(), 1);
        assert_eq!(still_there(&mut left, found(&["b", "d"])).len(), 1, "b stays");
        assert_eq!(still_there(&mut left, found(&["c", "d"])).len(), 0);
    }

    #[test]
    fn an_upload_in_pieces_that_nobody_goes_on_with_is_found() {
        let now = SystemTime::from(jiff::Timestamp::now());
        let upload = |age: Duration| BTreeMap::from([("u".to_owned(), now - age)]);
        let there = BTreeSet::from(["u".to_owned()]);
        assert_eq!(given_up(&upload(2 * LATE), &there, now, false).len(), 1);
        assert_eq!(given_up(&upload(LATE / 2), &there, now, false).len(), 0, "somebody may go on with it");
        assert_eq!(given_up(&upload(LATE / 2), &there, now, true).len(), 1);
        assert_eq!(given_up(&upload(LATE / 2), &BTreeSet::new(), now, true).len(), 0, "begun meanwhile");
    }

    #[test]
    fn money_that_came_or_went_is_found() {
        let sum = Audit { balances: 900, in_flight: 60, unsent: 40, ..Audit::default() };
        assert!(conserved(&sum, 1_000).is_ok());
        assert!(conserved(&sum, 999).is_err() && conserved(&sum, 1_001).is_err());
    }
}
