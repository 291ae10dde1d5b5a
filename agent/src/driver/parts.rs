//! What the agent hands to a new driver.

use std::{path::PathBuf, sync::Arc};

use stillframe_protocol::{Generation, MemberId, MemberName};
use tokio::sync::{mpsc, watch};

use crate::{
    application::Application,
    config::Limits,
    control::{lease::Lease, mailbox::Mailbox, reporter::Reporter},
    link::Input,
    status::Status,
    transport::Transport,
    upload::ArchiveDoor,
};

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) app: Box<dyn Application>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) status: watch::Sender<Status>,
    /// Tells the acceptor which generation is welcome.
    pub(crate) generation: watch::Sender<Generation>,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) outward: OutwardParts,
    pub(crate) wiring: WiringParts,
}

/// What brings parts and reports to the coordinator and the archive.
pub(crate) struct OutwardParts {
    pub(crate) reporter: Reporter,
    pub(crate) door: Arc<ArchiveDoor>,
    /// Where that is done: not on the driver's thread.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) spool_dir: PathBuf,
}

/// What connects to other members.
pub(crate) struct WiringParts {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) me: MemberId,
    pub(crate) name: MemberName,
    pub(crate) inputs: mpsc::Sender<Input>,
}
