//! Taking the words of members on what they wait for, in batches, and looking whether they wait for each other.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stillframe_protocol::ClusterName;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{Caller, Service, reports::BATCH};
use crate::{
    decide::{Facts, alignment},
    store::{ProgressRow, Scope},
};

/// How often it is looked at most whether members wait for each other: reading the facts of a large cluster takes a while, and its members say every second
/// what they wait for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Starts the task that empties the queue.
pub(super) fn serve(service: &Arc<Service>, mut words: mpsc::Receiver<ProgressRow>) {
    let weak = Arc::downgrade(service);
    tokio::spawn(async move {
        let mut batch = Vec::new();
        let mut to_look_at: BTreeSet<ClusterName> = BTreeSet::new();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                taken = words.recv_many(&mut batch, BATCH) => {
                    let Some(service) = weak.upgrade().filter(|_| taken > 0) else { return };
                    to_look_at.extend(service.take_progress(std::mem::take(&mut batch)).await);
                }
                _ = looks.tick(), if !to_look_at.is_empty() => {
                    let Some(service) = weak.upgrade() else { return };
                    service.look_for_cycles(std::mem::take(&mut to_look_at)).await;
                }
            }
        }
    });
}

impl Service {
    /// Keeps what members said; gives the clusters in which they may wait for each other.
    async fn take_progress(&self, batch: Vec<ProgressRow>) -> Vec<ClusterName> {
        let waiting = batch.iter().filter(|row| !row.missing.is_empty());
        let clusters: BTreeSet<ClusterName> = waiting.map(|row| row.cluster.clone()).collect();
        if let Err(error) = self.store.put_progress(batch).await {
            tracing::debug!(%error, "progress was not kept");
            return Vec::new();
        }
        let mut holding = Vec::new();
        for cluster in clusters {
            if self.view(&cluster).await.is_ok_and(|view| alignment::may_hold(&view.facts)) {
                holding.push(cluster);
            }
        }
        holding
    }

    async fn look_for_cycles(&self, clusters: BTreeSet<ClusterName>) {
        for cluster in clusters {
            let occasion = self.occasion(&Caller::coordinator());
            let rule = move |facts: &Facts| Ok(alignment::heard(facts, &occasion).into());
            if let Err(error) = self.transition(&cluster, Scope::default(), rule).await {
                // Whoever waits says so again.
                tracing::debug!(%error, %cluster, "could not look whether members wait for each other");
            }
        }
    }
}
