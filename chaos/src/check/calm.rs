//! Everything serves and runs again, every snapshot and restore ends, and a new snapshot is committed.

use stillframe_api::{
    Client,
    cluster::{Cluster, ClusterPhase},
    restore::StartRestore,
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_protocol::{RestoreId, SnapshotId};

use super::{History, within_bound};
use crate::stage::Stage;

/// How often a snapshot may be aborted before it counts as one that can't be taken.
const TRIES: u32 = 5;

/// Waits until the replicas serve.
///
/// # Errors
/// When one doesn't, or ended by itself.
pub async fn replicas_serve(stage: &mut Stage) -> Result<(), String> {
    for number in 0..stage.replicas.len() {
        let what = format!("{} serves", crate::plan::fault::replica_name(number));
        within_bound(&what, async || {
            stage.replicas[number].supervise()?;
            stage.client(number).ready().await.map_err(|error| error.to_string())
        })
        .await?;
    }
    Ok(())
}

/// Waits until the cluster runs with every member live, and says whether it had halted and an operator had to start a restore.
///
/// # Errors
/// When it doesn't come to run.
pub async fn cluster_runs(stage: &Stage) -> Result<(Cluster, bool), String> {
    let client = stage.client(0);
    let mut halted = None;
    let cluster = within_bound("the cluster runs with all members live", async || {
        let cluster = client.cluster(&stage.cluster).await.map_err(|error| error.to_string())?;
        if cluster.phase == ClusterPhase::Halted {
            if cluster.phase_reason.as_deref().unwrap_or_default().is_empty() {
                return Err(format!("halted without a reason: {cluster:?}"));
            }
            let snapshot = cluster.latest_committed.ok_or_else(|| format!("halted with nothing to go back to: {cluster:?}"))?;
            if halted != Some(cluster.generation) {
                // Refused while members are still coming.
                client.start_restore(&stage.cluster, &StartRestore::to(snapshot)).await.map_err(|error| error.to_string())?;
                halted = Some(cluster.generation);
            }
        }
        let live = usize::try_from(cluster.live_members).unwrap_or(0);
        let runs = cluster.phase == ClusterPhase::Running && live == stage.members.len() && cluster.lost_members == 0;
        if runs { Ok(cluster) } else { Err(format!("{cluster:?}")) }
    })
    .await?;
    Ok((cluster, halted.is_some()))
}

/// Waits until every member is in the cluster's generation and sends.
///
/// # Errors
/// When one doesn't, or ended by itself.
pub async fn members_work(stage: &mut Stage) -> Result<(), String> {
    let client = stage.client(0);
    let cluster = stage.cluster.clone();
    for member in &mut stage.members {
        if let Some(status) = member.ended() {
            return Err(format!("{} ended by itself: {status}", member.name()));
        }
        let what = format!("{} sends in the cluster's generation", member.name());
        let mut before = None;
        within_bound(&what, async || {
            let generation = client.cluster(&cluster).await.map_err(|error| error.to_string())?.generation.get();
            let status = member.status().ok_or_else(|| "it has said nothing".to_owned())?;
            let works = before.is_some_and(|(in_generation, sent)| in_generation == status.generation && sent < status.sent);
            before = Some((status.generation, status.sent));
            if works && status.generation == generation { Ok(()) } else { Err(format!("generation {generation}, {status:?}")) }
        })
        .await?;
    }
    Ok(())
}

/// Waits until every member has ended by itself, as one does that a rebuilt database doesn't know, and starts it again.
///
/// # Errors
/// When one goes on.
pub async fn members_are_fenced(stage: &mut Stage) -> Result<(), String> {
    for member in &mut stage.members {
        let what = format!("{} is fenced", member.name());
        within_bound(&what, async || member.ended().map(drop).ok_or_else(|| format!("{:?}", member.status()))).await?;
        member.kill();
        member.start_again();
    }
    Ok(())
}

/// Waits until every snapshot that exists now has ended.
///
/// # Errors
/// When one hasn't.
pub async fn snapshots_end(stage: &Stage, history: &mut History) -> Result<(), String> {
    let client = stage.client(1 % stage.replicas.len());
    history.update(&client, &stage.cluster).await?;
    let open = history.open();
    within_bound("every snapshot has ended", async || {
        for id in &open {
            let snapshot = client.snapshot(*id).await.map_err(|error| error.to_string())?;
            if !snapshot.state.has_ended() {
                return Err(format!("{snapshot:?}"));
            }
        }
        Ok(())
    })
    .await?;
    history.update(&client, &stage.cluster).await
}

/// Waits until these restores have ended.
///
/// # Errors
/// When one hasn't.
pub async fn restores_end(stage: &Stage, restores: &[RestoreId]) -> Result<(), String> {
    let client = stage.client(0);
    within_bound("every restore has ended", async || {
        for id in restores {
            let restore = client.restore(*id).await.map_err(|error| error.to_string())?;
            if !restore.state.has_ended() {
                return Err(format!("{restore:?}"));
            }
        }
        Ok(())
    })
    .await
}

/// Takes a snapshot, and waits until it is committed. One that is aborted is taken again a few times: schedules take theirs meanwhile.
///
/// # Errors
/// When none is committed.
pub async fn snapshot_commits(stage: &Stage) -> Result<SnapshotId, String> {
    let client = stage.client(0);
    let mut aborted = Vec::new();
    loop {
        let id = taken(&client, stage).await?;
        let snapshot = within_bound("the snapshot has ended", async || {
            let snapshot = client.snapshot(id).await.map_err(|error| error.to_string())?;
            if snapshot.state.has_ended() { Ok(snapshot) } else { Err(format!("{snapshot:?}")) }
        })
        .await?;
        if snapshot.state == SnapshotState::Committed {
            return Ok(id);
        }
        aborted.push(snapshot.abort.map(|abort| format!("{}: {}", abort.reason, abort.detail)).unwrap_or_default());
        if aborted.len() >= TRIES as usize {
            return Err(format!("with nothing broken, {TRIES} snapshots in a row were aborted: {aborted:?}"));
        }
    }
}

async fn taken(client: &Client, stage: &Stage) -> Result<SnapshotId, String> {
    within_bound("a snapshot is taken", async || {
        let asked = client.take_snapshot(&stage.cluster, &TakeSnapshot::default()).await;
        asked.map(|snapshot| snapshot.id).map_err(|error| error.to_string())
    })
    .await
}
