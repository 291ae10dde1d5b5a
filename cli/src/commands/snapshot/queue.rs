//! What a snapshot that is pending waits for, in words.

use stillframe_api::{
    snapshot::{Snapshot, SnapshotState},
    waiting::{UnderWay, WaitsFor},
};

use crate::text::time;

/// Those that take the slots, a line each.
#[must_use]
pub fn holders(under_way: &[UnderWay]) -> Vec<String> {
    let line = |holder: &UnderWay| {
        let UnderWay { snapshot, state, since, archive_error } = holder;
        let error = archive_error.as_ref().map_or_else(String::new, |error| format!("; the archive says: {error}"));
        format!("snapshot {snapshot}, {state} since {}{error}", time(*since))
    };
    under_way.iter().map(line).collect()
}

/// What a snapshot waits for while it is pending.
#[must_use]
pub fn waits_for(snapshot: &Snapshot) -> Option<String> {
    if snapshot.state != SnapshotState::Pending {
        return None;
    }
    let what = match snapshot.waits_for.as_ref()? {
        WaitsFor::Slot { held_by } => format!("a slot: {}", holders(held_by).join("; ")),
        WaitsFor::Archive { held_by } => format!("the archive, which has to take a manifest: {}", holders(held_by).join("; ")),
        WaitsFor::MinPause { until } => format!("the cluster's min pause, until {}", time(*until)),
        WaitsFor::Members { lost } => {
            let lost: Vec<&str> = lost.iter().map(|member| member.as_str()).collect();
            format!("members that are lost: {}", lost.join(", "))
        }
        WaitsFor::Cluster { reason } => reason.clone(),
    };
    Some(what)
}

/// Where a snapshot stands among those that are pending.
#[must_use]
pub fn place(snapshot: &Snapshot) -> Option<String> {
    snapshot.position.map(|position| if position == 1 { "next".to_owned() } else { format!("{} before it", position - 1) })
}
