//! The whole job: creates the cluster, starts the members as processes, starts again what dies, and adds up the results.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use stillframe_agent::{ClusterName, Coordinators, MemberName, NameError};
use stillframe_api::{Client, ClientError, HumanDuration, cluster::CreateCluster, schedule::PutSchedule};
use stillframe_protocol::{Generation, name::ScheduleName};

use crate::{Counts, member::Role};

/// How often the job looks at its members.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A member that dies more often than this has a fault that starting it again doesn't mend.
const MAX_STARTS: u32 = 20;

/// Counts the words of files on several processes.
#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// The coordinator's URL (`stillframe dev` starts one); several replicas with commas between them.
    #[arg(long, env = "STILLFRAME_URL", default_value = "http://127.0.0.1:7700")]
    pub url: Coordinators,
    /// The cluster, which no job may have used before; `wordcount-` and a number made from the time and the process unless told.
    #[arg(long)]
    pub cluster: Option<ClusterName>,
    /// How many splitters.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub splitters: u32,
    /// How many counters.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub counters: u32,
    /// How often a snapshot is taken.
    #[arg(long, default_value = "500ms")]
    pub snapshot_every: HumanDuration,
    /// Milliseconds between two chunks of 16 KiB, to make a small job last.
    #[arg(long, default_value_t = 0)]
    pub pace_ms: u64,
    /// Kill this member with SIGKILL once, after so many milliseconds: `counter-1=1500`. May be given several times.
    #[arg(long, value_parser = parse_kill)]
    pub kill: Vec<(MemberName, Duration)>,
    /// How many words to print.
    #[arg(long, default_value_t = 20)]
    pub top: usize,
    /// Print all counts as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The text files.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

fn parse_kill(text: &str) -> Result<(MemberName, Duration), String> {
    let (member, ms) = text.split_once('=').ok_or("expected MEMBER=MILLISECONDS, such as counter-1=1500")?;
    let ms: u64 = ms.parse().map_err(|_| format!("{ms:?} is no number of milliseconds"))?;
    Ok((MemberName::new(member).map_err(|e| e.to_string())?, Duration::from_millis(ms)))
}

/// Why the job didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The coordinator refused or can't be reached.
    #[error(transparent)]
    Coordinator(#[from] ClientError),
    /// The cluster has run before: its members would go on from what another job left.
    #[error("cluster {cluster} has run before, perhaps on other files; leave --cluster out, or name one that doesn't exist yet")]
    Used {
        /// The cluster.
        cluster: ClusterName,
    },
    /// There is no member of that name to kill.
    #[error(
        "--kill names {member}, and there is no such member; expected source, splitter-1 to splitter-N or counter-1 to counter-N"
    )]
    NobodyToKill {
        /// The name.
        member: MemberName,
    },
    /// A name can't be formed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A member can't be started, or dies again and again.
    #[error("member {member} {what}; its last words are above")]
    Member {
        /// The member.
        member: MemberName,
        /// What happened.
        what: String,
    },
}

/// For a name that no earlier job has.
fn unix_seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a number for a name; an example needs no time library for that")]
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Who is who.
#[derive(Debug, Clone)]
struct Cast {
    source: MemberName,
    splitters: Vec<MemberName>,
    counters: Vec<MemberName>,
}

impl Cast {
    fn new(splitters: u32, counters: u32) -> Result<Self, NameError> {
        let names = |role: &str, n: u32| -> Result<Vec<MemberName>, NameError> {
            (1..=n).map(|i| MemberName::new(format!("{role}-{i}"))).collect()
        };
        Ok(Self {
            source: MemberName::new("source")?,
            splitters: names("splitter", splitters)?,
            counters: names("counter", counters)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = (Role, &MemberName)> {
        std::iter::once((Role::Source, &self.source))
            .chain(self.splitters.iter().map(|name| (Role::Splitter, name)))
            .chain(self.counters.iter().map(|name| (Role::Counter, name)))
    }
}

struct Running {
    role: Role,
    child: Child,
    starts: u32,
}

/// The members of a job; they end when it is dropped.
struct Members<'a> {
    args: &'a JobArgs,
    cluster: &'a ClusterName,
    cast: Cast,
    results: &'a Path,
    running: BTreeMap<MemberName, Running>,
}

impl<'a> Members<'a> {
    fn start(args: &'a JobArgs, cluster: &'a ClusterName, results: &'a Path) -> Result<Self, JobError> {
        let cast = Cast::new(args.splitters, args.counters)?;
        let mut members = Self { args, cluster, cast: cast.clone(), results, running: BTreeMap::new() };
        for (role, name) in cast.all() {
            let child = members.spawn(role, name)?;
            members.running.insert(name.clone(), Running { role, child, starts: 1 });
        }
        Ok(members)
    }

    fn spawn(&self, role: Role, name: &MemberName) -> Result<Child, JobError> {
        let failed = |source: io::Error| JobError::Member { member: name.clone(), what: format!("can't be started: {source}") };
        let role = match role {
            Role::Source => "source",
            Role::Splitter => "splitter",
            Role::Counter => "counter",
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["member", "--url", &self.args.url.to_string(), "--cluster", self.cluster.as_str()]);
        command.args(["--member", name.as_str(), "--role", role, "--source", self.cast.source.as_str()]);
        for splitter in &self.cast.splitters {
            command.args(["--splitter", splitter.as_str()]);
        }
        for counter in &self.cast.counters {
            command.args(["--counter", counter.as_str()]);
        }
        command
            .arg("--results")
            .arg(self.results)
            .args(["--pace-ms", &self.args.pace_ms.to_string(), "--"])
            .args(&self.args.files);
        command.stdin(Stdio::piped()).spawn().map_err(failed)
    }

    /// Kills a member with SIGKILL; false while there is nobody of that name to kill.
    fn kill(&mut self, member: &MemberName) -> bool {
        self.running.get_mut(member).is_some_and(|running| running.child.kill().is_ok())
    }

    fn start_again_what_died(&mut self) -> Result<(), JobError> {
        let died = |name: &MemberName, running: &mut Running| {
            let ended: Option<ExitStatus> = running.child.try_wait().ok().flatten();
            ended.map(|status| (name.clone(), running.role, running.starts, status))
        };
        let dead: Vec<_> = self.running.iter_mut().filter_map(|(name, running)| died(name, running)).collect();
        for (name, role, starts, status) in dead {
            if starts >= MAX_STARTS {
                return Err(JobError::Member { member: name, what: format!("died {starts} times, at last with {status}") });
            }
            tracing::warn!(member = %name, %status, "a member died; starting it again");
            let child = self.spawn(role, &name)?;
            self.running.insert(name, Running { role, child, starts: starts + 1 });
        }
        Ok(())
    }

    /// The sum of the results, once every counter has written its own.
    fn results(&self) -> Result<Option<Counts>, JobError> {
        let paths: Vec<PathBuf> = self.cast.counters.iter().map(|name| self.results.join(format!("{name}.json"))).collect();
        if !paths.iter().all(|path| path.exists()) {
            return Ok(None);
        }
        let mut all = Counts::new();
        for path in paths {
            let read = std::fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice::<Counts>(&bytes)?));
            all.extend(read.map_err(|source| JobError::File { path, source })?);
        }
        Ok(Some(all))
    }
}

impl Drop for Members<'_> {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            // It may have ended by itself; either way it is gone after the wait.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// Runs the job to its end.
///
/// # Errors
/// [`JobError`]; the members are ended in any case.
pub async fn run(args: &JobArgs) -> Result<Counts, JobError> {
    for path in &args.files {
        std::fs::File::open(path).map_err(|source| JobError::File { path: path.clone(), source })?;
    }
    let results = tempfile::tempdir().map_err(|source| JobError::File { path: std::env::temp_dir(), source })?;
    let client = Client::of(args.url.clone())?;
    let cluster = match &args.cluster {
        Some(cluster) => cluster.clone(),
        None => ClusterName::new(format!("wordcount-{}-{}", unix_seconds(), std::process::id()))?,
    };
    let create = CreateCluster {
        snapshot_timeout: HumanDuration::from_millis(30_000),
        ..CreateCluster::new(cluster.clone(), 1 + args.splitters + args.counters)
    };
    let created = client.create_cluster(&create).await?;
    if created.generation != Generation::default() {
        return Err(JobError::Used { cluster });
    }
    let schedule = PutSchedule::every(args.snapshot_every);
    client.put_schedule(&cluster, &ScheduleName::new("wordcount")?, &schedule).await?;
    let cast = Cast::new(args.splitters, args.counters)?;
    if let Some((member, _)) = args.kill.iter().find(|(member, _)| cast.all().all(|(_, name)| name != member)) {
        return Err(JobError::NobodyToKill { member: member.clone() });
    }
    let mut members = Members::start(args, &cluster, results.path())?;
    let began = Instant::now();
    let mut kills = args.kill.clone();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        kills.retain(|(member, after)| began.elapsed() < *after || !members.kill(member));
        members.start_again_what_died()?;
        if let Some(counts) = members.results()? {
            client.delete_schedule(&cluster, &ScheduleName::new("wordcount")?).await?;
            return Ok(counts);
        }
    }
}
