//! A member of the bank that exchanges datagrams: unordered, and lost at times. The agent acknowledges and transmits again.
//!
//! `udp-bank --coordinator http://127.0.0.1:7700 --cluster bank --member p1 --lose 10`

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use stillframe_agent::{
    ChannelOrdering, Limits, MemberName,
    wrap::{Carrier, Envelope, Setup},
};
use stillframe_carriers::{
    args::{Error, MemberArgs, run},
    teller::{Carry, Teller},
    weather::{Weather, WeatherArgs},
};

/// After what time a datagram that isn't acknowledged is sent again.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(50);

/// The largest datagram that is taken.
const MAX_DATAGRAM_BYTES: usize = 64 << 10;

/// One member of the bank, over UDP.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    member: MemberArgs,
    #[command(flatten)]
    weather: WeatherArgs,
    /// Where to take datagrams of other members; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

struct Udp {
    socket: UdpSocket,
    weather: Weather,
}

impl Carry for Udp {
    fn carry(&mut self, _: &MemberName, address: &str, envelope: Envelope) {
        let socket = &self.socket;
        self.weather.send(address, envelope.into_bytes(), |address, datagram| {
            // What can't be sent is lost, as datagrams are.
            let _ = socket.send_to(datagram, address);
        });
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    run("udp-bank", &cli.member, || member(&cli))
}

fn member(cli: &Cli) -> Result<(), Error> {
    let network = |source| Error::Network { what: format!("taking datagrams on {}", cli.listen), source };
    let socket = UdpSocket::bind(cli.listen).map_err(network)?;
    let address = socket.local_addr().map_err(network)?;
    // A small window keeps bursts within what a socket's buffer holds, and a message within a datagram of any network.
    let limits = Limits { window_messages: 256, window_bytes: 256 << 10, max_message_bytes: 1200, ..Limits::default() };
    let carrier = Carrier::lossy(ChannelOrdering::Unordered, RETRANSMIT_AFTER);
    let mut member = Setup::new(cli.member.config(address.to_string()).limits(limits), carrier).start()?;
    let mut teller = Teller::new(&cli.member);
    let mut udp = Udp { socket, weather: Weather::new(cli.weather) };
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        // What the coordinator says is seen with the next tick, 5 ms at most.
        teller.turn(&mut member, &mut udp)?;
        let wait = teller.next_wake(&member).saturating_duration_since(Instant::now()).max(Duration::from_micros(100));
        udp.socket.set_read_timeout(Some(wait)).map_err(network)?;
        match udp.socket.recv_from(&mut buffer) {
            Ok((length, from)) => match member.unwrap(buffer[..length].to_vec()) {
                Ok(actions) => teller.carry_out(actions, &mut udp)?,
                Err(error) => tracing::debug!(%from, %error, "a datagram was dropped"),
            },
            // The last one: what an earlier datagram met at a member that was gone.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(network(error)),
        }
    }
}
