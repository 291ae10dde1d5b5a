//! Starting, watching and ending an agent.

use std::{fmt, io, net::IpAddr, sync::Arc, thread, time::Duration};

use stillframe_api::{Client, Coordinators, agent::Register};
use stillframe_protocol::Generation;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    application::Application,
    config::{AgentConfig, DataPlane},
    control::{
        ControlPlane,
        lease::Lease,
        mailbox::{End, Mailbox},
        poll,
        reporter::Reporter,
    },
    driver::{Driver, INPUTS, OutwardParts, Parts, WiringParts},
    error::AgentError,
    link::{Gate, acceptor},
    status::Status,
    transport::{Listener, Tcp, Tls, Transport},
    upload,
};

/// A member, ready to run.
pub struct Agent {
    config: AgentConfig,
    app: Box<dyn Application>,
    plane: Option<Arc<dyn ControlPlane>>,
    transport: Option<Arc<dyn Transport>>,
    status: watch::Sender<Status>,
    mailbox: Arc<Mailbox>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Watches and ends a running agent.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    status: watch::Receiver<Status>,
    mailbox: Arc<Mailbox>,
}

impl AgentHandle {
    /// What the agent is doing.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Has the application leave the cluster in good order ([`Application::on_leave`]); the agent's run ends with `Ok` when that is done.
    pub fn leave(&self) {
        self.mailbox.leave();
    }

    /// Ends the agent's run with `Ok`, once its present callback is over. For the cluster that is the loss of a member, which has to come back; to end for
    /// good, [`leave`](Self::leave).
    pub fn shutdown(&self) {
        self.mailbox.end(End::Shutdown);
    }
}

impl Agent {
    /// An agent for this application.
    #[must_use]
    pub fn new(config: AgentConfig, app: impl Application) -> Self {
        let (status, _) = watch::channel(Status::default());
        Self { config, app: Box::new(app), plane: None, transport: None, status, mailbox: Arc::default() }
    }

    /// Talks to this coordinator instead of the one at [`AgentConfig::coordinator`]. For tests.
    #[must_use]
    pub fn with_control_plane(mut self, plane: Arc<dyn ControlPlane>) -> Self {
        self.plane = Some(plane);
        self
    }

    /// Reaches the other members so, instead of by what [`AgentConfig::data_plane`] says.
    #[must_use]
    pub fn with_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// What the agent is doing, also after [`run`](Self::run) has taken it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// A handle that watches and ends the agent.
    #[must_use]
    pub fn handle(&self) -> AgentHandle {
        AgentHandle { status: self.status(), mailbox: Arc::clone(&self.mailbox) }
    }

    /// Registers the process and runs it until the application, its handle or the coordinator ends it. Dropping the future ends it too.
    ///
    /// The application is called on a thread of its own. The runtime that runs this future polls the coordinator and so keeps the lease: it mustn't be blocked
    /// for long.
    ///
    /// # Errors
    /// [`AgentError`] says what to do.
    pub async fn run(self) -> Result<(), AgentError> {
        let span = tracing::info_span!(
            "agent",
            cluster = %self.config.cluster,
            member = %self.config.member,
            incarnation = tracing::field::Empty,
        );
        self.run_in_span(span.clone()).instrument(span).await
    }

    async fn run_in_span(self, span: tracing::Span) -> Result<(), AgentError> {
        let Self { config, app, plane, transport, status, mailbox } = self;
        let plane = match plane {
            Some(plane) => plane,
            None => Arc::new(client(&config.coordinators)?),
        };
        let transport = match transport {
            Some(transport) => transport,
            None => data_plane(&config)?,
        };
        let ending = EndOnDrop(Arc::clone(&mailbox));
        let (thread, started) = DriverThread::start(Arc::clone(&transport), span.clone())?;
        let listening = started.await.map_err(|_| AgentError::Panicked)?;
        let bound = listening.map_err(|source| AgentError::Listen { address: config.listen, source })?;
        let address = address(&config, bound)?;

        let request = Register { member: config.member.clone(), instance: Uuid::now_v7(), address };
        let (registered, asked) = tokio::select! {
            registered = poll::register(&*plane, &config.cluster, &request) => registered?,
            () = shut_down(&mailbox) => return Ok(()),
        };
        span.record("incarnation", registered.incarnation.0);
        tracing::info!(address = request.address, "registered");
        let lease = Arc::new(Lease::new(asked, registered.lease.get()));
        let door = upload::door(&registered.archive, config.archive.as_ref(), registered.archive_id, &config.spool_dir)?;
        let reporter = Reporter {
            plane,
            cluster: config.cluster.clone(),
            member: config.member.clone(),
            incarnation: registered.incarnation,
            mailbox: Arc::clone(&mailbox),
        };
        let poll = poll::run(reporter.clone(), Arc::clone(&lease), Arc::clone(&mailbox));
        let poll = AbortTask(tokio::spawn(poll.in_current_span()));

        let (inputs_sender, inputs) = mpsc::channel(INPUTS);
        let (generation, gate_generation) = watch::channel(Generation::default());
        let gate = Gate {
            cluster: config.cluster.clone(),
            member: config.member.clone(),
            incarnation: registered.incarnation,
            generation: gate_generation,
            max_message_bytes: config.limits.max_message_bytes,
            patience: acceptor::Patience::default(),
        };
        let parts = Parts {
            app,
            limits: Arc::new(config.limits),
            mailbox,
            lease,
            status,
            generation,
            inputs,
            outward: OutwardParts {
                reporter,
                door: Arc::new(door),
                runtime: tokio::runtime::Handle::current(),
                spool_dir: config.spool_dir,
            },
            wiring: WiringParts { transport, me: registered.member_id, name: config.member, inputs: inputs_sender.clone() },
        };
        let ended = thread.drive(parts, gate, inputs_sender).await;
        drop((poll, ending));
        ended
    }
}

/// Runs an application in this thread, on a runtime made for it. What most processes want.
///
/// # Errors
/// [`AgentError`] says what to do.
pub fn run_blocking(config: AgentConfig, app: impl Application) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Thread)?;
    let result = runtime.block_on(Agent::new(config, app).run());
    // An upload that is still under way is of no use any more.
    runtime.shutdown_background();
    result
}

/// How long the coordinator may take to answer before another replica is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A client that asks one replica at a time: the loops of the control plane try again by themselves.
pub(crate) fn client(coordinators: &Coordinators) -> Result<Client, AgentError> {
    let client = Client::of(coordinators.clone()).map_err(|error| AgentError::Config(error.to_string()))?;
    Ok(client.with_one_try(ANSWER_WITHIN))
}

/// The transport that the settings ask for, if it may be where they want it.
fn data_plane(config: &AgentConfig) -> Result<Arc<dyn Transport>, AgentError> {
    match &config.data_plane {
        DataPlane::Tls(files) => Ok(Arc::new(Tls::new(config.listen, files.clone(), config.cluster.clone(), &config.member)?)),
        DataPlane::Plain => {
            if !config.insecure_data_plane {
                keep_to_loopback(config)?;
            }
            Ok(Arc::new(Tcp::new(config.listen)))
        }
    }
}

fn keep_to_loopback(config: &AgentConfig) -> Result<(), AgentError> {
    let insecure = |what, address: String| Err(AgentError::InsecureDataPlane { what, address });
    if !config.listen.ip().to_canonical().is_loopback() {
        return insecure("listening on", config.listen.to_string());
    }
    match &config.advertise {
        Some(address) if !is_loopback(address) => insecure("advertising", address.clone()),
        Some(_) | None => Ok(()),
    }
}

/// Whether `host:port` leads to this machine.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.to_canonical().is_loopback())
}

/// What other members are to dial.
fn address(config: &AgentConfig, bound: String) -> Result<String, AgentError> {
    match &config.advertise {
        Some(address) => Ok(address.clone()),
        None if config.listen.ip().is_unspecified() => Err(AgentError::Config(format!(
            "listening on {} says nothing about where others find this process: set AgentConfig::advertise to host:port",
            config.listen
        ))),
        None => Ok(bound),
    }
}

async fn shut_down(mailbox: &Mailbox) {
    loop {
        mailbox.ringing().await;
        let mail = mailbox.take();
        if let Some(End::Shutdown | End::Abandoned) = mail.end {
            return;
        }
        if mail.leave {
            // It isn't a member yet.
            return;
        }
    }
}

/// Ends the driver when the future that runs the agent is dropped.
struct EndOnDrop(Arc<Mailbox>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(End::Abandoned);
    }
}

struct AbortTask(tokio::task::JoinHandle<()>);

impl Drop for AbortTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Begin = (Box<Parts>, Gate, mpsc::Sender<crate::link::Input>);

/// The driver's thread. It listens first (the address is needed to register), and drives once the member is registered.
struct DriverThread {
    begin: oneshot::Sender<Begin>,
    ended: oneshot::Receiver<Result<(), AgentError>>,
}

impl DriverThread {
    fn start(
        transport: Arc<dyn Transport>,
        span: tracing::Span,
    ) -> Result<(Self, oneshot::Receiver<io::Result<String>>), AgentError> {
        let (begin, begun) = oneshot::channel::<Begin>();
        let (listening, started) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Thread)?;
        let body = move || {
            let _span = span.enter();
            let result = runtime.block_on(async move {
                let listener = match listen(&*transport).await {
                    Ok((listener, address)) => {
                        let _ = listening.send(Ok(address));
                        listener
                    }
                    Err(error) => {
                        let _ = listening.send(Err(error));
                        return Ok(());
                    }
                };
                // The agent may have been dropped, or refused, before there was anything to drive.
                let Ok((parts, gate, inputs)) = begun.await else { return Ok(()) };
                let serving = AbortTask(tokio::spawn(acceptor::serve(listener, gate, inputs).in_current_span()));
                let result = Driver::new(*parts).run().await;
                drop(serving);
                result
            });
            let _ = end.send(result);
        };
        thread::Builder::new().name("stillframe-driver".to_owned()).spawn(body).map_err(AgentError::Thread)?;
        Ok((Self { begin, ended }, started))
    }

    async fn drive(self, parts: Parts, gate: Gate, inputs: mpsc::Sender<crate::link::Input>) -> Result<(), AgentError> {
        if self.begin.send((Box::new(parts), gate, inputs)).is_err() {
            return Err(AgentError::Panicked);
        }
        // A panic of the application unwinds the thread, and drops the other end.
        self.ended.await.unwrap_or(Err(AgentError::Panicked))
    }
}

async fn listen(transport: &dyn Transport) -> io::Result<(Box<dyn Listener>, String)> {
    let listener = transport.listen().await?;
    let address = listener.address()?;
    Ok((listener, address))
}
