//! Composing whom and what an aborted snapshot waited for.

use std::time::Duration;

use jiff::Timestamp;
use stillframe_api::{
    agent::MissingChannel,
    snapshot::{Abort, AbortReason, Channel},
};
use stillframe_protocol::MemberName;

use super::facts::SnapshotFacts;

/// How many lines of what is missing are kept.
const MAX_LINES: usize = 100;

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} s", duration.as_secs())
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// What a channel waits for, in a line: "`a -> b`: marker not seen for 28 s; 17 messages so far".
#[must_use]
pub fn channel_line(missing: &MissingChannel, to: &MemberName, age: Duration) -> String {
    let waited = seconds(Duration::from_millis(missing.since_ms) + age);
    let (from, received) = (&missing.from, missing.received);
    match missing.expected {
        None => format!("`{from} -> {to}`: marker not seen for {waited}; {received} messages so far"),
        Some(expected) => format!("`{from} -> {to}`: {received} of {expected} messages after {waited}"),
    }
}

/// What one member of the view still owes, a line a channel; empty when its part is there.
#[must_use]
pub fn member_lines(snapshot: &SnapshotFacts, member: &MemberName, now: Timestamp) -> Vec<String> {
    if snapshot.reported.contains(member) {
        return Vec::new();
    }
    match snapshot.progress.get(member) {
        Some(progress) if progress.missing.is_empty() => {
            vec![format!("{member}: its channels are closed, its part is being stored")]
        }
        Some(progress) => progress.missing.iter().map(|m| channel_line(m, member, since(progress.at, now))).collect(),
        None => {
            let waited = since(snapshot.recording_at.unwrap_or(snapshot.created_at), now);
            vec![format!("{member}: nothing was heard of it for {}", seconds(waited))]
        }
    }
}

/// Everything that a snapshot still waits for.
#[must_use]
pub fn missing_lines(snapshot: &SnapshotFacts, now: Timestamp) -> Vec<String> {
    snapshot.view.keys().flat_map(|member| member_lines(snapshot, member, now)).take(MAX_LINES).collect()
}

/// The abort of a snapshot whose deadline has passed. The blame goes to a member that was never heard of, else to the channel that was
/// waited for longest.
#[must_use]
pub fn deadline(snapshot: &SnapshotFacts, now: Timestamp) -> Abort {
    let waiting: Vec<&MemberName> = snapshot.view.keys().filter(|m| !snapshot.reported.contains(*m)).collect();
    let silent = waiting.iter().find(|m| !snapshot.progress.contains_key(**m)).copied().cloned();
    let longest = waiting
        .iter()
        .filter_map(|member| snapshot.progress.get(*member).map(|progress| (*member, progress)))
        .flat_map(|(member, progress)| progress.missing.iter().map(move |missing| (member, missing)))
        .max_by_key(|(_, missing)| missing.since_ms)
        .map(|(member, missing)| Channel { from: missing.from.clone(), to: member.clone() });
    let timeout = seconds(Duration::from_millis(snapshot.timeout_ms));
    let detail = match (waiting.len(), snapshot.epoch) {
        (_, None) => format!("it waited {timeout} for a slot"),
        (0, Some(_)) => format!("all parts are there, but it was not committed within {timeout}"),
        (n, Some(_)) => format!("{n} of {} parts were not there within {timeout}", snapshot.view.len()),
    };
    let channel = if silent.is_some() { None } else { longest };
    let member = silent.or_else(|| channel.as_ref().map(|c| c.to.clone())).or_else(|| waiting.first().map(|m| (*m).clone()));
    Abort { reason: AbortReason::DeadlineExceeded, detail, member, channel, missing: missing_lines(snapshot, now) }
}
