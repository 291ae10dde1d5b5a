//! Connections within one process, for tests and simulation.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use stillframe_protocol::MemberName;
use tokio::sync::mpsc;

use super::{Arriving, Link, Listener, Transport};

/// Bytes that one direction of a connection holds.
const PIPE_BYTES: usize = 256 << 10;

type Switchboard = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Link>>>>;

/// A network in memory, seen from one address. Clone it with [`Memory::at`] for each further member.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    address: String,
    switchboard: Switchboard,
}

impl Memory {
    /// A new network, seen from this address (any text).
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), switchboard: Switchboard::default() }
    }

    /// The same network, seen from another address.
    #[must_use]
    pub fn at(&self, address: impl Into<String>) -> Self {
        Self { address: address.into(), switchboard: Arc::clone(&self.switchboard) }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Link>>> {
        // The map is valid after any panic: each change is one call.
        self.switchboard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for Memory {
    async fn listen(&self) -> io::Result<Box<dyn Listener>> {
        let (sender, incoming) = mpsc::unbounded_channel();
        let mut listeners = self.listeners();
        if listeners.get(&self.address).is_some_and(|listener| !listener.is_closed()) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} is listened on already", self.address)));
        }
        listeners.insert(self.address.clone(), sender);
        Ok(Box::new(MemoryEnd { address: self.address.clone(), incoming }))
    }

    async fn dial(&self, address: &str, _: &MemberName) -> io::Result<Link> {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on {address}"));
        let listener = self.listeners().get(address).cloned().ok_or_else(refused)?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        listener.send(link(theirs)).map_err(|_| refused())?;
        Ok(link(ours))
    }
}

struct MemoryEnd {
    address: String,
    incoming: mpsc::UnboundedReceiver<Link>,
}

#[async_trait]
impl Listener for MemoryEnd {
    fn address(&self) -> io::Result<String> {
        Ok(self.address.clone())
    }

    async fn accept(&mut self) -> io::Result<Arriving> {
        let link = self.incoming.recv().await;
        let link = link.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the network is gone"))?;
        Ok(Box::pin(std::future::ready(Ok(link))))
    }
}

fn link(stream: tokio::io::DuplexStream) -> Link {
    let (reader, writer) = tokio::io::split(stream);
    Link::new(reader, writer)
}
