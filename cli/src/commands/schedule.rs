//! `stillframe schedule`: snapshots at an interval, or by the clock.

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use stillframe_api::{
    DurationOrZero, HumanDuration,
    schedule::{Misfire, OnOverlap, PauseSchedule, PutSchedule, Schedule},
};
use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::{
    paging::{self, PageArgs},
    snapshot,
};
use crate::{
    connect::ApiArgs,
    error::CliError,
    output::Output,
    parse::{self, UNTIL_ENDED, Wait},
    text::{dash, facts, table, time},
};

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Create a schedule, or change it: what isn't named is as in a new one
    Set(Box<SetArgs>),
    /// List a cluster's schedules by name
    List {
        /// The cluster
        cluster: ClusterName,
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// Which coordinator.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Show a schedule and its next slots
    Show(Which),
    /// Pause a schedule: until it is resumed, unless told
    Pause {
        /// Which schedule.
        #[command(flatten)]
        which: Which,
        /// Until when, such as 2026-11-24T08:00:00Z
        #[arg(long, value_name = "TIME", conflicts_with = "for_duration")]
        until: Option<Timestamp>,
        /// For how long
        #[arg(long = "for", value_name = "DURATION")]
        for_duration: Option<HumanDuration>,
    },
    /// End a schedule's pause: the next slot is the first later than now
    Resume(Which),
    /// Take a snapshot as the schedule would, now; also while it is paused
    Trigger {
        /// Which schedule.
        #[command(flatten)]
        which: Which,
        /// Wait until it has ended, or for so long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = UNTIL_ENDED, value_parser = parse::wait)]
        wait: Option<Wait>,
    },
    /// Delete a schedule; its snapshots stay
    Delete(Which),
}

/// One schedule.
#[derive(Debug, Args)]
pub struct Which {
    /// The cluster
    cluster: ClusterName,
    /// The schedule's name
    name: ScheduleName,
    /// Which coordinator.
    #[command(flatten)]
    api: ApiArgs,
}

/// A schedule as it is to be.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("clock").required(true),
    override_usage = "stillframe schedule set [OPTIONS] <CLUSTER> <NAME> <--every <DURATION>|--cron <EXPRESSION>>"
)]
pub struct SetArgs {
    /// Which schedule.
    #[command(flatten)]
    which: Which,
    /// How often: at least 50ms
    #[arg(long, value_name = "DURATION", group = "clock")]
    every: Option<HumanDuration>,
    /// At which times of the clock: minute, hour, day of the month, month, day of the week, such as "30 2 * * 1-5"; or @hourly, @daily
    #[arg(long, value_name = "EXPRESSION", group = "clock")]
    cron: Option<String>,
    /// The time zone that --cron is read in, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", conflicts_with = "every")]
    time_zone: String,
    /// Fire each slot later by a part of this, always the same for a slot
    #[arg(long, value_name = "DURATION", default_value_t)]
    jitter: DurationOrZero,
    /// Skip a slot that comes sooner than this after the beginning of the cluster's latest snapshot
    #[arg(long, value_name = "DURATION", default_value_t)]
    min_pause: DurationOrZero,
    /// How long each snapshot may take [default: the cluster's snapshot timeout]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<HumanDuration>,
    /// What becomes of a slot at whose time a snapshot can't begin at once
    #[arg(long, value_enum, default_value_t)]
    on_overlap: Overlap,
    /// What becomes of slots that were missed because nobody was there to decide them
    #[arg(long, value_enum, default_value_t)]
    misfire: Missed,
    /// A label of each snapshot; may be given up to 32 times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,
}

/// [`OnOverlap`], as written on the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Overlap {
    /// It takes no snapshot
    #[default]
    Skip,
    /// Its snapshot waits its turn
    Queue,
}

/// [`Misfire`], as written on the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Missed {
    /// They take no snapshot
    #[default]
    Skip,
    /// One snapshot is taken for all of them together
    Once,
}

/// What is printed of a schedule that is gone: the API has nothing left to say of it.
#[derive(Serialize)]
struct Deleted {
    cluster: ClusterName,
    name: ScheduleName,
    deleted: bool,
}

impl SetArgs {
    fn request(self) -> (Which, PutSchedule) {
        let Self { which, every, cron, time_zone, jitter, min_pause, timeout, on_overlap, misfire, labels } = self;
        let on_overlap = match on_overlap {
            Overlap::Skip => OnOverlap::Skip,
            Overlap::Queue => OnOverlap::Queue,
        };
        let misfire = match misfire {
            Missed::Skip => Misfire::Skip,
            Missed::Once => Misfire::Once,
        };
        let labels = labels.into_iter().collect();
        (which, PutSchedule { every, cron, time_zone, jitter, min_pause, timeout, labels, on_overlap, misfire })
    }
}

/// Does it.
///
/// # Errors
/// [`CliError`], nearly always what the coordinator says.
pub async fn run(command: ScheduleCommand, out: &mut Output) -> Result<(), CliError> {
    match command {
        ScheduleCommand::Set(args) => {
            let (Which { cluster, name, api }, request) = args.request();
            let schedule = api.client()?.put_schedule(&cluster, &name, &request).await?;
            out.result(&schedule, describe)
        }
        ScheduleCommand::List { cluster, page, api } => {
            let client = api.client()?;
            let page = page.fetch(async |query| client.list_schedules(&cluster, &query).await).await?;
            paging::print(out, &page, list)
        }
        ScheduleCommand::Show(Which { cluster, name, api }) => {
            let schedule = api.client()?.schedule(&cluster, &name).await?;
            out.result(&schedule, describe)
        }
        ScheduleCommand::Pause { which: Which { cluster, name, api }, until, for_duration } => {
            let pause = PauseSchedule { until, for_duration };
            let schedule = api.client()?.pause_schedule(&cluster, &name, &pause).await?;
            out.result(&schedule, describe)
        }
        ScheduleCommand::Resume(Which { cluster, name, api }) => {
            let schedule = api.client()?.resume_schedule(&cluster, &name).await?;
            out.result(&schedule, describe)
        }
        ScheduleCommand::Trigger { which: Which { cluster, name, api }, wait } => {
            let client = api.client()?;
            let taken = client.trigger_schedule(&cluster, &name).await?;
            snapshot::print(&client, taken, wait, out).await
        }
        ScheduleCommand::Delete(Which { cluster, name, api }) => {
            api.client()?.delete_schedule(&cluster, &name).await?;
            let deleted = Deleted { cluster, name, deleted: true };
            out.result(&deleted, |gone| format!("schedule {} of {} is deleted; its snapshots stay", gone.name, gone.cluster))
        }
    }
}

/// When its slots are.
fn clock(schedule: &Schedule) -> String {
    match (&schedule.every, &schedule.cron) {
        (Some(every), _) => format!("every {every}"),
        (None, Some(cron)) => format!("{cron} ({})", schedule.time_zone),
        (None, None) => dash(),
    }
}

fn next(schedule: &Schedule) -> String {
    match (schedule.paused, schedule.next_at) {
        (true, None) => "paused".to_owned(),
        (true, Some(next)) => format!("{} (paused)", time(next)),
        (false, next) => next.map_or_else(dash, time),
    }
}

fn list(schedules: &[Schedule]) -> String {
    let rows = schedules.iter().map(|schedule| {
        [
            schedule.name.to_string(),
            clock(schedule),
            next(schedule),
            schedule.last_slot_at.map_or_else(dash, time),
            schedule.missed.to_string(),
            schedule.last_skip.clone().unwrap_or_default(),
        ]
    });
    table(["SCHEDULE", "SLOTS", "NEXT", "LAST SLOT", "MISSED", "LAST SLOT SKIPPED"], rows)
}

fn describe(schedule: &Schedule) -> String {
    let labels: Vec<String> = schedule.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let overlap = match schedule.on_overlap {
        OnOverlap::Skip => "skip the slot",
        OnOverlap::Queue => "wait as pending",
    };
    let misfire = match schedule.misfire {
        Misfire::Skip => "skip them",
        Misfire::Once => "take one snapshot for all of them",
    };
    let paused = schedule
        .paused
        .then(|| schedule.paused_until.map_or_else(|| "until it is resumed".to_owned(), |u| format!("until {}", time(u))));
    let upcoming: Vec<String> = schedule.next.iter().map(|next| time(*next)).collect();
    let missed = schedule.last_missed_at.map_or_else(String::new, |last| format!(", the last {}", time(last)));
    facts([
        ("schedule", Some(schedule.name.to_string())),
        ("cluster", Some(schedule.cluster.to_string())),
        ("slots", Some(clock(schedule))),
        ("jitter", (!schedule.jitter.is_zero()).then(|| schedule.jitter.to_string())),
        ("min pause", (!schedule.min_pause.is_zero()).then(|| schedule.min_pause.to_string())),
        ("timeout", schedule.timeout.map(|timeout| timeout.to_string())),
        ("labels", (!labels.is_empty()).then(|| labels.join(", "))),
        ("on overlap", Some(overlap.to_owned())),
        ("missed slots", Some(misfire.to_owned())),
        ("paused", paused),
        ("next", (!upcoming.is_empty()).then(|| upcoming.join("\n"))),
        ("last slot", schedule.last_slot_at.map(time)),
        ("last snapshot", schedule.last_snapshot.map(|id| id.to_string())),
        ("last slot skipped", schedule.last_skip.clone()),
        ("missed", (schedule.missed > 0).then(|| format!("{}{missed}", schedule.missed))),
        ("created", Some(time(schedule.created_at))),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schedule(changes: serde_json::Value) -> Schedule {
        let mut value = json!({
            "name": "nightly", "cluster": "bank", "every": null, "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "jitter": "0s",
            "min_pause": "0s", "timeout": null, "labels": {}, "on_overlap": "skip", "misfire": "once", "paused": false, "paused_until": null,
            "next_at": "2026-01-02T01:30:00Z", "next": ["2026-01-02T01:30:00Z", "2026-01-03T01:30:00Z"], "last_slot_at": null,
            "last_snapshot": null, "last_skip": null, "missed": 0, "last_missed_at": null, "created_at": "2026-01-01T03:04:05Z"
        });
        for (key, change) in changes.as_object().expect("an object") {
            value[key] = change.clone();
        }
        serde_json::from_value(value).expect("a schedule")
    }

    #[test]
    fn a_schedule_shows_its_clock_and_its_next_slots() {
        let text = describe(&schedule(json!({"missed": 3, "last_missed_at": "2026-01-01T01:30:00Z"})));
        for says in
            ["30 2 * * * (Europe/Berlin)", "2026-01-02 01:30:00Z\n", "2026-01-03 01:30:00Z", "3, the last 2026-01-01 01:30:00Z"]
        {
            assert!(text.contains(says), "{says}: {text}");
        }
        assert!(list(&[schedule(json!({"cron": null, "every": "30s"}))]).contains("every 30s"));
    }

    #[test]
    fn a_paused_schedule_says_until_when() {
        let until = schedule(json!({"paused": true, "paused_until": "2026-01-02T00:00:00Z"}));
        assert!(describe(&until).contains("until 2026-01-02 00:00:00Z"));
        let without_end = schedule(json!({"paused": true, "next_at": null, "next": []}));
        assert!(describe(&without_end).contains("until it is resumed") && list(&[without_end]).contains("paused"));
    }
}
