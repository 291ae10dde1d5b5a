//! A member of the bank behind a NATS broker. Core NATS keeps the order of one publisher and delivers at most once: fifo, and lost at times.
//!
//! `nats-bank --coordinator http://127.0.0.1:7700 --cluster bank --member p1 --broker 127.0.0.1:4222`

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use stillframe_agent::{
    ChannelOrdering, ClusterName, MemberName,
    wrap::{Carrier, Envelope, Setup},
};
use stillframe_carriers::{
    args::{Error, MemberArgs, run},
    nats::Nats,
    teller::{Carry, Teller},
};

/// After what time a channel is looked after whose messages aren't acknowledged.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);

/// One member of the bank, over NATS.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    member: MemberArgs,
    /// The broker's host:port.
    #[arg(long, default_value = "127.0.0.1:4222")]
    broker: String,
}

struct Broker {
    nats: Nats,
    cluster: ClusterName,
}

/// Names hold no slash, so that no two members have one subject.
fn subject(cluster: &ClusterName, member: &MemberName) -> String {
    format!("stillframe/{cluster}/{member}")
}

impl Carry for Broker {
    fn carry(&mut self, to: &MemberName, _: &str, envelope: Envelope) {
        self.nats.publish(subject(&self.cluster, to), envelope.into_bytes());
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    run("nats-bank", &cli.member, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Network { what: "making an async runtime".to_owned(), source })?;
        runtime.block_on(member(&cli))
    })
}

async fn member(cli: &Cli) -> Result<(), Error> {
    let cluster = cli.member.cluster.clone();
    let nats = Nats::subscribe(cli.broker.clone(), subject(&cluster, &cli.member.member));
    let mut broker = Broker { nats, cluster };
    // Members find each other by subject; the address only tells people where they are.
    let carrier = Carrier::lossy(ChannelOrdering::Fifo, RETRANSMIT_AFTER);
    let mut member = Setup::new(cli.member.config(&cli.broker), carrier).start()?;
    let mut teller = Teller::new(&cli.member);
    let news = member.news();
    loop {
        teller.turn(&mut member, &mut broker)?;
        tokio::select! {
            Some(frame) = broker.nats.message() => match member.unwrap(frame) {
                Ok(actions) => teller.carry_out(actions, &mut broker)?,
                Err(error) => tracing::debug!(%error, "a message was dropped"),
            },
            () = news.wait() => {}
            () = tokio::time::sleep_until(teller.next_wake(&member).into()) => {}
        }
    }
}
