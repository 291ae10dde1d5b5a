//! Byte streams between members. [`Tcp`] is what agents use; [`Memory`] connects agents of one process, for tests.
//!
//! A transport only has to bring bytes in order, or break. Who is at the other end, frames, acknowledgements, windows and reconnecting are the agent's own.

mod memory;
mod tcp;

use std::{fmt, io};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

pub use memory::Memory;
pub use tcp::Tcp;

/// How a member reaches the others.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Begins to listen. Called once, on the agent's own thread.
    ///
    /// # Errors
    /// When the address can't be listened on.
    async fn listen(&self) -> io::Result<Box<dyn Listener>>;

    /// Connects to the address that another member has registered.
    ///
    /// # Errors
    /// When nobody answers there; the agent tries again.
    async fn dial(&self, address: &str) -> io::Result<Link>;
}

/// Where other members connect to.
#[async_trait]
pub trait Listener: Send {
    /// The address that others dial, as far as the listener knows it.
    ///
    /// # Errors
    /// When the operating system doesn't tell.
    fn address(&self) -> io::Result<String>;

    /// The next connection. Must be cancel-safe.
    ///
    /// # Errors
    /// When it can't be taken; the agent tries again after a moment.
    async fn accept(&mut self) -> io::Result<Link>;
}

/// A connection: one stream of bytes each way.
pub struct Link {
    /// From the other end.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// To the other end.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}
