//! The proof: every committed snapshot is verified and summed up from the archive alone, without asking the coordinator's word for it.

use serde::Serialize;
use stillframe_api::snapshot::{ListSnapshots, Snapshot, SnapshotState};
use stillframe_archive::Archive;
use stillframe_bank::audit::{self, Audit};

use super::stage::Stage;
use crate::error::CliError;

/// The outcome of a demo; with `--json` this is the last line of standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// How many members.
    members: u32,
    /// How many transfers the members have sent, as of the last snapshot: what was rolled back doesn't count.
    transfers: u64,
    /// How many snapshots were committed.
    snapshots_committed: u64,
    /// How many were aborted.
    snapshots_aborted: u64,
    /// How many restores were completed.
    restores_completed: u64,
    /// Milliseconds from SIGKILL until the whole cluster ran again; null when nobody was killed.
    recovery_ms: Option<u64>,
    /// How many messages were recorded in flight, over all committed snapshots.
    messages_in_flight_recorded: u64,
    /// The money there was at the beginning.
    expected_total: u64,
    /// The money in the last snapshot, or in the first in which it isn't what was expected.
    observed_total: u64,
    /// Whether the money in every committed snapshot is what was expected.
    conserved: bool,
    /// How many committed snapshots have every object with its digest, and a certificate that proves the cut.
    certificates_verified: u64,
    /// What is wrong with those that don't.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    #[serde(skip)]
    kill_expected: bool,
}

impl Summary {
    /// Verifies and sums up every snapshot of the stage's cluster.
    pub(super) async fn of(stage: &Stage, members: u32, expected: u64, recovery: Option<u64>) -> Result<Self, CliError> {
        let snapshots = all_snapshots(stage).await?;
        let cluster = stage.client.cluster(&stage.cluster).await?;
        let count = |state| snapshots.iter().filter(|s| s.state == state).count() as u64;
        let mut summary = Self {
            members,
            transfers: 0,
            snapshots_committed: count(SnapshotState::Committed),
            snapshots_aborted: count(SnapshotState::Aborted),
            // Every generation after the first is a restore that was completed.
            restores_completed: cluster.generation.get().saturating_sub(1),
            recovery_ms: recovery,
            messages_in_flight_recorded: 0,
            expected_total: expected,
            observed_total: expected,
            conserved: true,
            certificates_verified: 0,
            problems: Vec::new(),
            kill_expected: recovery.is_some(),
        };
        let archive = Archive::open(&stage.archive_url).await?;
        let mut last: Option<(u64, Audit)> = None;
        for (cluster, snapshot) in archive.manifests(Some(&stage.cluster)).await? {
            match archive.verify_snapshot(&cluster, snapshot).await {
                Ok(verified) => match audit::audit(&archive, &verified.manifest).await {
                    Ok(audit) => {
                        summary.certificates_verified += 1;
                        summary.add(&audit);
                        let epoch = verified.manifest.epoch.get();
                        if last.is_none_or(|(newest, _)| epoch > newest) {
                            last = Some((epoch, audit));
                        }
                    }
                    Err(error) => summary.problems.push(format!("snapshot {snapshot}: {error}")),
                },
                Err(error) => summary.problems.push(error.to_string()),
            }
        }
        summary.transfers = last.map_or(0, |(_, audit)| audit.transfers);
        Ok(summary)
    }

    fn add(&mut self, audit: &Audit) {
        self.messages_in_flight_recorded += audit.messages_in_flight;
        if self.conserved {
            self.observed_total = audit.total();
        }
        self.conserved &= audit.total() == self.expected_total;
    }

    /// Whether the demo has shown what it is there to show.
    pub(super) fn holds(&self) -> bool {
        self.conserved
            && self.problems.is_empty()
            && self.snapshots_committed > 0
            && self.certificates_verified == self.snapshots_committed
            && (!self.kill_expected || self.restores_completed > 0)
    }

    /// The outcome for people.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            String::new(),
            format!("{} members made {} transfers.", self.members, self.transfers),
            format!(
                "{} snapshots committed, {} aborted; {} messages were recorded in flight.",
                self.snapshots_committed, self.snapshots_aborted, self.messages_in_flight_recorded
            ),
            format!(
                "{} of {} certificates verified from the archive alone.",
                self.certificates_verified, self.snapshots_committed
            ),
        ];
        if let Some(ms) = self.recovery_ms {
            lines.push(format!("{} restore(s) completed; from SIGKILL to running again took {ms} ms.", self.restores_completed));
        }
        let verdict = if self.conserved { "nothing was lost, nothing counted twice" } else { "NOT CONSERVED" };
        lines.push(format!("Money expected {}, observed {}: {verdict}.", self.expected_total, self.observed_total));
        lines.extend(self.problems.iter().map(|problem| format!("problem: {problem}")));
        lines.join("\n")
    }
}

async fn all_snapshots(stage: &Stage) -> Result<Vec<Snapshot>, CliError> {
    let mut query = ListSnapshots { limit: Some(500), ..ListSnapshots::default() };
    let mut all = Vec::new();
    loop {
        let page = stage.client.list_snapshots(&stage.cluster, &query).await?;
        all.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(all);
        }
    }
}
