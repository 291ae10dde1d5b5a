//! A frozen state on its way to the archive.

use std::{
    fmt,
    io::{self, Write},
};

use bytes::Bytes;
use serde::Serialize;

/// What writes a captured state.
pub(crate) type WriteState = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// An application's state at the cut: bytes, or something frozen that writes them later, off the application's thread.
pub struct Capture(pub(crate) CaptureKind);

pub(crate) enum CaptureKind {
    Bytes(Bytes),
    Write(WriteState),
}

impl Capture {
    /// A state that is there as bytes.
    #[must_use]
    pub fn bytes(state: impl Into<Bytes>) -> Self {
        Self(CaptureKind::Bytes(state.into()))
    }

    /// A state that is written later, on a thread that may block. What the closure holds must not change any more. An error aborts the
    /// snapshot, not the application.
    #[must_use]
    pub fn from_fn(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Self {
        Self(CaptureKind::Write(Box::new(write)))
    }

    /// A value that is encoded later (as postcard); [`StateReader::decode`](crate::StateReader::decode) reads it.
    #[must_use]
    pub fn encode<T: Serialize + Send + 'static>(value: T) -> Self {
        Self::from_fn(move |out| postcard::to_io(&value, out).map(drop).map_err(io::Error::other))
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            CaptureKind::Bytes(state) => write!(f, "Capture({} bytes)", state.len()),
            CaptureKind::Write(_) => f.write_str("Capture(to be written)"),
        }
    }
}
