//! Why an agent ends.

use std::{io, net::SocketAddr};

use stillframe_protocol::{ClusterName, Generation, MemberName, RestoreId};

use crate::{state::RestoreError, transport::TlsError};

/// Why [`Agent::run`](crate::Agent::run) ended otherwise than by a shutdown. In each case the process should end; a supervisor may start it again,
/// except after [`Fenced`](Self::Fenced), which says that somebody else has the member's name now.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data plane can't listen.
    #[error("can't listen on {address} for other members: {source}; choose another address, or port 0 for any free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data plane's certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A data plane without TLS would be reachable from other machines.
    #[error(
        "{what} {address} would let other machines reach the data plane, which has no TLS: whoever can reach it could read and forge messages. Give the \
         member certificates (AgentConfig::data_plane; --tls-cert, --tls-key and --tls-ca), or use a loopback address, or accept it \
         (AgentConfig::insecure_data_plane; --insecure-data-plane)"
    )]
    InsecureDataPlane {
        /// `listening on` or `advertising`.
        what: &'static str,
        /// The address.
        address: String,
    },
    /// The settings don't fit together.
    #[error("{0}")]
    Config(String),
    /// The coordinator refused, and asking again won't help.
    #[error("the coordinator refuses {cluster}/{member}: {detail}")]
    Refused {
        /// The cluster.
        cluster: ClusterName,
        /// The member.
        member: MemberName,
        /// The problem, with what to do.
        detail: String,
    },
    /// A newer incarnation has the member's name, or the member isn't of the cluster any more.
    #[error("{cluster}/{member} was fenced: {why}")]
    Fenced {
        /// The cluster.
        cluster: ClusterName,
        /// The member.
        member: MemberName,
        /// Why.
        why: String,
    },
    /// The URL of the archive can't be understood.
    #[error("the archive's URL {url:?} can't be used: {reason}")]
    ArchiveUrl {
        /// What the coordinator named.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The application couldn't take its captured state.
    #[error("generation {generation}: the application can't be restored: {source}")]
    Restore {
        /// The generation that was to begin.
        generation: Generation,
        /// What the application, or the reader of its part, said.
        source: RestoreError,
    },
    /// A generation has begun that this process holds no part for.
    #[error(
        "generation {generation} has begun from restore {restore}, and this process holds no part prepared for it; start the process again, and the \
         cluster is put back"
    )]
    NoPart {
        /// The generation.
        generation: Generation,
        /// The restore that it began from.
        restore: RestoreId,
    },
    /// The cluster starts anew from its initial state, and this process isn't in its own any more.
    #[error(
        "generation {generation} starts from the initial state, but this process has run in generation {ran}; start the process again"
    )]
    StartAgain {
        /// The generation that begins.
        generation: Generation,
        /// The generation that this process has run in.
        ran: Generation,
    },
    /// The application panicked.
    #[error("the application panicked; its message is on standard error")]
    Panicked,
    /// The agent's thread or runtime can't be made.
    #[error("the agent's thread can't be started: {0}")]
    Thread(io::Error),
}
