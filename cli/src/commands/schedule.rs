//! `stillframe schedule`: snapshots at an interval.

use clap::Subcommand;
use serde::Serialize;
use stillframe_api::{
    HumanDuration,
    schedule::{PutSchedule, Schedule},
};
use stillframe_protocol::{ClusterName, name::ScheduleName};

use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    text::{facts, time},
};

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Create a schedule, or change it
    Set {
        /// The cluster
        cluster: ClusterName,
        /// The schedule's name
        name: ScheduleName,
        /// How often: at least 50ms
        #[arg(long, value_name = "DURATION")]
        every: HumanDuration,
        /// How long each snapshot may take [default: the cluster's snapshot timeout]
        #[arg(long, value_name = "DURATION")]
        timeout: Option<HumanDuration>,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show a schedule and its next slot
    Show {
        /// The cluster
        cluster: ClusterName,
        /// The schedule's name
        name: ScheduleName,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Delete a schedule; its snapshots stay
    Delete {
        /// The cluster
        cluster: ClusterName,
        /// The schedule's name
        name: ScheduleName,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
}

/// What is printed of a schedule that is gone: the API has nothing left to say of it.
#[derive(Serialize)]
struct Deleted {
    cluster: ClusterName,
    name: ScheduleName,
    deleted: bool,
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: ScheduleCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        ScheduleCommand::Set { cluster, name, every, timeout, api } => {
            let schedule = api.client()?.put_schedule(&cluster, &name, &PutSchedule { every, timeout }).await?;
            out.result(&schedule, describe)
        }
        ScheduleCommand::Show { cluster, name, api } => {
            let schedule = api.client()?.schedule(&cluster, &name).await?;
            out.result(&schedule, describe)
        }
        ScheduleCommand::Delete { cluster, name, api } => {
            api.client()?.delete_schedule(&cluster, &name).await?;
            let deleted = Deleted { cluster, name, deleted: true };
            out.result(&deleted, |gone| format!("schedule {} of {} is deleted; its snapshots stay", gone.name, gone.cluster))
        }
    }
}

fn describe(schedule: &Schedule) -> String {
    facts([
        ("schedule", Some(schedule.name.to_string())),
        ("cluster", Some(schedule.cluster.to_string())),
        ("every", Some(schedule.every.to_string())),
        ("timeout", schedule.timeout.map(|timeout| timeout.to_string())),
        ("next slot", Some(time(schedule.next_at))),
        ("last slot", schedule.last_slot_at.map(time)),
        ("last snapshot", schedule.last_snapshot.map(|id| id.to_string())),
        ("last slot skipped", schedule.last_skip.clone()),
        ("created", Some(time(schedule.created_at))),
    ])
}
