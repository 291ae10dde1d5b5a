//! An agent's settings.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use stillframe_api::Coordinators;
use stillframe_archive::ArchiveUrl;
use stillframe_protocol::{ClusterName, MemberName};

/// What an agent holds at most. All members of a cluster should have the same limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one channel that are under way (sent, not acknowledged).
    pub window_messages: u64,
    /// Payload bytes of one channel that are under way. One message is always let through.
    pub window_bytes: u64,
    /// Messages to one member that wait to be sent; beyond it, `send` refuses.
    pub outbox_messages: usize,
    /// Payload bytes to one member that wait to be sent; beyond it, `send` refuses.
    pub outbox_bytes: u64,
    /// The largest message, in bytes. A member that takes only smaller ones than this one tells it so when they connect: `send` then refuses what that one wouldn't take.
    pub max_message_bytes: usize,
    /// How long a connection may bring nothing before the member at its other end counts as gone, and is dialled anew. Each end says something at least every quarter
    /// of it. A callback that takes longer than a quarter of it may cost the member its connections; they are made anew afterwards, and nothing is lost.
    pub silence: Duration,
    /// Bytes of recorded messages kept in memory, all open snapshots together. When a quarter of it is in use, messages go to a temporary file, and the rest is for what
    /// waits to be written there: a disk that doesn't keep up costs the snapshot, never the application. Less than a few of the largest messages is of no use.
    pub spool_memory_bytes: u64,
    /// Bytes of recorded messages kept in temporary files, all open snapshots together; beyond it, a snapshot is aborted.
    pub spool_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            window_messages: 4096,
            window_bytes: 4 * MIB,
            outbox_messages: 65_536,
            outbox_bytes: 16 * MIB,
            max_message_bytes: 8 << 20,
            silence: Duration::from_secs(40),
            spool_memory_bytes: 64 * MIB,
            spool_file_bytes: 4096 * MIB,
        }
    }
}

/// The files of a member's certificate, all of PEM. They are looked at for each connection: what was renewed is taken up by the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The member's certificate, and what stands between it and the authority. `<member>.<cluster>` must be among its DNS names (subject alternative names); if it names
    /// its uses, both client and server authentication must be among them.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificates of the authorities that members' certificates are of.
    pub ca: PathBuf,
}

/// How members talk to each other. Applications that carry their messages themselves ([`wrap`](crate::wrap)) see to that themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DataPlane {
    /// Plain TCP, for members on one machine: who can reach it can read and forge messages. So it is kept to loopback addresses, unless
    /// [`AgentConfig::insecure_data_plane`] says otherwise.
    #[default]
    Plain,
    /// TLS 1.3; both ends show a certificate of the same authority and of the member that they are.
    Tls(TlsFiles),
}

/// Who the agent is, and where everything is.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The coordinator's replicas, `http://host:port`, with commas between them. Any of them may be asked; when one dies, another is.
    pub coordinators: Coordinators,
    /// The cluster, which must exist there.
    pub cluster: ClusterName,
    /// The member's stable name. A process that takes a name over fences the one that had it.
    pub member: MemberName,
    /// Where the data plane listens; port 0 takes any free one. Loopback unless told.
    pub listen: SocketAddr,
    /// What the other members dial, `host:port`, when that isn't the address listened on.
    pub advertise: Option<String>,
    /// How members talk to each other; all of a cluster alike.
    pub data_plane: DataPlane,
    /// Lets a plain data plane be reached from other machines.
    pub insecure_data_plane: bool,
    /// What the agent holds at most.
    pub limits: Limits,
    /// Where temporary files go; the system's place for them unless told.
    pub spool_dir: PathBuf,
    /// The archive, when this process has to reach it under another URL than the coordinator names.
    pub archive: Option<ArchiveUrl>,
}

impl AgentConfig {
    /// Settings with the defaults: listens on a free port of 127.0.0.1, default [`Limits`].
    #[must_use]
    pub fn new(coordinators: Coordinators, cluster: ClusterName, member: MemberName) -> Self {
        Self {
            coordinators,
            cluster,
            member,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            data_plane: DataPlane::Plain,
            insecure_data_plane: false,
            limits: Limits::default(),
            spool_dir: std::env::temp_dir(),
            archive: None,
        }
    }

    /// Listens there.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Has the other members dial this `host:port`.
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Talks to the other members so.
    #[must_use]
    pub fn data_plane(mut self, data_plane: DataPlane) -> Self {
        self.data_plane = data_plane;
        self
    }

    /// Lets a plain data plane be reached from other machines: whoever can reach it can read and forge messages. Only for networks in which nobody would.
    #[must_use]
    pub fn insecure_data_plane(mut self, insecure: bool) -> Self {
        self.insecure_data_plane = insecure;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets where temporary files go.
    #[must_use]
    pub fn spool_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spool_dir = dir.into();
        self
    }

    /// Reaches the archive under this URL.
    #[must_use]
    pub fn archive(mut self, url: ArchiveUrl) -> Self {
        self.archive = Some(url);
        self
    }
}
