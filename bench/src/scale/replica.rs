//! A coordinator in a process of its own, so that its processor time can be told from that of the members.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use stillframe_archive::ArchiveUrl;
use stillframe_coordinator::Config;

/// What the coordinator's process needs to know.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    #[arg(long)]
    database_url: String,
    #[arg(long)]
    archive: ArchiveUrl,
}

/// Runs a coordinator until standard input ends; prints its URL.
pub(crate) async fn serve(args: CoordinatorArgs) -> anyhow::Result<()> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let coordinator = stillframe_coordinator::start(Config::new(args.database_url, args.archive, listen)).await?;
    println!("http://{}", coordinator.local_addr());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    coordinator.stop().await;
    Ok(())
}

/// The coordinator's process; it ends with this value.
pub(crate) struct Replica {
    child: Child,
    url: String,
}

impl Replica {
    /// Starts one and waits until it serves.
    pub(crate) fn start(database: &str, archive: &ArchiveUrl) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["coordinator", "--database-url", database, "--archive", &archive.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("can't start the coordinator")?;
        let out = child.stdout.take().context("the coordinator has no standard output")?;
        let mut url = String::new();
        BufReader::new(out).read_line(&mut url)?;
        anyhow::ensure!(!url.is_empty(), "the coordinator didn't start");
        Ok(Self { child, url: url.trim().to_owned() })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The processor time that it has taken so far, of all its threads, in user mode and in the kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        /// The unit of `/proc/<pid>/stat`, whatever the kernel's own tick is: 1/100 s.
        const TICK: Duration = Duration::from_millis(10);
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("{path} can't be read: this needs Linux"))?;
        // The second field is the program's name in brackets, and may have blanks in it; utime and stime are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path}: {stat:?}"))?;
        let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(TICK * ticks)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Its end is what counts, not how.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}
