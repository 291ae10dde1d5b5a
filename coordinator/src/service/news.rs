//! What happened, for the log: a line at INFO for each snapshot that ended, each change of a cluster's phase and each step of a restore, by the replica
//! that decided it, once it is committed.

use stillframe_api::cluster::ClusterPhase;
use stillframe_protocol::ClusterName;

use crate::{
    decide::{Audit, Decision, Facts},
    store::CompleteSnapshot,
};

/// The lines of the audit that say that a restore changed its state.
const RESTORE_STEPS: [&str; 6] =
    ["restore.planned", "restore.preparing", "restore.fell_back", "restore.resuming", "restore.completed", "restore.failed"];

/// What a decision has to tell; told when it is carried out.
#[derive(Debug)]
pub(crate) struct News {
    was: ClusterPhase,
    audit: Vec<Audit>,
}

impl News {
    pub(crate) fn of(before: &Facts, decision: &Decision) -> Self {
        let told = |line: &&Audit| line.action == "snapshot.aborted" || RESTORE_STEPS.contains(&line.action);
        Self { was: before.cluster.phase, audit: decision.audit.iter().filter(told).cloned().collect() }
    }

    /// Tells them.
    pub(crate) fn tell(self, cluster: &ClusterName, now: &Facts) {
        for line in self.audit {
            match line.action.strip_prefix("restore.") {
                Some(state) => restore(cluster, state, &line),
                None => aborted(cluster, &line.subject, now),
            }
        }
        let (phase, generation) = (now.cluster.phase, now.cluster.generation);
        if phase != self.was {
            let reason = now.cluster.phase_reason.as_deref().unwrap_or_default();
            tracing::info!(%cluster, was = ?self.was, ?phase, %generation, reason, "cluster changed its phase");
        }
    }
}

fn restore(cluster: &ClusterName, state: &str, line: &Audit) {
    let reason = line.reason.as_deref().unwrap_or_default();
    let generation = &line.detail["generation"];
    tracing::info!(%cluster, restore = %line.subject, state, %generation, reason, "restore went on");
}

fn aborted(cluster: &ClusterName, id: &str, now: &Facts) {
    let Some(snapshot) = now.snapshots.iter().find(|snapshot| snapshot.id.to_string() == id) else { return };
    let Some(abort) = &snapshot.abort else { return };
    let member = abort.member.as_ref().map(ToString::to_string).unwrap_or_default();
    let channel = abort.channel.as_ref().map(ToString::to_string).unwrap_or_default();
    let epoch = snapshot.epoch.unwrap_or_default();
    let (reason, blame) = (abort.reason.as_str(), &abort.detail);
    tracing::info!(%cluster, snapshot = id, %epoch, reason, member, channel, blame, "snapshot aborted");
}

/// A snapshot was committed by this replica.
pub(crate) fn committed(complete: &CompleteSnapshot, now: &Facts) {
    let bytes: u64 = complete.parts.iter().flat_map(|part| &part.objects).map(|object| object.bytes).sum();
    let ms = now.now.duration_since(complete.recording_at).as_millis();
    let (cluster, snapshot, epoch, members) = (&complete.cluster, complete.id, complete.epoch, complete.view.len());
    tracing::info!(%cluster, %snapshot, %epoch, members, bytes, ms, "snapshot committed");
}
