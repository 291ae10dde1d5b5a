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
        Ok(Box::new(TcpEnd(bind(self.listen)?)))
    }

    async fn dial(&self, address: &str, _: &MemberName) -> io::Result<Link> {
        Ok(link(connect(address).await?))
    }
}

/// Begins to listen.
pub(super) fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    // A member that is started again takes its port back at once, although connections of its last life still linger.
    socket.set_reuse_address(listen.port() != 0)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects.
pub(super) async fn connect(address: &str) -> io::Result<TcpStream> {
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(stream) => {
            let stream = stream?;
            // The agent writes in batches; waiting for more bytes would only delay markers.
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} didn't answer for {CONNECT_TIMEOUT:?}"))),
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
        stream.set_nodelay(true)?;
        Ok(Box::pin(std::future::ready(Ok(link(stream)))))
    }
}

fn link(stream: TcpStream) -> Link {
    let (reader, writer) = stream.into_split();
    Link::new(reader, writer)
}
