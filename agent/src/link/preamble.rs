//! The first bytes of a connection say who calls whom; the answer says whether that is welcome.
//!
//! Call: `SFRM`, a version byte, a length of two bytes (big endian), then [`Preamble`] as postcard. Answer: `SFRM`, the answerer's version
//! byte, a verdict byte and eight bytes (big endian) for its number. After [`Verdict::Welcome`], frames follow both ways (see [`codec`](super::codec)).

use std::io;

use serde::{Deserialize, Serialize};
use stillframe_protocol::{ClusterName, Generation, Incarnation, MemberId, MemberName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: [u8; 4] = *b"SFRM";

/// How a record of TLS begins in which a handshake begins.
const TLS_HANDSHAKE: [u8; 2] = [22, 3];

/// How a record of TLS begins that says what is wrong.
const TLS_ALERT: [u8; 2] = [21, 3];

/// The version of the preamble and of what follows it.
pub(crate) const VERSION: u8 = 2;

/// The longest preamble: three names of 64 bytes and five numbers take under 300.
const MAX_PREAMBLE_BYTES: usize = 1024;

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Preamble {
    pub(crate) cluster: ClusterName,
    pub(crate) generation: Generation,
    pub(crate) from: MemberName,
    pub(crate) from_id: MemberId,
    pub(crate) from_incarnation: Incarnation,
    pub(crate) to: MemberName,
    pub(crate) to_incarnation: Incarnation,
}

/// The answer to a preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Verdict {
    #[error("welcome, with messages of up to {max_message_bytes} bytes")]
    Welcome { max_message_bytes: u64 },
    #[error("it speaks version {version} of the data plane, this process version {VERSION}; run the same release everywhere")]
    OtherVersion { version: u8 },
    #[error("it is of another cluster")]
    OtherCluster,
    #[error("it is another member")]
    OtherMember,
    #[error("it is incarnation {incarnation} of that member")]
    OtherIncarnation { incarnation: Incarnation },
    #[error("it is in the newer generation {generation}")]
    OldGeneration { generation: Generation },
    #[error("it isn't in that generation yet, but in {generation}")]
    NotYet { generation: Generation },
    #[error("it doesn't take this process for the member that it says it is: its credentials are of another")]
    OtherCredentials,
    #[error("it speaks no TLS: its data plane is plain (AgentConfig::data_plane)")]
    NoTls,
}

impl Verdict {
    fn to_parts(self) -> (u8, u64) {
        match self {
            Self::Welcome { max_message_bytes } => (0, max_message_bytes),
            Self::OtherVersion { version } => (1, version.into()),
            Self::OtherCluster => (2, 0),
            Self::OtherMember => (3, 0),
            Self::OtherIncarnation { incarnation } => (4, incarnation.0),
            Self::OldGeneration { generation } => (5, generation.0),
            Self::NotYet { generation } => (6, generation.0),
            Self::OtherCredentials => (7, 0),
            Self::NoTls => (8, 0),
        }
    }

    fn from_parts(code: u8, number: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Welcome { max_message_bytes: number },
            1 => Self::OtherVersion { version: u8::try_from(number).unwrap_or(u8::MAX) },
            2 => Self::OtherCluster,
            3 => Self::OtherMember,
            4 => Self::OtherIncarnation { incarnation: Incarnation(number) },
            5 => Self::OldGeneration { generation: Generation(number) },
            6 => Self::NotYet { generation: Generation(number) },
            7 => Self::OtherCredentials,
            8 => Self::NoTls,
            _ => return None,
        })
    }
}

/// What came instead of a preamble.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreambleError {
    #[error("no Stillframe member: {0}")]
    Garbage(&'static str),
    #[error("a member that speaks version {0} of the data plane")]
    Version(u8),
    #[error(
        "a process that speaks TLS, and this member's data plane is plain: give both ends the same kind (AgentConfig::data_plane)"
    )]
    Tls,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Says who calls.
pub(crate) async fn call(preamble: &Preamble, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let body = postcard::to_stdvec(preamble).map_err(io::Error::other)?;
    let length = u16::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 3 + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    to.write_all(&bytes).await?;
    to.flush().await
}

/// Reads who calls. Nothing is allocated before the magic and the length were found right.
pub(crate) async fn read_call(from: &mut (impl AsyncRead + Unpin)) -> Result<Preamble, PreambleError> {
    let mut head = [0; 7];
    from.read_exact(&mut head).await?;
    let [m0, m1, m2, m3, version, l0, l1] = head;
    if [m0, m1] == TLS_HANDSHAKE {
        return Err(PreambleError::Tls);
    }
    if [m0, m1, m2, m3] != MAGIC {
        return Err(PreambleError::Garbage("the first bytes aren't SFRM"));
    }
    if version != VERSION {
        return Err(PreambleError::Version(version));
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if length > MAX_PREAMBLE_BYTES {
        return Err(PreambleError::Garbage("the preamble is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(|_| PreambleError::Garbage("the preamble can't be decoded"))
}

/// Answers a call.
pub(crate) async fn answer(verdict: Verdict, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let (code, number) = verdict.to_parts();
    let mut bytes = [0; 14];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[5] = code;
    bytes[6..].copy_from_slice(&number.to_be_bytes());
    to.write_all(&bytes).await?;
    to.flush().await
}

/// Reads the answer to a call.
pub(crate) async fn read_answer(from: &mut (impl AsyncRead + Unpin)) -> Result<Verdict, PreambleError> {
    let mut bytes = [0; 14];
    // An alert of TLS is shorter than an answer.
    let (head, rest) = bytes.split_at_mut(4);
    from.read_exact(head).await?;
    if head.starts_with(&TLS_ALERT) {
        return Err(PreambleError::Tls);
    }
    from.read_exact(rest).await?;
    let [m0, m1, m2, m3, version, code, number @ ..] = bytes;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(PreambleError::Garbage("the first bytes aren't SFRM"));
    }
    if version != VERSION {
        return Ok(Verdict::OtherVersion { version });
    }
    Verdict::from_parts(code, u64::from_be_bytes(number)).ok_or(PreambleError::Garbage("the verdict is unknown"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn preamble() -> Preamble {
        Preamble {
            cluster: ClusterName::new("bank").unwrap(),
            generation: Generation(3),
            from: MemberName::new("p1").unwrap(),
            from_id: MemberId(1),
            from_incarnation: Incarnation(7),
            to: MemberName::new("p2").unwrap(),
            to_incarnation: Incarnation(8),
        }
    }

    #[tokio::test]
    async fn a_call_and_each_verdict_are_read_back() {
        let mut bytes = Vec::new();
        call(&preamble(), &mut bytes).await.unwrap();
        assert_eq!(read_call(&mut &bytes[..]).await.unwrap(), preamble());
        for verdict in [
            Verdict::Welcome { max_message_bytes: 8 << 20 },
            Verdict::OtherCluster,
            Verdict::OtherMember,
            Verdict::OtherIncarnation { incarnation: Incarnation(9) },
            Verdict::OldGeneration { generation: Generation(4) },
            Verdict::NotYet { generation: Generation(2) },
            Verdict::OtherCredentials,
            Verdict::NoTls,
            Verdict::OtherVersion { version: 1 },
        ] {
            let mut bytes = Vec::new();
            answer(verdict, &mut bytes).await.unwrap();
            assert_eq!(read_answer(&mut &bytes[..]).await.unwrap(), verdict);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), fix in any::<bool>()) {
            let mut bytes = bytes;
            if fix && bytes.len() > 7 {
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[4] = VERSION;
                bytes[5] = 0;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Ok(read) = runtime.block_on(read_call(&mut &bytes[..])) {
                prop_assert!(read.cluster.as_str().len() <= 64);
            }
            let _ = runtime.block_on(read_answer(&mut &bytes[..]));
        }
    }
}
