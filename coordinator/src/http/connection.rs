//! Connections that say when they close, also between two requests: how a killed member is noticed at once.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use crate::service::registry::{ConnectionGuard, ConnectionId, Registry};

/// A listener whose connections are known to the registry.
#[derive(Debug)]
pub struct TrackedListener {
    listener: TcpListener,
    registry: Arc<Registry>,
}

impl TrackedListener {
    /// Tracks a listener's connections.
    #[must_use]
    pub fn new(listener: TcpListener, registry: Arc<Registry>) -> Self {
        Self { listener, registry }
    }
}

impl Listener for TrackedListener {
    type Io = TrackedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TrackedStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        (TrackedStream { stream, guard: self.registry.opened() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that tells the registry when it is dropped.
#[derive(Debug)]
pub struct TrackedStream {
    stream: TcpStream,
    guard: ConnectionGuard,
}

impl AsyncRead for TrackedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connection that a request came on.
#[derive(Debug, Clone, Copy)]
pub struct Connection(pub ConnectionId);

impl Connected<IncomingStream<'_, TrackedListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TrackedListener>) -> Self {
        Self(stream.io().guard.id())
    }
}
