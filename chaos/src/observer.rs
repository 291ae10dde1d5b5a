//! Watches the cluster through whichever replica answers, and says what changes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stillframe_api::{
    Client,
    cluster::Cluster,
    snapshot::{ListSnapshots, Snapshot, SnapshotState},
};
use stillframe_protocol::{ClusterName, SnapshotId};
use tokio::task::JoinHandle;

use crate::timeline::{Timeline, Voice};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(300);

/// How long it waits for one replica.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How many of the newest snapshots it looks at.
const NEWEST: u32 = 20;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Observer(JoinHandle<()>);

impl Observer {
    /// Begins to watch.
    #[must_use]
    pub fn start(cluster: ClusterName, clients: Vec<Client>, timeline: Arc<Timeline>) -> Self {
        Self(tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for client in &clients {
                    if let Ok(Some((now, snapshots))) = tokio::time::timeout(PATIENCE, look(client, &cluster)).await {
                        seen.cluster(&now, &timeline);
                        seen.snapshots(&snapshots, &timeline);
                        break;
                    }
                }
            }
        }))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look(client: &Client, cluster: &ClusterName) -> Option<(Cluster, Vec<Snapshot>)> {
    let query = ListSnapshots { limit: Some(NEWEST), ..ListSnapshots::default() };
    let now = client.cluster(cluster).await.ok()?;
    Some((now, client.list_snapshots(cluster, &query).await.ok()?.items))
}

#[derive(Default)]
struct Seen {
    cluster: String,
    snapshots: BTreeMap<SnapshotId, SnapshotState>,
}

impl Seen {
    fn cluster(&mut self, now: &Cluster, timeline: &Timeline) {
        let mut line = format!("{:?} in generation {}, {} members live", now.phase, now.generation, now.live_members);
        if let Some(reason) = &now.phase_reason {
            line = format!("{line}: {reason}");
        }
        if line != self.cluster {
            timeline.say(Voice::Cluster, &line);
            self.cluster = line;
        }
    }

    fn snapshots(&mut self, newest: &[Snapshot], timeline: &Timeline) {
        for snapshot in newest.iter().rev() {
            let before = self.snapshots.insert(snapshot.id, snapshot.state);
            if before != Some(snapshot.state) && snapshot.state.has_ended() {
                timeline.say(Voice::Cluster, ended(snapshot));
            }
        }
        while self.snapshots.len() > 4 * NEWEST as usize {
            self.snapshots.pop_first();
        }
    }
}

fn ended(snapshot: &Snapshot) -> String {
    let epoch = snapshot.epoch.map_or_else(|| "never begun".to_owned(), |epoch| format!("epoch {epoch}"));
    let why = snapshot.abort.as_ref().map(|abort| format!(": {}, {}", abort.reason, abort.detail)).unwrap_or_default();
    let took = snapshot.ended_at.map(|ended| ended.duration_since(snapshot.created_at).as_millis()).unwrap_or_default();
    format!("snapshot {} ({epoch}) is {} after {took} ms{why}", snapshot.id, snapshot.state)
}
