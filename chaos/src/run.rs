//! Rounds: inject for a while, heal, check; and what is kept of a violation.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use stillframe_api::resync::ResyncArchive;

use crate::{
    check::{self, Chronicle, History},
    nemesis::Nemesis,
    observer::Observer,
    plan::{self, Fault, Kind, Round, Shape, Step},
    stage::{self, Stage},
    summary::Summary,
    timeline::{Timeline, Voice},
    workload::{self, Workload},
};

/// How often processes are looked after.
const SUPERVISE_EVERY: Duration = Duration::from_millis(200);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program whose processes are broken: this one, see [`stillframe_e2e::process::node`].
    pub program: PathBuf,
    /// What everything is drawn from.
    pub seed: u64,
    /// No round begins after so long.
    pub time: Duration,
    /// How many rounds at most.
    pub rounds: u32,
    /// How large the system is, and how long a round injects faults.
    pub shape: Shape,
    /// Where everything is kept: logs, database, timeline.
    pub directory: PathBuf,
    /// Whether the timeline is only kept, and not printed.
    pub quiet: bool,
}

/// A new directory for a run's evidence.
///
/// # Errors
/// When the system's place for temporary files can't be written.
pub fn new_directory(seed: u64) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;

    // Postgres runs as another user when this process is root's, and has to get to its data.
    let permissions = std::fs::Permissions::from_mode(0o755);
    let directory = tempfile::Builder::new().prefix(&format!("stillframe-chaos-{seed}-")).permissions(permissions).tempdir()?;
    Ok(directory.keep())
}

/// The program under a name in the directory, so that a build meanwhile doesn't change what is run.
///
/// # Errors
/// When it can't be linked nor copied.
pub fn pinned(program: &Path, directory: &Path) -> std::io::Result<PathBuf> {
    let pinned = directory.join("program");
    if pinned.exists() {
        std::fs::remove_file(&pinned)?;
    }
    match std::fs::hard_link(program, &pinned) {
        Ok(()) => {}
        Err(_) => drop(std::fs::copy(program, &pinned)?),
    }
    Ok(pinned)
}

/// Runs, and says what was done and what mustn't be. The first round with a violation is the last.
///
/// # Errors
/// When the directory can't be used.
pub async fn run(options: &Options) -> std::io::Result<Summary> {
    let timeline = Arc::new(Timeline::new(&options.directory.join("timeline.txt"), options.quiet)?);
    let begun = Instant::now();
    timeline.say(Voice::Run, format!("seed {}, evidence in {}", options.seed, options.directory.display()));
    let stage = Stage::set(&options.program, &options.directory, options.shape).await;
    timeline.say(Voice::Run, "everything runs");
    let mut run = Run {
        observer: Observer::start(stage.cluster.clone(), stage.clients(), Arc::clone(&timeline)),
        workload: Workload::new(stage.cluster.clone(), stage.operators(workload::PATIENCE), Arc::clone(&timeline)),
        history: History::default(),
        chronicle: Chronicle::default(),
        audit_head: None,
        summary: Summary { seed: options.seed, ..Summary::default() },
        timeline,
        stage,
    };
    for number in 0..options.rounds {
        if begun.elapsed() >= options.time {
            break;
        }
        let round = plan::round(options.seed, number, options.shape);
        run.set_channel_state(&round).await;
        run.round(number, round).await;
        run.summary.rounds += 1;
        if !run.summary.violations.is_empty() {
            break;
        }
    }
    if run.summary.violations.is_empty() {
        run.timeline.say(Voice::Run, "every committed snapshot is verified once more");
        run.check_all().await;
    }
    run.summary.took = begun.elapsed();
    run.summary.snapshots = run.history.counts();
    run.summary.generations = run.history.generation.get();
    run.summary.asked = std::mem::take(&mut run.workload.answers);
    if !run.summary.violations.is_empty() {
        run.keep(&options.directory).await;
        // What is dropped would look for panics, and stop what may be looked at.
        std::mem::forget(run.stage);
    }
    Ok(run.summary)
}

struct Run {
    observer: Observer,
    workload: Workload,
    history: History,
    chronicle: Chronicle,
    /// The head of the audit's chain, as it was seen last.
    audit_head: Option<String>,
    summary: Summary,
    timeline: Arc<Timeline>,
    stage: Stage,
}

/// Something to be done at a time of a round.
enum Event {
    Begin(Fault),
    Heal(Fault),
    Ask(Step),
}

fn events(round: &Round) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    for injection in &round.injections {
        events.push((injection.at, Event::Begin(injection.fault)));
        events.push((injection.at + injection.lasts, Event::Heal(injection.fault)));
    }
    events.extend(round.steps.iter().map(|step| (step.at, Event::Ask(*step))));
    // Stable, so that what begins at a time is before what heals then.
    events.sort_by_key(|(at, _)| *at);
    events
}

impl Run {
    /// From the round's first restore on its messages get into snapshots in this way. All is well when it is asked for, so that a refusal is a violation.
    async fn set_channel_state(&mut self, round: &Round) {
        match stage::settings::set_channel_state(&self.stage, round.channel_state).await {
            Ok(()) => self.timeline.say(Voice::Run, format!("channel state {} from the next generation on", round.channel_state)),
            Err(violation) => self.summary.violations.push(violation),
        }
    }

    fn violation(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.timeline.say(Voice::Violation, &what);
        self.summary.violations.push(what);
    }

    async fn round(&mut self, number: u32, round: Round) {
        self.timeline.say(Voice::Run, format!("round {number}: {} faults", round.injections.len()));
        self.inject(&round).await;
        self.timeline.say(Voice::Run, format!("round {number}: healed"));
        let healed = Instant::now();
        self.workload.all_ended().await;
        for violation in std::mem::take(&mut self.workload.violations) {
            self.violation(violation);
        }
        if let Err(violation) = self.check(round.loses_database).await {
            self.violation(violation);
        }
        self.history_is_fine();
        let took = healed.elapsed();
        self.summary.slowest_heal = self.summary.slowest_heal.max(took);
        self.timeline.say(Voice::Run, format!("round {number}: checked after {:.1} s", took.as_secs_f64()));
    }

    async fn inject(&mut self, round: &Round) {
        let begun = Instant::now();
        let mut nemesis = Nemesis::default();
        for (at, event) in events(round) {
            while let Some(left) = at.checked_sub(begun.elapsed()) {
                tokio::time::sleep(left.min(SUPERVISE_EVERY)).await;
                self.supervise();
            }
            match event {
                Event::Begin(fault) => {
                    self.timeline.say(Voice::Fault, format!("{fault}: begins"));
                    *self.summary.faults.entry(fault.kind()).or_default() += 1;
                    nemesis.begin(&mut self.stage, fault).await;
                }
                Event::Heal(fault) => {
                    nemesis.heal(&mut self.stage, fault).await;
                    self.timeline.say(Voice::Fault, format!("{fault}: over"));
                }
                Event::Ask(step) => self.workload.ask(step),
            }
        }
    }

    fn supervise(&mut self) {
        let mut violations = Vec::new();
        for replica in &mut self.stage.replicas {
            match replica.supervise() {
                Ok(true) => self.timeline.say(Voice::Cluster, "a replica that could not start yet is started again"),
                Ok(false) => {}
                Err(violation) => violations.push(violation),
            }
        }
        for member in &mut self.stage.members {
            if let Some(status) = member.ended() {
                violations.push(format!("{} ended by itself: {status}", member.name()));
            }
        }
        for violation in violations {
            if !self.summary.violations.contains(&violation) {
                self.violation(violation);
            }
        }
    }

    async fn check(&mut self, loses_database: bool) -> Result<(), String> {
        if loses_database {
            self.lose_database().await?;
        }
        check::calm::replicas_serve(&mut self.stage).await?;
        check::calm::snapshots_end(&self.stage, &mut self.history).await?;
        check::calm::restores_end(&self.stage, &self.workload.restores).await?;
        self.workload.restores.clear();
        let (_, halted) = check::calm::cluster_runs(&self.stage).await?;
        self.summary.halts += u32::from(halted);
        check::calm::members_work(&mut self.stage).await?;
        check::calm::snapshot_commits(&self.stage).await?;
        self.history.update(&self.stage.client(0), &self.stage.cluster).await?;
        self.summary.verified += check::bucket::committed_verify(&self.stage, &mut self.history, false).await;
        let late = check::bucket::nothing_without_owner(&self.stage, &mut self.history, false).await?;
        if late > 0 {
            self.timeline
                .say(Voice::Run, format!("{late} objects came after their snapshot was aborted; the second sweep is for them"));
        }
        self.chronicle.read(&self.stage.client(0), &self.stage.cluster).await?;
        self.chronicle.slots_fired_once(&stage::database::slots(&self.stage.postgres).await?);
        self.audit_head = check::audit::chain_verifies(&self.stage, self.audit_head.take()).await?;
        for panic in check::logs::panics(&self.stage.directory().join("logs"))? {
            self.violation(panic);
        }
        Ok(())
    }

    /// Drops the database, has the replicas rebuild it from the bucket, and sets up again what only the database knew. That the cluster can be
    /// restored from it is for the checks that follow.
    async fn lose_database(&mut self) -> Result<(), String> {
        check::calm::replicas_serve(&mut self.stage).await?;
        let client = self.stage.client(0);
        self.history.update(&client, &self.stage.cluster).await?;
        self.chronicle.read(&client, &self.stage.cluster).await?;
        self.timeline.say(Voice::Fault, "the database is dropped");
        *self.summary.faults.entry(Kind::LoseDatabase).or_default() += 1;
        for replica in &mut self.stage.replicas {
            replica.kill();
        }
        stage::database::lose(&self.stage.postgres).await?;
        for replica in &mut self.stage.replicas {
            replica.start();
        }
        check::calm::replicas_serve(&mut self.stage).await?;
        let report = client.resync_archive(&ResyncArchive::default()).await;
        let report = report.map_err(|error| format!("the database can't be rebuilt from the bucket: {error}"))?;
        let (taken_up, rejected) = (report.taken_up.len(), &report.rejected);
        self.timeline.say(Voice::Run, format!("rebuilt from the bucket: {taken_up} snapshots, rejected: {rejected:?}"));
        let proved = check::bucket::proved(&self.stage).await;
        self.history.rebuilt(&client, &self.stage.cluster, &proved).await?;
        self.chronicle.forget_the_chain();
        self.audit_head = None;
        self.workload.forget_holds();
        self.workload.restores.clear();
        stage::settings::set_again(&self.stage).await?;
        // What they knew is of no worth any more: they are told so, end, and are started again.
        check::calm::members_are_fenced(&mut self.stage).await?;
        client.confirm_collection().await.map_err(|error| format!("the collection can't be confirmed: {error}"))?;
        Ok(())
    }

    async fn check_all(&mut self) {
        self.summary.verified += check::bucket::committed_verify(&self.stage, &mut self.history, true).await;
        if let Err(violation) = check::bucket::nothing_without_owner(&self.stage, &mut self.history, true).await {
            self.violation(violation);
        }
        self.history_is_fine();
    }

    fn history_is_fine(&mut self) {
        let mut found = std::mem::take(&mut self.history.violations);
        found.append(&mut self.chronicle.violations);
        for violation in found {
            self.violation(violation);
        }
    }

    /// Writes down what the API says, beside the logs, the timeline and the database.
    async fn keep(&self, directory: &Path) {
        let client = self.stage.client(0);
        let mut told = Vec::new();
        told.push(format!("{:#?}", client.cluster(&self.stage.cluster).await));
        told.push(format!("{:#?}", client.list_members(&self.stage.cluster, &Default::default()).await));
        told.push(format!("{:#?}", client.list_snapshots(&self.stage.cluster, &Default::default()).await));
        told.push(self.stage.bucket.keys("").await.join("\n"));
        if let Err(error) = std::fs::write(directory.join("api.txt"), told.join("\n\n")) {
            self.timeline.say(Voice::Run, format!("what the API says can't be kept: {error}"));
        }
        let _ = &self.observer;
    }
}
