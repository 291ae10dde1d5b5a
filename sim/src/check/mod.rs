//! What must hold. Every check that the product has as a function is that function.
//!
//! | to find | look in |
//! | --- | --- |
//! | after each decision | [`decision`] |
//! | of each committed snapshot | [`snapshot`] |
//! | when everything has arrived | [`silence`] |

mod decision;
mod silence;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use stillframe_protocol::{Epoch, Generation, MemberName, RestoreId, SnapshotId};

/// What was seen before, to notice what is used twice.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The snapshot of each epoch.
    epochs: BTreeMap<Epoch, SnapshotId>,
    /// The restore of each generation; none for one that began from the initial state.
    generations: BTreeMap<Generation, Option<RestoreId>>,
    /// The process of each incarnation.
    incarnations: BTreeMap<(MemberName, u64), String>,
    /// How snapshots ended: whether they were committed.
    ended: BTreeMap<SnapshotId, bool>,
    /// The committed snapshots that were looked at.
    proved: BTreeSet<SnapshotId>,
}
