//! The member process: its arguments, and what it prints while it runs.

use std::{io::Read, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, sync::atomic::Ordering, time::Duration};

use clap::Args;
use serde::{Deserialize, Serialize};
use stillframe_agent::{Agent, AgentConfig, ClusterName, Coordinators, DataPlane, MemberName, TlsFiles};

use crate::{
    ledger::Ledger,
    teller::{Counters, Teller},
};

/// What one member of the bank needs to know.
#[derive(Debug, Clone, Args)]
pub struct MemberArgs {
    /// The coordinator's URL; several replicas with commas between them.
    #[arg(long, env = "STILLFRAME_URL", default_value = "http://127.0.0.1:7700")]
    pub coordinator: Coordinators,
    /// The cluster to join.
    #[arg(long, default_value = "bank")]
    pub cluster: ClusterName,
    /// This member's stable name.
    #[arg(long)]
    pub member: MemberName,
    /// Where to take connections of other members; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// What the other members dial, host:port, when that isn't the address listened on.
    #[arg(long)]
    pub advertise: Option<String>,
    /// This member's certificate (PEM), with <member>.<cluster> among its DNS names: members talk under TLS then.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The certificates of the authorities that members' certificates are of (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
    /// Without TLS, let other machines reach this member: whoever can could read and forge messages.
    #[arg(long, conflicts_with = "tls_cert")]
    pub insecure_data_plane: bool,
    /// How many accounts this member holds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub accounts: u32,
    /// What each account holds at the beginning.
    #[arg(long, default_value_t = 1_000)]
    pub initial: u64,
    /// How many transfers to send a second, about.
    #[arg(long, default_value_t = 1_000)]
    pub transfers_per_second: u32,
    /// Incompressible bytes that make the state larger.
    #[arg(long, default_value_t = 0)]
    pub ballast_bytes: usize,
    /// Print a line of JSON ten times a second.
    #[arg(long)]
    pub status: bool,
    /// End when standard input ends, so that no member outlives what started it.
    #[arg(long)]
    pub end_with_stdin: bool,
}

/// A line of JSON that a member prints with `--status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member.
    pub member: MemberName,
    /// The generation it runs in; 0 while it doesn't.
    pub generation: u64,
    /// Transfers sent, as of the state it is in.
    pub sent: u64,
    /// Transfers received.
    pub received: u64,
    /// The sum of its balances.
    pub balance: u64,
}

/// Runs one member until it is told to end. Errors go to standard error in one line.
#[must_use]
pub fn run_member(args: MemberArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bank: no async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(member(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bank: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn member(args: MemberArgs) -> Result<(), stillframe_agent::AgentError> {
    let counters = Arc::new(Counters::default());
    let seed = args.member.as_str().bytes().fold(0xbac4, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let ledger = Ledger::new(args.accounts, args.initial, seed, args.ballast_bytes);
    let teller = Teller::new(ledger, args.transfers_per_second, Arc::clone(&counters));
    let mut config = AgentConfig::new(args.coordinator, args.cluster, args.member.clone());
    config.listen = args.listen;
    config.advertise = args.advertise;
    config.insecure_data_plane = args.insecure_data_plane;
    if let (Some(cert), Some(key), Some(ca)) = (args.tls_cert, args.tls_key, args.tls_ca) {
        config.data_plane = DataPlane::Tls(TlsFiles { cert, key, ca });
    }
    let agent = Agent::new(config, teller);
    if args.status {
        let status = agent.status();
        let counters = Arc::clone(&counters);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                let line = MemberStatus {
                    member: args.member.clone(),
                    generation: status.borrow().generation.get(),
                    sent: counters.sent.load(Ordering::Relaxed),
                    received: counters.received.load(Ordering::Relaxed),
                    balance: counters.balance.load(Ordering::Relaxed),
                };
                if let Ok(line) = serde_json::to_string(&line) {
                    use std::io::Write;
                    // Whoever read the lines may be gone; that is no reason to end.
                    let _ = writeln!(std::io::stdout(), "{line}");
                }
            }
        });
    }
    if args.end_with_stdin {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    agent.run().await
}
