//! A captured state on its way back to the application.

use std::io::{self, Read};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use stillframe_archive::PlainObject;

/// Why an application can't take a state.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(String);

impl RestoreError {
    /// Says what was expected and what was found.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<io::Error> for RestoreError {
    fn from(error: io::Error) -> Self {
        Self(format!("the captured state can't be read: {error}"))
    }
}

/// The bytes of a captured state, verified, to be read from the start. Large states are read from a temporary file.
#[derive(Debug)]
pub struct StateReader(Source);

#[derive(Debug)]
enum Source {
    Memory(io::Cursor<Bytes>),
    Object(Box<PlainObject>),
}

impl StateReader {
    pub(crate) fn new(object: PlainObject) -> Self {
        Self(Source::Object(Box::new(object)))
    }

    /// A state from bytes, for an application's own tests.
    #[must_use]
    pub fn from_bytes(state: impl Into<Bytes>) -> Self {
        Self(Source::Memory(io::Cursor::new(state.into())))
    }

    /// All (remaining) bytes.
    ///
    /// # Errors
    /// When the temporary file of a large state can't be read.
    pub fn bytes(mut self) -> io::Result<Bytes> {
        match self.0 {
            Source::Memory(cursor) if cursor.position() == 0 => Ok(cursor.into_inner()),
            Source::Memory(_) | Source::Object(_) => {
                let mut bytes = Vec::new();
                self.read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }

    /// The value that [`Capture::encode`](crate::Capture::encode) wrote.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes aren't such a value.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T, RestoreError> {
        let bytes = self.bytes()?;
        postcard::from_bytes(&bytes).map_err(|error| {
            RestoreError(format!(
                "the captured state ({} bytes) is no {}: {error}; was it captured by another version of the application?",
                bytes.len(),
                std::any::type_name::<T>()
            ))
        })
    }
}

impl Read for StateReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Source::Memory(cursor) => cursor.read(buf),
            Source::Object(object) => object.read(buf),
        }
    }
}
