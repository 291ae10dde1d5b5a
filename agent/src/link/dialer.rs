//! Connecting to another member.

use std::{io, sync::Arc, time::Duration};

use super::preamble::{self, Preamble, PreambleError, Verdict};
use crate::transport::{Link, Transport, tls};

/// How long the other member may take to answer who calls. Longer than it keeps callers of a newer generation waiting.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no connection. Trying again later may help in each case.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("what answers there is {0}")]
    Stranger(PreambleError),
    #[error("refused: {0}")]
    Refused(Verdict),
}

/// A connection on which this member is welcome.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) link: Link,
    /// The largest message that the other end takes.
    pub(crate) max_message_bytes: usize,
}

/// Connects and says who calls.
pub(crate) async fn dial(transport: Arc<dyn Transport>, address: String, preamble: Preamble) -> Result<Dialed, DialError> {
    let mut link = transport.dial(&address, &preamble.to).await?;
    let exchange = async {
        preamble::call(&preamble, &mut link.writer).await?;
        preamble::read_answer(&mut link.reader).await
    };
    let verdict = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(Ok(verdict)) => verdict,
        // With TLS, what the other end thinks of this one's certificate comes where its answer should.
        Ok(Err(PreambleError::Io(error))) => return Err(DialError::Io(tls::explained(error))),
        Ok(Err(error)) => return Err(DialError::Stranger(error)),
        Err(_) => {
            return Err(DialError::Io(io::Error::new(io::ErrorKind::TimedOut, format!("{address} didn't answer the call"))));
        }
    };
    match verdict {
        Verdict::Welcome { max_message_bytes } => {
            Ok(Dialed { link, max_message_bytes: usize::try_from(max_message_bytes).unwrap_or(usize::MAX) })
        }
        refused => Err(DialError::Refused(refused)),
    }
}
