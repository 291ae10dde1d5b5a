//! Byte streams between members. [`Tcp`] and [`Tls`] are what agents use; [`Memory`] connects agents of one process, for tests.
//!
//! A transport only has to bring bytes in order, or break. Who is at the other end, frames, acknowledgements, windows and reconnecting are the agent's own.

mod memory;
mod tcp;
pub(crate) mod tls;

use std::{fmt, future::Future, io, pin::Pin};

use async_trait::async_trait;
use stillframe_protocol::MemberName;
use tokio::io::{AsyncRead, AsyncWrite};

pub use memory::Memory;
pub use tcp::Tcp;
pub use tls::{Tls, TlsError};

/// How a member reaches the others.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Begins to listen. Called once, on the agent's own thread.
    ///
    /// # Errors
    /// When the address can't be listened on.
    async fn listen(&self) -> io::Result<Box<dyn Listener>>;

    /// Connects to the address that another member has registered. A transport that knows who is at the other end makes sure that it is that member.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else; the agent tries again.
    async fn dial(&self, address: &str, member: &MemberName) -> io::Result<Link>;
}

/// Where other members connect to.
#[async_trait]
pub trait Listener: Send {
    /// The address that others dial, as far as the listener knows it.
    ///
    /// # Errors
    /// When the operating system doesn't tell.
    fn address(&self) -> io::Result<String>;

    /// The next connection. Must be cancel-safe, and never wait for anything that the caller has to say.
    ///
    /// # Errors
    /// When it can't be taken; the agent tries again after a moment.
    async fn accept(&mut self) -> io::Result<Arriving>;
}

/// A connection that was taken and that the transport may still have to talk on, say for a TLS handshake. The agent gives it a few seconds.
pub type Arriving = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

/// A connection: one stream of bytes each way.
pub struct Link {
    /// From the other end.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// To the other end.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// What the other end has shown of who it is; nothing where the transport doesn't ask. The one that dialled is held to it.
    pub credentials: Option<Box<dyn Credentials>>,
}

impl Link {
    /// A connection on which the other end shows nothing of who it is.
    pub fn new(reader: impl AsyncRead + Send + Unpin + 'static, writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { reader: Box::new(reader), writer: Box::new(writer), credentials: None }
    }
}

/// What proves which member is at the other end of a connection.
pub trait Credentials: Send {
    /// Whether it is this member.
    ///
    /// # Errors
    /// When it isn't, or can't be told: why.
    fn are_of(&self, member: &MemberName) -> Result<(), String>;
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}
