//! Connections that say when they close, also between two requests: how a killed member is noticed at once.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::deadlines::Deadline;
use crate::service::registry::{ConnectionGuard, ConnectionId};

/// A connection that tells the registry when it is dropped, and its deadline of what comes and goes.
#[derive(Debug)]
pub(super) struct TrackedStream {
    stream: TcpStream,
    guard: ConnectionGuard,
    deadline: Arc<Deadline>,
}

impl TrackedStream {
    /// Tracks a connection.
    pub(super) fn new(stream: TcpStream, guard: ConnectionGuard, deadline: Arc<Deadline>) -> Self {
        Self { stream, guard, deadline }
    }

    /// Its number.
    pub(super) fn connection(&self) -> ConnectionId {
        self.guard.id()
    }

    fn told(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if written.as_ref().is_ok_and(|bytes| *bytes > 0) {
            self.deadline.told();
        }
        Poll::Ready(written)
    }
}

impl Drop for TrackedStream {
    fn drop(&mut self) {
        self.deadline.close();
    }
}

impl AsyncRead for TrackedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.deadline.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.told(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.told(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connection that a request came on.
#[derive(Debug, Clone, Copy)]
pub struct Connection(pub ConnectionId);
