//! Whom and what a snapshot waits for, in words; [`reasons`] makes the abort of one that waited in vain.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stillframe_api::{HumanDuration, agent::MissingChannel, snapshot::Channel};
use stillframe_protocol::MemberName;

use super::facts::SnapshotFacts;

pub mod reasons;

/// How many lines of what is missing are kept.
const MAX_LINES: usize = 100;

/// How many members are named in a sentence.
const MAX_NAMED: usize = 8;

/// A member says what it waits for after a second; until then its silence means nothing.
const SILENCE_MEANS_NOTHING: Duration = Duration::from_secs(2);

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} s", duration.as_secs())
    }
}

/// A time that somebody set.
fn setting(ms: u64) -> String {
    HumanDuration::from_millis(ms).to_string()
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// Some members by name, and how many more.
fn named(members: &[&MemberName]) -> String {
    let names: Vec<&str> = members.iter().take(MAX_NAMED).map(|member| member.as_str()).collect();
    match members.len().saturating_sub(MAX_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
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

/// As [`member_lines`], of a snapshot that goes on: that a member wasn't heard of yet is no news before it should have been.
#[must_use]
pub fn member_lines_so_far(snapshot: &SnapshotFacts, member: &MemberName, now: Timestamp) -> Vec<String> {
    let began = snapshot.recording_at.unwrap_or(snapshot.created_at);
    if !snapshot.state.has_ended() && !snapshot.progress.contains_key(member) && since(began, now) < SILENCE_MEANS_NOTHING {
        return Vec::new();
    }
    member_lines(snapshot, member, now)
}

/// Everything that a snapshot still waits for.
#[must_use]
pub fn missing_lines(snapshot: &SnapshotFacts, now: Timestamp) -> Vec<String> {
    snapshot.view.keys().flat_map(|member| member_lines(snapshot, member, now)).take(MAX_LINES).collect()
}

/// A channel that isn't closed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenChannel {
    channel: Channel,
    since: Timestamp,
    /// How many messages are missing; unknown until the marker has come.
    messages_missing: Option<u64>,
}

/// The channels that members said they wait for.
fn open_channels(snapshot: &SnapshotFacts) -> impl Iterator<Item = OpenChannel> {
    let waiting = snapshot.progress.iter().filter(|(member, _)| !snapshot.reported.contains(*member));
    waiting.flat_map(|(to, progress)| {
        progress.missing.iter().map(move |missing| {
            let waited = SignedDuration::from_millis(i64::try_from(missing.since_ms).unwrap_or(i64::MAX));
            OpenChannel {
                channel: Channel { from: missing.from.clone(), to: to.clone() },
                since: progress.at.checked_sub(waited).unwrap_or(Timestamp::MIN),
                messages_missing: missing.expected.map(|expected| expected.saturating_sub(missing.received)),
            }
        })
    })
}
