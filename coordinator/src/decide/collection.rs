//! What a garbage collection leaves in the audit.

use serde_json::json;

use super::{Decision, Draft, Facts, Occasion};

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ran {
    /// Snapshots that go by retention.
    pub snapshots: u64,
    /// Objects that were swept.
    pub swept_objects: u64,
    /// Uploads that were aborted.
    pub uploads: u64,
    /// Orphans that were deleted.
    pub orphans: u64,
}

/// Takes note of a collection; not of one that found nothing to do.
#[must_use]
pub fn ran(facts: &Facts, occasion: &Occasion, ran: Ran) -> Decision {
    if ran == Ran::default() {
        return Decision::nothing(facts);
    }
    let mut draft = Draft::new(facts, occasion);
    let Ran { snapshots, swept_objects, uploads, orphans } = ran;
    let detail = json!({ "snapshots": snapshots, "swept_objects": swept_objects, "uploads": uploads, "orphans": orphans });
    let cluster = draft.next.cluster.name.clone();
    draft.audit("gc.run", cluster, detail);
    draft.decide()
}
