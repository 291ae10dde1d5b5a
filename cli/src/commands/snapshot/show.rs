//! Snapshots as people read them.

use stillframe_api::snapshot::{Abort, MemberPhase, Snapshot, SnapshotMember, SnapshotState};

use super::queue;
use crate::{
    commands::restore::show::trigger,
    text::{bytes, dash, facts, table, time, time_or_dash, took},
};

/// A line a snapshot.
#[must_use]
pub fn list(snapshots: &[Snapshot]) -> String {
    let rows = snapshots.iter().map(|snapshot| {
        let reason = snapshot.abort.as_ref().map(|abort| format!(": {}", abort.reason));
        let reason = reason.or_else(|| queue::place(snapshot).map(|place| format!(": {place}"))).unwrap_or_default();
        [
            snapshot.id.to_string(),
            epoch(snapshot),
            format!("{}{reason}", snapshot.state),
            time(snapshot.created_at),
            snapshot.ended_at.map_or_else(dash, |ended| took(snapshot.created_at, ended)),
            bytes(snapshot.bytes),
            snapshot.messages_in_flight.map_or_else(dash, |n| n.to_string()),
            trigger(&snapshot.trigger),
        ]
    });
    table(["SNAPSHOT", "EPOCH", "STATE", "CREATED", "TOOK", "BYTES", "IN FLIGHT", "TRIGGER"], rows)
}

/// Everything about a snapshot; who and what is missing while it is under way, and whom or what to blame when it was aborted.
#[must_use]
pub fn describe(snapshot: &Snapshot) -> String {
    let took = snapshot.ended_at.map_or_else(String::new, |ended| format!(" after {}", took(snapshot.created_at, ended)));
    let labels: Vec<String> = snapshot.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let abort = snapshot.abort.as_ref();
    let above = facts([
        ("snapshot", Some(snapshot.id.to_string())),
        ("cluster", Some(snapshot.cluster.to_string())),
        ("state", Some(format!("{}{took}", snapshot.state))),
        ("aborted", abort.map(|abort| format!("{}: {}", abort.reason, abort.detail))),
        ("blame", abort.and_then(blame)),
        ("missing", abort.filter(|abort| !abort.missing.is_empty()).map(|abort| abort.missing.join("\n"))),
        ("queue", queue::place(snapshot)),
        ("waits for", queue::waits_for(snapshot).or_else(|| waits_for(snapshot))),
        ("archive says", snapshot.archive_error.clone()),
        ("epoch", Some(epoch(snapshot))),
        ("generation", Some(snapshot.generation.to_string())),
        ("trigger", Some(trigger(&snapshot.trigger))),
        ("labels", (!labels.is_empty()).then(|| labels.join(", "))),
        ("created", Some(time(snapshot.created_at))),
        ("recording", snapshot.recording_at.map(time)),
        ("committing", snapshot.committing_at.map(time)),
        ("ended", snapshot.ended_at.map(time)),
        ("timeout", snapshot.timeout.filter(|_| snapshot.ended_at.is_none()).map(|timeout| timeout.to_string())),
        ("deadline", snapshot.ended_at.is_none().then(|| time(snapshot.deadline_at))),
        ("bytes", Some(bytes(snapshot.bytes))),
        ("in flight", snapshot.messages_in_flight.map(|n| format!("{n} messages"))),
    ]);
    if snapshot.members.is_empty() {
        return above;
    }
    let rows = snapshot.members.iter().map(|member| {
        [
            member.member.to_string(),
            member.incarnation.to_string(),
            phase(member.phase).to_owned(),
            bytes(member.bytes),
            time_or_dash(member.reported_at),
            member.missing.join("\n"),
        ]
    });
    format!("{above}\n\n{}", table(["MEMBER", "INCARNATION", "PHASE", "BYTES", "REPORTED", "WAITS FOR"], rows))
}

/// How far a snapshot is, in a line.
#[must_use]
pub fn how_far(snapshot: &Snapshot) -> String {
    match snapshot.state {
        SnapshotState::Pending => {
            let place = queue::place(snapshot).map_or_else(String::new, |place| format!(" ({place})"));
            let what = queue::waits_for(snapshot).unwrap_or_else(|| "its turn".to_owned());
            format!("pending{place}: waits for {what}")
        }
        SnapshotState::Recording => {
            let reported = snapshot.members.iter().filter(|member| member.phase == MemberPhase::Reported).count();
            let waits = waits_for(snapshot).map_or_else(String::new, |who| format!("; waits for {who}"));
            format!("recording: {reported} of {} members have reported{waits}", snapshot.members.len())
        }
        SnapshotState::Committing => match &snapshot.archive_error {
            Some(error) => format!("committing, tried again and again: {error}"),
            None => "committing".to_owned(),
        },
        SnapshotState::Committed | SnapshotState::Aborted | SnapshotState::Deleting | SnapshotState::Deleted => {
            snapshot.state.to_string()
        }
    }
}

/// Who hasn't reported while it is recorded: a few by name, and how many more.
fn waits_for(snapshot: &Snapshot) -> Option<String> {
    const NAMED: usize = 8;
    if snapshot.state != SnapshotState::Recording {
        return None;
    }
    let missing: Vec<&SnapshotMember> = snapshot.members.iter().filter(|m| m.phase != MemberPhase::Reported).collect();
    let named: Vec<&str> = missing.iter().take(NAMED).map(|member| member.member.as_str()).collect();
    match missing.len() {
        0 => None,
        n if n > NAMED => Some(format!("{} and {} more", named.join(", "), n - NAMED)),
        _ => Some(named.join(", ")),
    }
}

fn blame(abort: &Abort) -> Option<String> {
    let member = abort.member.as_ref().map(|member| format!("member {member}"));
    let channel = abort.channel.as_ref().map(|channel| format!("channel {channel}"));
    let missing = abort.messages_missing.map(|n| format!("{n} messages missing"));
    let since = abort.since.filter(|_| member.is_some() || channel.is_some()).map(|since| format!("since {}", time(since)));
    let parts: Vec<String> = [member, channel, missing, since].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn epoch(snapshot: &Snapshot) -> String {
    snapshot.epoch.map_or_else(dash, |epoch| epoch.to_string())
}

fn phase(phase: MemberPhase) -> &'static str {
    match phase {
        MemberPhase::Waiting => "waiting",
        MemberPhase::Recording => "recording",
        MemberPhase::Reported => "reported",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(changes: serde_json::Value) -> Snapshot {
        let mut value = json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "cluster": "bank", "epoch": 7, "generation": 2, "state": "recording",
            "abort": null, "trigger": {"kind": "request"}, "labels": {}, "created_at": "2026-01-02T03:04:05Z",
            "recording_at": "2026-01-02T03:04:05Z", "committing_at": null, "ended_at": null, "deadline_at": "2026-01-02T03:05:05Z",
            "bytes": 0, "messages_in_flight": null,
            "members": [
                {"member": "p1", "incarnation": 1, "phase": "reported", "bytes": 812, "reported_at": "2026-01-02T03:04:06Z", "missing": []},
                {"member": "p2", "incarnation": 3, "phase": "recording", "bytes": 0, "reported_at": null,
                 "missing": ["`p1 -> p2`: marker not seen for 28 s; 17 of 20 messages"]}]
        });
        for (key, change) in changes.as_object().expect("an object") {
            value[key] = change.clone();
        }
        serde_json::from_value(value).expect("a snapshot")
    }

    #[test]
    fn a_snapshot_under_way_shows_who_and_what_is_missing() {
        let snapshot = snapshot(json!({}));
        assert_eq!(how_far(&snapshot), "recording: 1 of 2 members have reported; waits for p2");
        let text = describe(&snapshot);
        assert!(text.contains("waits for   p2") && text.contains("marker not seen for 28 s; 17 of 20 messages"), "{text}");
    }

    #[test]
    fn a_snapshot_that_waits_shows_its_place_and_what_holds_it_up() {
        let holder = json!({"snapshot": "01890a5d-ac96-774b-bcce-b302099a8058", "state": "committing", "since": "2026-01-02T03:04:07Z",
                            "archive_error": "it is away"});
        let snapshot = snapshot(json!({
            "state": "pending", "epoch": null, "recording_at": null, "members": [], "position": 3,
            "waits_for": {"kind": "archive", "held_by": [holder]}
        }));
        let far = how_far(&snapshot);
        for says in ["(2 before it)", "b302099a8058, committing since 2026-01-02 03:04:07Z", "the archive says: it is away"] {
            assert!(far.contains(says), "{far}");
        }
        assert!(describe(&snapshot).contains("waits for   the archive"), "{}", describe(&snapshot));
        assert!(list(&[snapshot]).contains("pending: 2 before it"));
    }

    #[test]
    fn a_snapshot_that_the_archive_holds_up_says_so() {
        let snapshot =
            snapshot(json!({"state": "committing", "committing_at": "2026-01-02T03:04:07Z", "archive_error": "it is away"}));
        assert!(how_far(&snapshot).contains("it is away"));
        assert!(describe(&snapshot).contains("it is away"));
    }

    #[test]
    fn an_aborted_snapshot_shows_reason_and_blame() {
        let snapshot = snapshot(json!({
            "state": "aborted", "ended_at": "2026-01-02T03:04:35Z",
            "abort": {"reason": "deadline_exceeded", "detail": "not done in 30 s", "member": "p2",
                      "channel": {"from": "p1", "to": "p2"}, "since": "2026-01-02T03:04:07Z", "messages_missing": 3, "missing": ["`p1 -> p2`: marker not seen for 28 s"]}
        }));
        let text = describe(&snapshot);
        for says in [
            "aborted after 30.0 s",
            "deadline_exceeded: not done in 30 s",
            "member p2, channel p1 -> p2, 3 messages missing, since 2026-01-02 03:04:07Z",
            "marker not seen for 28 s",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
        assert!(list(&[snapshot]).contains("aborted: deadline_exceeded"));
    }
}
