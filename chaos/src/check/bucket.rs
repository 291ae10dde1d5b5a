//! The archive alone: every committed snapshot verifies and adds up, and nothing is left without an owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use stillframe_api::snapshot::SnapshotState;
use stillframe_archive::Archive;
use stillframe_bank::audit::audit;
use stillframe_protocol::SnapshotId;

use super::{History, within_bound};
use crate::stage::Stage;

/// Verifies the committed snapshots that weren't yet, or all of them, and adds up the money in each. Gives how many.
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
                seen.manifest = Some(digest);
                verified += 1;
            }
            // Deleted since it was listed: what is being deleted is no violation.
            Err(_) if is_gone(stage, *id).await => {}
            Err(violation) => violations.push(format!("committed snapshot {id}: {violation}")),
        }
    }
    history.violations.extend(violations);
    verified
}

async fn is_gone(stage: &Stage, id: SnapshotId) -> bool {
    let now = stage.client(0).snapshot(id).await;
    now.is_ok_and(|snapshot| matches!(snapshot.state, SnapshotState::Deleting | SnapshotState::Deleted))
}

async fn verify(stage: &Stage, archive: &Archive, id: SnapshotId) -> Result<blake3::Hash, String> {
    let verified = archive.verify_snapshot(&stage.cluster, id).await.map_err(|error| error.to_string())?;
    let sum = audit(archive, &verified.manifest).await.map_err(|error| error.to_string())?;
    stage.conserved(&sum)?;
    if sum.messages_in_flight != verified.messages_in_flight {
        return Err(format!(
            "{} messages are recorded, the certificate says {}",
            sum.messages_in_flight, verified.messages_in_flight
        ));
    }
    let key = format!("clusters/{}/snapshots/{id}/manifest.json", stage.cluster);
    Ok(blake3::hash(&stage.bucket.read(&key).await))
}

/// An upload that came to its end after its snapshot was aborted or deleted is left to the second sweep, which is to be over after so long. The
/// replicas are told 20 s.
const LATE: Duration = Duration::from_secs(60);

/// What a listed time may be short of the real one: some stores keep whole seconds only.
const COARSE_MS: i64 = 1_000;

/// The keys in the bucket, and when each was written, by their snapshot.
async fn keys(stage: &Stage) -> BTreeMap<String, BTreeMap<String, i64>> {
    let mut keys: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for (key, written_at_ms) in stage.bucket.written("clusters/").await {
        let snapshot = key.split('/').nth(3).unwrap_or_default().to_owned();
        keys.entry(snapshot).or_default().insert(key, written_at_ms);
    }
    keys
}

/// Waits until nothing in the bucket is without an owner: each object is named by the manifest of a committed snapshot, or is its manifest, or
/// belongs to a snapshot that is being taken. Gives how many were uploaded after their snapshot had been aborted and aren't swept yet, which is fine
/// for a while, unless `all` is asked for.
///
/// # Errors
/// When something stays.
pub async fn nothing_without_owner(stage: &Stage, history: &mut History, all: bool) -> Result<usize, String> {
    let archive = stage.bucket.archive().await;
    within_bound("no object in the bucket is without an owner", async || {
        // First the bucket, then the catalog: what was there has its row by then.
        let keys = keys(stage).await;
        history.update(&stage.client(0), &stage.cluster).await?;
        let (mut orphans, mut late) = (Vec::new(), 0);
        for (snapshot, keys) in keys {
            let seen = snapshot.parse().ok().and_then(|id: SnapshotId| history.snapshots.get(&id).map(|seen| (id, seen)));
            let Some((id, seen)) = seen else {
                orphans.extend(keys.into_keys().map(|key| format!("{key} (no such snapshot)")));
                continue;
            };
            match seen.state {
                SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing => {}
                SnapshotState::Committed => {
                    let manifest = archive.read_manifest(&stage.cluster, id).await.map_err(|error| error.to_string())?;
                    let mut owned: BTreeSet<String> = manifest
                        .parts
                        .iter()
                        .flat_map(|part| &part.objects)
                        .filter_map(|object| object.key().map(ToString::to_string))
                        .collect();
                    owned.insert(format!("clusters/{}/snapshots/{id}/manifest.json", stage.cluster));
                    let foreign = keys.into_keys().filter(|key| !owned.contains(key));
                    orphans.extend(foreign.map(|key| format!("{key} (not in the manifest)")));
                }
                SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted => {
                    for (key, written_at_ms) in keys {
                        let may_stay = !all && seen.state != SnapshotState::Deleting && is_late(seen.ended_at_ms, written_at_ms);
                        late += usize::from(may_stay);
                        if !may_stay {
                            orphans.push(format!("{key} ({})", seen.state));
                        }
                    }
                }
            }
        }
        if orphans.is_empty() { Ok(late) } else { Err(orphans.join(", ")) }
    })
    .await
}

/// Whether an object was written after its snapshot had ended, not long ago.
fn is_late(ended_at_ms: Option<i64>, written_at_ms: i64) -> bool {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let limit_ms = i64::try_from(LATE.as_millis()).unwrap_or(i64::MAX);
    ended_at_ms.is_some_and(|ended| written_at_ms + COARSE_MS >= ended && now_ms - written_at_ms < limit_ms)
}
