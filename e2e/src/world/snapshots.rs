//! Taking snapshots and putting the cluster back to them.

use stillframe_api::{
    restore::{Restore, RestoreState, StartRestore},
    snapshot::{ListSnapshots, Snapshot, SnapshotMember, SnapshotState, TakeSnapshot},
};
use stillframe_protocol::{RestoreId, SnapshotId};

use super::World;
use crate::wait::{DEADLINE, eventually};

impl World {
    /// Asks for a snapshot.
    ///
    /// # Panics
    ///
    /// When the coordinator refuses.
    pub async fn take_snapshot(&self) -> SnapshotId {
        let asked = self.client().take_snapshot(&self.cluster, &TakeSnapshot::default()).await;
        asked.unwrap_or_else(|error| panic!("no snapshot can be taken: {error}")).id
    }

    /// Waits until a snapshot has ended, one way or the other.
    ///
    /// # Panics
    ///
    /// When it hasn't by the deadline: then it is stuck.
    pub async fn ended(&self, id: SnapshotId) -> Snapshot {
        let snapshot = self.client().wait_snapshot(id, DEADLINE).await;
        let snapshot = snapshot.unwrap_or_else(|error| panic!("snapshot {id} can't be shown: {error}"));
        assert!(snapshot.state.has_ended(), "snapshot {id} is stuck: {snapshot:?}");
        snapshot
    }

    /// Takes a snapshot, and waits until it is committed.
    ///
    /// # Panics
    ///
    /// When it isn't.
    pub async fn take_committed(&self) -> Snapshot {
        self.committed(self.take_snapshot().await).await
    }

    /// Waits until a snapshot is committed.
    ///
    /// # Panics
    ///
    /// When it isn't.
    pub async fn committed(&self, id: SnapshotId) -> Snapshot {
        let snapshot = self.ended(id).await;
        assert_eq!(snapshot.state, SnapshotState::Committed, "{snapshot:?}");
        snapshot
    }

    /// Waits until a snapshot satisfies `condition`.
    ///
    /// # Panics
    ///
    /// When it doesn't by the deadline.
    pub async fn snapshot_where(&self, id: SnapshotId, what: &str, condition: impl Fn(&Snapshot) -> bool) -> Snapshot {
        eventually(&format!("snapshot {id} {what}"), async || {
            let snapshot = self.client().snapshot(id).await.map_err(|error| error.to_string())?;
            if condition(&snapshot) { Ok(snapshot) } else { Err(format!("{snapshot:?}")) }
        })
        .await
    }

    /// Waits until a snapshot is in this state.
    ///
    /// # Panics
    ///
    /// When it isn't by the deadline.
    pub async fn snapshot_in(&self, id: SnapshotId, state: SnapshotState) -> Snapshot {
        self.snapshot_where(id, &format!("is {state}"), |snapshot| snapshot.state == state).await
    }

    /// All snapshots, oldest first, without their members.
    ///
    /// # Panics
    ///
    /// When the coordinator doesn't list them, or there are more than fit a page.
    pub async fn snapshots(&self) -> Vec<Snapshot> {
        let query = ListSnapshots { limit: Some(500), ..ListSnapshots::default() };
        let mut page = self.client().list_snapshots(&self.cluster, &query).await.expect("the snapshots are listed");
        assert_eq!(page.next_cursor, None, "more snapshots than a test should take");
        page.items.reverse();
        page.items
    }

    /// Starts a restore.
    ///
    /// # Panics
    ///
    /// When the coordinator refuses.
    pub async fn start_restore(&self, snapshot: SnapshotId) -> Restore {
        let started = self.client().start_restore(&self.cluster, &StartRestore::to(snapshot)).await;
        started.unwrap_or_else(|error| panic!("no restore to {snapshot} can be started: {error}"))
    }

    /// Waits until a restore has ended, one way or the other.
    ///
    /// # Panics
    ///
    /// When it hasn't by the deadline.
    pub async fn restore_ended(&self, id: RestoreId) -> Restore {
        let restore = self.client().wait_restore(id, DEADLINE).await.expect("the restore is shown");
        assert!(restore.state.has_ended(), "restore {id} is stuck: {restore:?}");
        restore
    }

    /// Puts the cluster back to a snapshot and waits until all members run from it.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn restored(&self, snapshot: SnapshotId) -> Restore {
        let restore = self.restore_ended(self.start_restore(snapshot).await.id).await;
        assert_eq!(restore.state, RestoreState::Completed, "{restore:?}");
        restore
    }
}

/// One member's place in a snapshot.
///
/// # Panics
///
/// When the snapshot has no such member.
#[must_use]
pub fn place<'a>(snapshot: &'a Snapshot, member: &str) -> &'a SnapshotMember {
    let found = snapshot.members.iter().find(|place| place.member.as_str() == member);
    found.unwrap_or_else(|| panic!("{member} isn't in {snapshot:?}"))
}
