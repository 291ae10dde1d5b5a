//! `stillframe demo`: a live cluster of processes is checkpointed, loses a member, is put back, and proves that nothing was lost.
//!
//! | to find | look in |
//! | --- | --- |
//! | the story, in order | this file |
//! | Postgres, coordinator and archive | [`stage`] |
//! | the member processes | [`members`] |
//! | what is shown while it runs | [`view`] |
//! | the proof, from the archive alone | [`summary`] |

mod members;
mod stage;
mod summary;
mod view;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use stillframe_api::{
    HumanDuration,
    cluster::{ClusterPhase, CreateCluster},
    schedule::PutSchedule,
    snapshot::{SnapshotState, TakeSnapshot},
};
use stillframe_protocol::{Generation, name::ScheduleName};

use self::{members::Members, stage::Stage, summary::Summary, view::View};
use crate::{error::CliError, exit::Exit, output::Output, parse, signals::StopSignal};

/// How long the cluster may take to run, to come back, or to take the last snapshot. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the demo looks whether something it waits for has come.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How often the live lines are drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What each account holds at the beginning.
const INITIAL: u64 = 1_000;

/// How many accounts a member holds.
const ACCOUNTS: u32 = 10;

/// Checkpoints a live cluster of processes, kills one, puts everything back, and proves that nothing was lost or counted twice.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How many member processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub members: u32,
    /// How many seconds the cluster runs.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub seconds: u64,
    /// How often a snapshot is taken: at least 50ms.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse::interval)]
    pub snapshot_every: HumanDuration,
    /// Kill no process.
    #[arg(long)]
    pub no_kill: bool,
    /// Keep the archive and the database here; without it they are in a temporary directory and go with the demo.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// [`CliError`] when something couldn't be started, or took longer than a minute; [`CliError::Interrupted`] after a signal.
pub async fn run(args: DemoArgs, out: &mut Output) -> Result<Exit, CliError> {
    let mut stop = StopSignal::install()?;
    let mut view = View::new(out.is_json());
    let stage = Stage::set(args.data_dir.as_deref(), &view).await?;
    let mut members = Members::new(&stage, args.members)?;
    let played = tokio::select! {
        played = play(&args, &stage, &mut members, &mut view) => played,
        () = stop.received() => Err(CliError::Interrupted),
    };
    members.end();
    view.end();
    let shown = match played {
        Ok(recovery) => prove(&args, &stage, recovery, out).await,
        Err(error) => Err(error),
    };
    stage.strike().await;
    shown
}

/// The story; returns how long the cluster took from SIGKILL to running again, in milliseconds.
async fn play(args: &DemoArgs, stage: &Stage, members: &mut Members, view: &mut View) -> Result<Option<u64>, CliError> {
    let create = CreateCluster {
        snapshot_timeout: HumanDuration::from_millis(10_000),
        ..CreateCluster::new(stage.cluster.clone(), args.members)
    };
    stage.client.create_cluster(&create).await?;
    view.say(&format!("starting {} member processes of cluster {}", args.members, stage.cluster));
    members.start_all()?;
    running(stage, "the cluster runs", Generation(1)).await?;
    let schedule = ScheduleName::new("demo").map_err(CliError::usage)?;
    stage.client.put_schedule(&stage.cluster, &schedule, &PutSchedule::every(args.snapshot_every)).await?;
    view.say(&format!("running; a snapshot every {}", args.snapshot_every));

    let length = Duration::from_secs(args.seconds);
    let mut recovery = None;
    if args.no_kill {
        watch(stage, members, view, length).await?;
    } else {
        watch(stage, members, view, length / 2).await?;
        restorable(stage).await?;
        recovery = Some(kill_one(stage, members, view).await?);
        watch(stage, members, view, length - length / 2).await?;
    }
    stage.client.delete_schedule(&stage.cluster, &schedule).await?;
    view.say("taking a last snapshot");
    last_snapshot(stage).await?;
    Ok(recovery)
}

/// Shows what happens for so long.
async fn watch(stage: &Stage, members: &mut Members, view: &mut View, length: Duration) -> Result<(), CliError> {
    let began = Instant::now();
    let mut draws = tokio::time::interval(DRAW_EVERY);
    while began.elapsed() < length {
        draws.tick().await;
        members.check()?;
        view.draw(stage, members).await?;
    }
    Ok(())
}

/// Kills the second member with SIGKILL, starts it again, and waits until the whole cluster runs from the restored snapshot.
async fn kill_one(stage: &Stage, members: &mut Members, view: &mut View) -> Result<u64, CliError> {
    let victim = members.names().nth(1).cloned().ok_or_else(|| CliError::Failed("there is nobody to kill".to_owned()))?;
    let before = stage.client.cluster(&stage.cluster).await?.generation;
    let pid = members.kill(&victim)?;
    let killed = Instant::now();
    members.start(&victim)?;
    running(stage, "the cluster runs again after the rollback", before.next()).await?;
    let recovery = u64::try_from(killed.elapsed().as_millis()).unwrap_or(u64::MAX);
    let generation = stage.client.cluster(&stage.cluster).await?.generation;
    view.say(&format!("killed {victim} (pid {pid}) with SIGKILL and started it again"));
    view.say(&format!("all members run from the last committed snapshot, in generation {generation}, after {recovery} ms"));
    Ok(recovery)
}

/// Waits until the cluster runs in this generation or a later one.
async fn running(stage: &Stage, what: &str, generation: Generation) -> Result<(), CliError> {
    let began = Instant::now();
    loop {
        let cluster = stage.client.cluster(&stage.cluster).await?;
        let reason = cluster.phase_reason.unwrap_or_default();
        match cluster.phase {
            ClusterPhase::Running if cluster.generation >= generation => return Ok(()),
            ClusterPhase::Halted => return Err(CliError::Failed(format!("waited until {what}, but it is halted: {reason}"))),
            ClusterPhase::Running | ClusterPhase::Forming | ClusterPhase::Restoring if began.elapsed() > PATIENCE => {
                return Err(CliError::Failed(format!(
                    "waited {PATIENCE:?} until {what}, but it is {:?}: {reason}",
                    cluster.phase
                )));
            }
            ClusterPhase::Running | ClusterPhase::Forming | ClusterPhase::Restoring => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Waits until there is a committed snapshot to go back to.
async fn restorable(stage: &Stage) -> Result<(), CliError> {
    let began = Instant::now();
    while stage.client.cluster(&stage.cluster).await?.latest_committed.is_none() {
        if began.elapsed() > PATIENCE {
            return Err(CliError::Failed(format!("no snapshot was committed within {PATIENCE:?}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn last_snapshot(stage: &Stage) -> Result<(), CliError> {
    let mut labels = TakeSnapshot::default();
    labels.labels.insert("demo".to_owned(), "last".to_owned());
    let taken = stage.client.take_snapshot(&stage.cluster, &labels).await?;
    let ended = stage.client.wait_snapshot(taken.id, PATIENCE).await?;
    match ended.state {
        SnapshotState::Committed => Ok(()),
        SnapshotState::Pending
        | SnapshotState::Recording
        | SnapshotState::Committing
        | SnapshotState::Aborted
        | SnapshotState::Deleting
        | SnapshotState::Deleted => Err(CliError::of_aborted(&ended)
            .unwrap_or_else(|| CliError::Failed(format!("the last snapshot is still {} after {PATIENCE:?}", ended.state)))),
    }
}

/// Verifies everything from the archive alone and prints the outcome.
async fn prove(args: &DemoArgs, stage: &Stage, recovery: Option<u64>, out: &mut Output) -> Result<Exit, CliError> {
    let expected = u64::from(args.members) * u64::from(ACCOUNTS) * INITIAL;
    let summary = Summary::of(stage, args.members, expected, recovery).await?;
    out.result(&summary, Summary::text)?;
    if args.data_dir.is_some() && !out.is_json() {
        out.line(format!(
            "The archive is in {}. To verify it again:\n  stillframe snapshot verify --archive '{}' {} --all",
            stage.archive_dir.display(),
            stage.archive_url,
            stage.cluster
        ))?;
    }
    Ok(if summary.holds() { Exit::Ok } else { Exit::Failed })
}
