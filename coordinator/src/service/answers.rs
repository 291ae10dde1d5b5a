//! Facts as answers.

use jiff::Timestamp;
use stillframe_api::{
    DurationOrZero, HumanDuration,
    cluster::{Cluster, Member, MemberState},
    restore::{Restore, RestoreMember},
    rollback::RollbackSettings,
    schedule::{NextSlot, SHOWN_SLOTS, Schedule},
    snapshot::{MemberPhase, Snapshot, SnapshotMember},
};
use stillframe_protocol::{ClusterName, Generation};

use crate::{
    decide::{
        Facts, blame,
        facts::{MemberFacts, Presence, ScheduleFacts, SnapshotFacts, Standing},
        queue,
        schedule::timing::Timing,
    },
    store::{ClusterRow, MemberRow, RestoreRow, SnapshotRow},
};

/// A cluster.
#[must_use]
pub fn cluster(row: ClusterRow) -> Cluster {
    let ClusterRow { facts, live_members, lost_members, under_way, pending, restore } = row;
    let channels = facts.channels.settings();
    Cluster {
        name: facts.name,
        phase: facts.phase,
        phase_reason: facts.phase_reason,
        generation: facts.generation,
        epoch: facts.epoch,
        revision: facts.revision,
        min_members: facts.min_members,
        live_members,
        lost_members,
        snapshot_timeout: HumanDuration::from_millis(facts.snapshot_timeout_ms),
        on_loss: facts.on_loss,
        archive_prefix: facts.archive_prefix,
        max_concurrent: facts.max_concurrent,
        min_pause: DurationOrZero::from_millis(facts.min_pause_ms),
        under_way,
        pending,
        rollback: RollbackSettings {
            limit: facts.rollback_limit,
            window: HumanDuration::from_millis(facts.rollback_window_ms),
            backoff: HumanDuration::from_millis(facts.rollback_backoff_ms),
            fallback: facts.restore_fallback,
        },
        channel_state: channels.channel_state,
        alignment: channels.alignment,
        aligned_timeout: channels.aligned_timeout,
        in_force: (facts.generation > Generation(0)).then(|| facts.channels_in_force.settings()),
        latest_committed: facts.latest_committed,
        restore,
        created_at: facts.created_at,
    }
}

/// A member. Whether it is suspect only the replica knows that it polled.
#[must_use]
pub fn member(row: MemberRow, is_suspect: bool) -> Member {
    let state = match (row.standing, row.state, is_suspect) {
        (Standing::Left, _, _) => MemberState::Left,
        (_, Presence::Lost, _) => MemberState::Lost,
        (_, Presence::Live, true) => MemberState::Suspect,
        (_, Presence::Live, false) if row.leaving.is_some() => MemberState::Leaving,
        (_, Presence::Live, false) => MemberState::Live,
    };
    Member {
        name: row.name,
        member_id: row.member_id,
        incarnation: row.incarnation,
        state,
        asked_to_leave: row.leave_wish.is_some(),
        address: row.address,
        registered_at: row.registered_at,
        last_seen_at: row.last_seen_at,
        lease_expires_at: row.lease_expires_at,
    }
}

/// A member as a decision left it.
#[must_use]
pub fn member_of(facts: &MemberFacts, lease: jiff::SignedDuration, is_suspect: bool) -> Member {
    let row = MemberRow {
        name: facts.name.clone(),
        member_id: facts.member_id,
        incarnation: facts.incarnation,
        state: facts.state,
        address: facts.address.clone(),
        registered_at: facts.registered_at,
        last_seen_at: facts.lease_expires_at.checked_sub(lease).unwrap_or(facts.registered_at),
        lease_expires_at: facts.lease_expires_at,
        standing: facts.standing,
        leave_wish: facts.leave_wish,
        leaving: facts.leaving.clone(),
    };
    member(row, is_suspect)
}

/// A snapshot without its members, as in lists.
#[must_use]
pub fn snapshot_line(cluster: ClusterName, facts: SnapshotFacts, bytes: u64) -> Snapshot {
    Snapshot {
        id: facts.id,
        cluster,
        epoch: facts.epoch,
        generation: facts.generation,
        state: facts.state,
        abort: facts.abort,
        trigger: facts.trigger,
        labels: facts.labels,
        created_at: facts.created_at,
        recording_at: facts.recording_at,
        committing_at: facts.committing_at,
        ended_at: facts.ended_at,
        timeout: Some(HumanDuration::from_millis(facts.timeout_ms)),
        deadline_at: facts.deadline_at,
        position: None,
        waits_for: None,
        archive_error: facts.archive_error,
        bytes,
        messages_in_flight: facts.messages_in_flight,
        members: Vec::new(),
    }
}

/// Says of a snapshot that is pending where it stands, and what it waits for.
pub fn place_in_queue(snapshot: &mut Snapshot, facts: &Facts) {
    snapshot.position = queue::position(facts, snapshot.id);
    snapshot.waits_for = queue::waits_for(facts, snapshot.id);
}

/// A snapshot with what its members have done.
#[must_use]
pub fn snapshot(row: SnapshotRow) -> Snapshot {
    let SnapshotRow { now, cluster, facts, bytes, parts } = row;
    let until = facts.ended_at.unwrap_or(now);
    let members = facts
        .view
        .iter()
        .map(|(member, incarnation)| {
            let part = parts.get(member);
            let phase = match (part, facts.progress.contains_key(member)) {
                (Some(_), _) => MemberPhase::Reported,
                (None, true) => MemberPhase::Recording,
                (None, false) => MemberPhase::Waiting,
            };
            SnapshotMember {
                member: member.clone(),
                incarnation: *incarnation,
                phase,
                bytes: part.map_or(0, |part| part.bytes),
                reported_at: part.map(|part| part.reported_at),
                missing: blame::member_lines_so_far(&facts, member, until),
            }
        })
        .collect();
    Snapshot { members, ..snapshot_line(cluster, facts, bytes) }
}

/// A restore.
#[must_use]
pub fn restore(row: RestoreRow) -> Restore {
    let RestoreRow { cluster, facts, part_bytes } = row;
    let members = facts
        .members
        .into_iter()
        .map(|(member, done)| {
            let part = done.part.unwrap_or_else(|| member.clone());
            let bytes = part_bytes.get(&part).copied().unwrap_or(0);
            let loaded_bytes = done.bytes;
            RestoreMember {
                member,
                incarnation: done.incarnation,
                part,
                phase: done.phase,
                bytes,
                loaded_bytes,
                retries: done.attempt,
                error: done.error,
            }
        })
        .collect();
    Restore {
        id: facts.id,
        cluster,
        snapshot: facts.snapshot,
        generation: facts.generation,
        state: facts.state,
        trigger: facts.trigger,
        failure: facts.failure,
        failure_reason: facts.failure_reason,
        fallback: facts.fallback,
        retries: facts.retries,
        mapping: facts.mapping,
        unreadable: facts.tried,
        created_at: facts.created_at,
        resumed_at: facts.resumed_at,
        ended_at: facts.ended_at,
        deadline_at: facts.deadline_at,
        members,
    }
}

/// A schedule, with when its next slots fire.
#[must_use]
pub fn schedule(cluster: ClusterName, facts: ScheduleFacts, now: Timestamp) -> Schedule {
    let next: Vec<Timestamp> = next_slots(&cluster, &facts, SHOWN_SLOTS).into_iter().map(|slot| slot.fires_at).collect();
    let paused = facts.is_paused(now);
    Schedule {
        name: facts.name,
        cluster,
        every: facts.every_ms.map(HumanDuration::from_millis),
        cron: facts.cron,
        time_zone: facts.time_zone,
        jitter: DurationOrZero::from_millis(facts.jitter_ms),
        min_pause: DurationOrZero::from_millis(facts.min_pause_ms),
        timeout: facts.timeout_ms.map(HumanDuration::from_millis),
        labels: facts.labels,
        on_overlap: facts.on_overlap,
        misfire: facts.misfire,
        paused,
        paused_until: facts.paused_until.filter(|_| paused),
        next_at: next.first().copied(),
        next,
        last_slot_at: facts.last_slot_at,
        last_snapshot: facts.last_snapshot,
        last_skip: facts.last_skip,
        missed: facts.missed,
        last_missed_at: facts.last_missed_at,
        created_at: facts.created_at,
    }
}

/// The next slots of a schedule; none while it is paused without an end.
#[must_use]
pub fn next_slots(cluster: &ClusterName, facts: &ScheduleFacts, limit: usize) -> Vec<NextSlot> {
    if facts.paused {
        return Vec::new();
    }
    let Ok(timing) = Timing::of(cluster, facts) else { return Vec::new() };
    let slots = timing.slots_from(facts.next_slot()).take(limit);
    slots.map(|(slot_at, fires_at)| NextSlot { slot_at, fires_at }).collect()
}
