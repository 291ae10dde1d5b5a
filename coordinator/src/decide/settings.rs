//! Changing what a cluster, or a snapshot that is being taken, goes by, while it does.

use serde::Serialize;
use serde_json::{Map, Value, json};
use stillframe_api::{
    channel_state::{Alignment, ChannelState},
    cluster::OnLoss,
    snapshot::SnapshotState,
};
use stillframe_protocol::{MemberName, SnapshotId};

use super::{
    Decision, Draft, Facts, Occasion, Refusal,
    facts::ChannelFacts,
    queue::{after, before},
    rollback,
};

/// Settings of a cluster to change; what is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// How many members must have registered before it runs.
    pub min_members: Option<u32>,
    /// How long a snapshot may take, in milliseconds.
    pub snapshot_timeout_ms: Option<u64>,
    /// What happens when a member is lost.
    pub on_loss: Option<OnLoss>,
    /// How many snapshots may be recording or committing at once.
    pub max_concurrent: Option<u32>,
    /// The least time between the beginnings of two snapshots, in milliseconds.
    pub min_pause_ms: Option<u64>,
    /// How many rollbacks that went through may begin within the window; 0 for any number.
    pub rollback_limit: Option<u32>,
    /// The window, in milliseconds.
    pub rollback_window_ms: Option<u64>,
    /// The pause after the first rollback within the window, in milliseconds.
    pub rollback_backoff_ms: Option<u64>,
    /// How many older snapshots an automatic rollback may try.
    pub restore_fallback: Option<u32>,
    /// Who puts the state of channels into a snapshot, from the next generation on.
    pub channel_state: Option<ChannelState>,
    /// Whether channels are held back, from the next generation on.
    pub alignment: Option<Alignment>,
    /// For how long at most, in milliseconds; for as long as it takes, with the inner none.
    pub aligned_timeout_ms: Option<Option<u64>>,
}

/// Sets one field, and notes what it was and what it is.
fn change<T: Copy + PartialEq + Serialize>(
    field: &mut T,
    to: Option<T>,
    name: &str,
    notes: &mut (Map<String, Value>, Map<String, Value>),
) {
    if let Some(to) = to.filter(|to| to != field) {
        notes.0.insert(name.to_owned(), json!(*field));
        notes.1.insert(name.to_owned(), json!(to));
        *field = to;
    }
}

/// Whether what is wanted of a cluster's channels can be had at all.
///
/// # Errors
/// [`Refusal::AlignedAndLogged`].
pub fn check_channels(channels: &ChannelFacts) -> Result<(), Refusal> {
    match (channels.alignment, channels.channel_state) {
        (Alignment::Aligned, ChannelState::SenderLogged) => Err(Refusal::AlignedAndLogged),
        (Alignment::Aligned, ChannelState::Marker) | (Alignment::Unaligned, _) => Ok(()),
    }
}

/// Changes settings of a cluster. What follows from them follows at once: those that wait may begin, a forming cluster may run, a halted one may
/// go back. Only what is wanted of the channels waits for the next generation. `cycle` is one that the channels of its latest committed snapshot form.
///
/// # Errors
/// When channels can't be had as they are wanted.
pub fn update_cluster(
    facts: &Facts,
    occasion: &Occasion,
    changes: Changes,
    cycle: Option<&[MemberName]>,
) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(facts, occasion);
    let mut notes = (Map::new(), Map::new());
    let cluster = &mut draft.next.cluster;
    change(&mut cluster.min_members, changes.min_members, "min_members", &mut notes);
    change(&mut cluster.snapshot_timeout_ms, changes.snapshot_timeout_ms, "snapshot_timeout_ms", &mut notes);
    change(&mut cluster.max_concurrent, changes.max_concurrent, "max_concurrent", &mut notes);
    change(&mut cluster.min_pause_ms, changes.min_pause_ms, "min_pause_ms", &mut notes);
    change(&mut cluster.rollback_limit, changes.rollback_limit, "rollback_limit", &mut notes);
    change(&mut cluster.rollback_window_ms, changes.rollback_window_ms, "rollback_window_ms", &mut notes);
    change(&mut cluster.rollback_backoff_ms, changes.rollback_backoff_ms, "rollback_backoff_ms", &mut notes);
    change(&mut cluster.restore_fallback, changes.restore_fallback, "restore_fallback", &mut notes);
    change(&mut cluster.on_loss, changes.on_loss, "on_loss", &mut notes);
    let channels = &mut cluster.channels;
    change(&mut channels.channel_state, changes.channel_state, "channel_state", &mut notes);
    change(&mut channels.alignment, changes.alignment, "alignment", &mut notes);
    change(&mut channels.aligned_timeout_ms, changes.aligned_timeout_ms, "aligned_timeout_ms", &mut notes);
    check_channels(channels)?;
    let (was, is) = notes;
    if let Some(cycle) = cycle.filter(|_| is.contains_key("alignment") && channels.alignment == Alignment::Aligned) {
        return Err(Refusal::ChannelsFormCycle { cluster: cluster.name.clone(), cycle: cycle.to_vec() });
    }
    if is.is_empty() {
        return Ok(Decision::nothing(facts));
    }
    let (name, timeout_ms) = (cluster.name.clone(), cluster.snapshot_timeout_ms);
    let rollbacks_count_otherwise = is.contains_key("rollback_limit") || is.contains_key("rollback_window_ms");
    draft.audit("cluster.updated", name, json!({ "before": was, "after": is }));
    if rollbacks_count_otherwise {
        rollback::count_anew(&mut draft);
    }
    let waiting = |s: &&mut super::facts::SnapshotFacts| s.state == SnapshotState::Pending && !s.own_timeout;
    for snapshot in draft.next.snapshots.iter_mut().filter(waiting) {
        snapshot.deadline_at = after(before(snapshot.deadline_at, snapshot.timeout_ms), timeout_ms);
        snapshot.timeout_ms = timeout_ms;
    }
    Ok(draft.decide())
}

/// Changes how long a snapshot that is pending or recording may take: from when recording began, or from when it could have begun.
///
/// # Errors
/// When there is no such snapshot, it can't be aborted any more, or the new time is up already.
pub fn update_snapshot(facts: &Facts, occasion: &Occasion, id: SnapshotId, timeout_ms: u64) -> Result<Decision, Refusal> {
    let Some(snapshot) = facts.snapshot(id) else {
        return Err(Refusal::UnknownSnapshot { cluster: facts.cluster.name.clone(), snapshot: id });
    };
    match snapshot.state {
        SnapshotState::Pending | SnapshotState::Recording => {}
        state @ (SnapshotState::Committing
        | SnapshotState::Committed
        | SnapshotState::Aborted
        | SnapshotState::Deleting
        | SnapshotState::Deleted) => return Err(Refusal::SnapshotUnchangeable { snapshot: id, state }),
    }
    let was = snapshot.timeout_ms;
    let since = snapshot.recording_at.unwrap_or_else(|| before(snapshot.deadline_at, was));
    let deadline = after(since, timeout_ms);
    if deadline <= facts.now {
        return Err(Refusal::TimeIsUp { snapshot: id, state: snapshot.state, since, timeout_ms });
    }
    if was == timeout_ms && snapshot.deadline_at == deadline && snapshot.own_timeout {
        return Ok(Decision::nothing(facts));
    }
    let mut draft = Draft::new(facts, occasion);
    if let Some(snapshot) = draft.snapshot_mut(id) {
        (snapshot.timeout_ms, snapshot.deadline_at, snapshot.own_timeout) = (timeout_ms, deadline, true);
    }
    let detail = json!({ "before": { "timeout_ms": was }, "after": { "timeout_ms": timeout_ms, "deadline_at": deadline } });
    draft.audit("snapshot.updated", id, detail);
    Ok(draft.decide())
}
