//! How a restore went, and how far it is.

use stillframe_api::{
    Client,
    restore::{Restore, RestoreMember, RestorePhase, RestoreState},
    snapshot::Trigger,
};

use crate::{
    error::CliError,
    output::Output,
    parse::Wait,
    progress::Progress,
    text::{bytes, dash, facts, table, time, took},
    wait::{timed_out, until_ended},
};

/// Prints it, once it has ended if that is to be waited for; the outcome counts only then.
pub(super) async fn print(client: &Client, restore: Restore, wait: Option<Wait>, out: &mut Output) -> Result<(), CliError> {
    let Some(wait) = wait else {
        return out.result(&restore, describe);
    };
    let (progress, id) = (Progress::new(out.is_json()), restore.id);
    let restore = until_ended(restore, wait, &progress, async |hold| client.wait_restore(id, hold).await).await?;
    drop(progress);
    out.result(&restore, describe)?;
    match restore.state {
        RestoreState::Completed => Ok(()),
        RestoreState::Failed => {
            let reason = restore.failure.unwrap_or_else(|| "the coordinator gave no reason".to_owned());
            Err(CliError::RestoreFailed { restore: id, reason })
        }
        RestoreState::Planned | RestoreState::Preparing | RestoreState::Resuming => {
            Err(timed_out(format!("restore {id}"), &restore, wait))
        }
    }
}

/// How far a restore is, in a line.
#[must_use]
pub fn how_far(restore: &Restore) -> String {
    let reached = |phases: &[RestorePhase]| restore.members.iter().filter(|member| phases.contains(&member.phase)).count();
    let all = restore.members.len();
    let waits = |member: &&RestoreMember| match member.phase {
        RestorePhase::Waiting | RestorePhase::Loading | RestorePhase::Retrying => true,
        RestorePhase::Prepared | RestorePhase::Running | RestorePhase::Failed => false,
    };
    let waiting: Vec<String> = restore.members.iter().filter(waits).map(how_far_a_member).collect();
    match restore.state {
        RestoreState::Planned | RestoreState::Preparing => {
            let ready = reached(&[RestorePhase::Prepared, RestorePhase::Running]);
            let waiting = if waiting.is_empty() { String::new() } else { format!("; waiting for {}", waiting.join(", ")) };
            format!("{}: {ready} of {all} members have their parts{waiting}", restore.state.as_str())
        }
        RestoreState::Resuming => format!("resuming: {} of {all} members run", reached(&[RestorePhase::Running])),
        RestoreState::Completed | RestoreState::Failed => restore.state.as_str().to_owned(),
    }
}

/// A member that isn't prepared, with how far it is.
fn how_far_a_member(member: &RestoreMember) -> String {
    let name = &member.member;
    match member.phase {
        RestorePhase::Loading => format!("{name} ({} of {})", bytes(member.loaded_bytes), bytes(member.bytes)),
        RestorePhase::Retrying => format!("{name} (tries again)"),
        RestorePhase::Waiting | RestorePhase::Prepared | RestorePhase::Running | RestorePhase::Failed => name.to_string(),
    }
}

fn phase(phase: RestorePhase) -> &'static str {
    match phase {
        RestorePhase::Waiting => "waiting",
        RestorePhase::Loading => "loading",
        RestorePhase::Retrying => "retrying",
        RestorePhase::Prepared => "prepared",
        RestorePhase::Running => "running",
        RestorePhase::Failed => "failed",
    }
}

/// What asked for a snapshot or a restore, in words.
#[must_use]
pub fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Request => "request".to_owned(),
        Trigger::Schedule { schedule } => format!("schedule {schedule}"),
        Trigger::Automatic => "automatic".to_owned(),
        Trigger::Resync => "not known (taken up from the archive)".to_owned(),
    }
}

pub(super) fn describe(restore: &Restore) -> String {
    let took = restore.ended_at.map_or_else(String::new, |ended| format!(" after {}", took(restore.created_at, ended)));
    let above = facts([
        ("restore", Some(restore.id.to_string())),
        ("cluster", Some(restore.cluster.to_string())),
        ("snapshot", Some(restore.snapshot.to_string())),
        ("state", Some(format!("{}{took}", restore.state.as_str()))),
        ("reason", restore.failure_reason.map(|reason| reason.as_str().to_owned())),
        ("failure", restore.failure.clone()),
        ("generation", Some(restore.generation.to_string())),
        ("trigger", Some(trigger(&restore.trigger))),
        ("created", Some(time(restore.created_at))),
        ("resumed", restore.resumed_at.map(time)),
        ("ended", restore.ended_at.map(time)),
        ("deadline", restore.ended_at.is_none().then(|| time(restore.deadline_at))),
    ]);
    let rows = restore.members.iter().map(|member| {
        [
            member.member.to_string(),
            member.incarnation.to_string(),
            phase(member.phase).to_owned(),
            if member.part == member.member { dash() } else { member.part.to_string() },
            format!("{} of {}", bytes(member.loaded_bytes), bytes(member.bytes)),
            member.error.clone().unwrap_or_default(),
        ]
    });
    let tried: String = restore
        .unreadable
        .iter()
        .map(|t| format!("\nunreadable: snapshot {} ({}: {})", t.snapshot, t.member, t.detail))
        .collect();
    format!("{above}{tried}\n\n{}", table(["MEMBER", "INCARNATION", "PHASE", "PART OF", "LOADED", "ERROR"], rows))
}

pub(super) fn list(restores: &[Restore]) -> String {
    let rows = restores.iter().map(|restore| {
        [
            restore.id.to_string(),
            restore.state.as_str().to_owned(),
            restore.failure_reason.map_or_else(dash, |reason| reason.as_str().to_owned()),
            restore.generation.to_string(),
            restore.snapshot.to_string(),
            trigger(&restore.trigger),
            time(restore.created_at),
            restore.ended_at.map_or_else(dash, |ended| took(restore.created_at, ended)),
        ]
    });
    table(["RESTORE", "STATE", "REASON", "GENERATION", "SNAPSHOT", "TRIGGER", "CREATED", "TOOK"], rows)
}
