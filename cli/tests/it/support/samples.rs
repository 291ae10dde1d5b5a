//! The API's objects, as a coordinator would send them.

use serde_json::{Value, json};

pub(crate) const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

pub(crate) fn snapshot(state: &str) -> Value {
    let abort = (state == "aborted").then(|| {
        json!({
            "reason": "deadline_exceeded", "detail": "it hadn't ended after 30s", "member": "p2",
            "channel": {"from": "p1", "to": "p2"}, "since": null, "messages_missing": null,
            "missing": ["`p1 -> p2`: marker not seen for 28 s; 17 of 20 messages"]
        })
    });
    json!({
        "id": ID, "cluster": "bank", "epoch": 7, "generation": 2, "state": state, "abort": abort,
        "trigger": {"kind": "schedule", "schedule": "hourly"}, "labels": {"release": "1.4"},
        "created_at": "2026-01-02T03:04:05Z", "recording_at": "2026-01-02T03:04:05Z", "committing_at": null,
        "ended_at": null, "timeout": "1m", "deadline_at": "2026-01-02T03:05:05Z", "position": null, "waits_for": null,
        "archive_error": null, "bytes": 812, "messages_in_flight": null,
        "members": [
            {"member": "p1", "incarnation": 1, "phase": "reported", "bytes": 812, "reported_at": "2026-01-02T03:04:06Z", "missing": []},
            {"member": "p2", "incarnation": 3, "phase": "recording", "bytes": 0, "reported_at": null, "missing": []}
        ]
    })
}

pub(crate) fn restore(state: &str) -> Value {
    let failure = (state == "failed").then_some("p1: clusters/bank/x/state is truncated: expected 812 bytes, found 7");
    json!({
        "id": ID, "cluster": "bank", "snapshot": ID, "generation": 3, "state": state, "trigger": {"kind": "request"},
        "failure": failure, "failure_reason": failure.map(|_| "unreadable"), "fallback": 0, "retries": 3, "mapping": {}, "unreadable": [],
        "created_at": "2026-01-02T03:04:05Z", "resumed_at": null, "ended_at": null,
        "deadline_at": "2026-01-02T03:05:05Z",
        "members": [{"member": "p1", "part": "p1", "incarnation": 4, "phase": "waiting", "bytes": 812, "loaded_bytes": 0, "retries": 0, "error": null}]
    })
}

pub(crate) fn cluster(name: &str) -> Value {
    json!({
        "name": name, "phase": "running", "phase_reason": null, "generation": 2, "epoch": 7, "revision": 40, "min_members": 2,
        "live_members": 2, "lost_members": 0, "snapshot_timeout": "1m", "on_loss": "restore_latest", "archive_prefix": null,
        "max_concurrent": 1, "min_pause": "0s", "under_way": [], "pending": 0,
        "rollback": {"limit": 5, "window": "10m", "backoff": "1s", "fallback": 0}, "channel_state": "marker", "alignment": "unaligned",
        "aligned_timeout": null, "in_force": {"channel_state": "marker", "alignment": "unaligned", "aligned_timeout": null}, "restore": null, "latest_committed": ID, "created_at": "2026-01-02T03:04:05Z"
    })
}

pub(crate) fn problem(code: &str, status: u16) -> Value {
    json!({
        "type": format!("urn:stillframe:problem:{code}"), "title": "a title", "status": status, "detail": "expected this, found that",
        "code": code, "hint": "do this now"
    })
}
