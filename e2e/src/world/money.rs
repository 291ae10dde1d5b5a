//! The proof, from the bucket alone: every committed snapshot verifies, and no money is lost or counted twice.

use stillframe_api::snapshot::SnapshotState;
use stillframe_archive::Archive;
use stillframe_bank::audit::{Audit, audit};
use stillframe_protocol::SnapshotId;

use super::World;

impl World {
    /// The archive, opened as by somebody with nothing but the bucket.
    pub async fn archive(&self) -> Archive {
        self.bucket.archive().await
    }

    /// Verifies a snapshot from the bucket alone and sums it up: no money was lost, and none was counted twice.
    ///
    /// # Panics
    ///
    /// When it doesn't verify, or the sum is off.
    pub async fn conserved(&self, snapshot: SnapshotId) -> Audit {
        let archive = self.archive().await;
        let verified = archive.verify_snapshot(&self.cluster, snapshot).await;
        let verified = verified.unwrap_or_else(|error| panic!("snapshot {snapshot} doesn't verify: {error}"));
        let audit = audit(&archive, &verified.manifest).await.unwrap_or_else(|error| panic!("snapshot {snapshot}: {error}"));
        assert_eq!(audit.total(), self.money(), "snapshot {snapshot} has another sum: {audit:?}");
        assert_eq!(audit.messages_in_flight, verified.messages_in_flight, "snapshot {snapshot}: {audit:?}");
        audit
    }

    /// Verifies and sums up every committed snapshot, and checks that the aborted ones have left no manifest. Gives how many are committed.
    ///
    /// # Panics
    ///
    /// When one is off.
    pub async fn all_conserved(&self) -> usize {
        let mut committed = 0;
        for snapshot in self.snapshots().await {
            match snapshot.state {
                SnapshotState::Committed => {
                    self.conserved(snapshot.id).await;
                    committed += 1;
                }
                SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted => {
                    let manifest = format!("{}/manifest.json", snapshot.id);
                    assert_eq!(self.bucket.keys(&manifest).await, Vec::<String>::new(), "an aborted snapshot has a manifest");
                }
                SnapshotState::Pending | SnapshotState::Recording | SnapshotState::Committing => {}
            }
        }
        committed
    }

    /// The money that there is.
    #[must_use]
    pub fn money(&self) -> u64 {
        self.money
    }
}
