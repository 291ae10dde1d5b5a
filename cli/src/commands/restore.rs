//! `stillframe restore`: put a cluster back to a snapshot.

use clap::Subcommand;
use stillframe_api::{
    Client,
    restore::{Restore, RestorePhase, RestoreState, StartRestore},
    snapshot::Trigger,
};
use stillframe_protocol::{ClusterName, RestoreId, SnapshotId};

use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    parse::{self, UNTIL_ENDED, Wait},
    progress::Progress,
    text::{bytes, facts, table, time, took},
    wait::{timed_out, until_ended},
};

/// What to do with restores.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Put a cluster back to a committed snapshot; everything since is lost
    Start {
        /// The cluster
        cluster: ClusterName,
        /// The committed snapshot
        #[arg(value_parser = parse::snapshot_id)]
        snapshot: SnapshotId,
        /// Wait until it has ended, or for so long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = UNTIL_ENDED, value_parser = parse::wait)]
        wait: Option<Wait>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show a restore and how far each member is
    Show {
        /// The restore
        #[arg(value_parser = parse::restore_id)]
        restore: RestoreId,
        /// Wait until it has ended, or for so long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = UNTIL_ENDED, value_parser = parse::wait)]
        wait: Option<Wait>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// Does it.
///
/// # Errors
/// [`CliError`]: what the coordinator says; [`CliError::RestoreFailed`] and [`CliError::TimedOut`] after a wait.
pub async fn run(command: RestoreCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        RestoreCommand::Start { cluster, snapshot, wait, api } => {
            let client = api.client()?;
            let restore = client.start_restore(&cluster, &StartRestore { snapshot }).await?;
            show(&client, restore, wait, out).await
        }
        RestoreCommand::Show { restore, wait, api } => {
            let client = api.client()?;
            let restore = client.restore(restore).await?;
            show(&client, restore, wait, out).await
        }
    }
}

/// Prints it, once it has ended if that is to be waited for; the outcome counts only then.
async fn show(client: &Client, restore: Restore, wait: Option<Wait>, out: &mut Output) -> Result<(), CliError> {
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
    let waiting: Vec<&str> = restore
        .members
        .iter()
        .filter(|member| member.phase == RestorePhase::Waiting)
        .map(|member| member.member.as_str())
        .collect();
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

fn phase(phase: RestorePhase) -> &'static str {
    match phase {
        RestorePhase::Waiting => "waiting",
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
    }
}

fn describe(restore: &Restore) -> String {
    let took = restore.ended_at.map_or_else(String::new, |ended| format!(" after {}", took(restore.created_at, ended)));
    let above = facts([
        ("restore", Some(restore.id.to_string())),
        ("cluster", Some(restore.cluster.to_string())),
        ("snapshot", Some(restore.snapshot.to_string())),
        ("state", Some(format!("{}{took}", restore.state.as_str()))),
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
            bytes(member.bytes),
            member.error.clone().unwrap_or_default(),
        ]
    });
    format!("{above}\n\n{}", table(["MEMBER", "INCARNATION", "PHASE", "BYTES", "ERROR"], rows))
}
