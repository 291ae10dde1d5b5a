//! TCP.

use std::{io, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use socket2::{Domain, Protocol, Socket, Type};
use stillframe_protocol::MemberName;
use tokio::net::{TcpListener, TcpStream};

use super::{Arriving, Link, Listener, Transport};

/// How long a dialled peer may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that the operating system holds until they are accepted.
const BACKLOG: i32 = 1024;

/// TCP: one connection for each channel in use, dialled by its sender.
#[derive(Debug, Clone)]
pub struct Tcp {
    listen: SocketAddr,
}

impl Tcp {
    /// Listens there; port 0 takes any free one.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen }
    }
}

#[async_trait]
impl Transport for Tcp {
    async fn listen(&self) -> io::Result<Box<dyn Listener>> {
        let socket = Socket::new(Domain::for_address(self.listen), Type::STREAM, Some(Protocol::TCP))?;
        // A member that is started again takes its port back at once, although connections of its last life still linger.
        socket.set_reuse_address(self.listen.port() != 0)?;
        socket.set_nonblocking(true)?;
        socket.bind(&self.listen.into())?;
        socket.listen(BACKLOG)?;
        Ok(Box::new(TcpEnd(TcpListener::from_std(socket.into())?)))
    }

    async fn dial(&self, address: &str, _: &MemberName) -> io::Result<Link> {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(stream) => link(stream?),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} didn't answer for {CONNECT_TIMEOUT:?}"))),
        }
    }
}

struct TcpEnd(TcpListener);

#[async_trait]
impl Listener for TcpEnd {
    fn address(&self) -> io::Result<String> {
        self.0.local_addr().map(|address| address.to_string())
    }

    async fn accept(&mut self) -> io::Result<Arriving> {
        let (stream, _) = self.0.accept().await?;
        Ok(Box::pin(std::future::ready(link(stream))))
    }
}

fn link(stream: TcpStream) -> io::Result<Link> {
    // The agent writes in batches; waiting for more bytes would only delay markers.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok(Link::new(reader, writer))
}
