//! Starting a member.

use std::{collections::VecDeque, fmt, sync::Arc, time::Instant};

use tokio::sync::{Notify, mpsc};

use super::{
    Carrier, Member,
    background::{Background, Wake},
    member::Hold,
};
use crate::{
    AgentConfig, AgentError,
    agent::client,
    control::{ControlPlane, mailbox::Mailbox},
    directory::Directory,
    driver::{outcomes::Outcomes, preparation::Preparations},
    spool::SpoolBudget,
};

/// A member to be started: who it is, and how its messages are carried.
pub struct Setup {
    config: AgentConfig,
    carrier: Carrier,
    wake: Option<Wake>,
    plane: Option<Arc<dyn ControlPlane>>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("config", &self.config).field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

impl Setup {
    /// [`AgentConfig::advertise`] has to be set to what [`Member::address`] is to tell the others: the `host:port` at which this process takes frames, or that of
    /// the broker. [`AgentConfig::listen`] isn't used.
    #[must_use]
    pub fn new(config: AgentConfig, carrier: Carrier) -> Self {
        Self { config, carrier, wake: None, plane: None }
    }

    /// Has this called whenever [`Member::on_timeout`] should be called soon though its time hasn't come, on another thread: to write to a pipe, or to wake an event
    /// loop. In async code [`Member::news`] is easier.
    #[must_use]
    pub fn wake_by(mut self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        self.wake = Some(Box::new(wake));
        self
    }

    /// Talks to this coordinator instead of the one at [`AgentConfig::coordinators`]. For tests.
    #[must_use]
    pub fn with_control_plane(mut self, plane: Arc<dyn ControlPlane>) -> Self {
        self.plane = Some(plane);
        self
    }

    /// Starts the thread that registers the process and keeps in touch with the coordinator. Doesn't wait for it.
    ///
    /// # Errors
    /// [`AgentError::Config`] or [`AgentError::Thread`]. What goes wrong later comes as [`Action::Ended`].
    pub fn start(self) -> Result<Member, AgentError> {
        let Self { config, carrier, wake, plane } = self;
        let plane = match plane {
            Some(plane) => plane,
            None => Arc::new(client(&config.coordinators)?),
        };
        let (mailbox, news) = (Arc::<Mailbox>::default(), Arc::<Notify>::default());
        let background = Background::start(&config, plane, Arc::clone(&mailbox), Arc::clone(&news), wake)?;
        let AgentConfig { member, limits, spool_dir, .. } = config;
        let (work_sender, work) = mpsc::unbounded_channel();
        Ok(Member {
            budget: SpoolBudget::new(limits.spool_memory_bytes, limits.spool_file_bytes, &spool_dir),
            carrier,
            limits: Arc::new(limits),
            mailbox,
            news,
            background,
            enlisted: None,
            directory: Directory::new(member, None),
            peers_revision: 0,
            peers_told: 0,
            running: None,
            hold: Some(Hold::Waiting),
            ended: false,
            preparations: Preparations::default(),
            work,
            work_sender,
            notices: VecDeque::new(),
            asked: None,
            replay: None,
            announce: false,
            running_report: None,
            unnamed: None,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            outcomes: Outcomes::default(),
            last_committed: None,
            now: Instant::now(),
            calls: 0,
        })
    }
}
