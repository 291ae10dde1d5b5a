//! What goes on without the application: registering, polling the coordinator, uploads and reports, on a thread of their own.

use std::{fmt, sync::Arc, thread};

use stillframe_api::agent::Register;
use stillframe_protocol::{Incarnation, MemberId};
use tokio::sync::{Notify, oneshot};
use tracing::Instrument;
use uuid::Uuid;

use super::envelope::ClusterTag;
use crate::{
    AgentConfig, AgentError,
    control::{
        ControlPlane,
        lease::Lease,
        mailbox::{End, Mailbox},
        poll,
        reporter::Reporter,
    },
    driver::recordings::Outward,
    upload,
};

/// Tells the application's thread that there is news.
pub(super) type Wake = Box<dyn Fn() + Send + Sync>;

/// What a registered process has.
pub(super) struct Enlisted {
    pub(super) id: MemberId,
    pub(super) incarnation: Incarnation,
    pub(super) tag: ClusterTag,
    pub(super) lease: Arc<Lease>,
    pub(super) outward: Outward,
}

impl fmt::Debug for Enlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enlisted").field("id", &self.id).field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

/// The thread. It ends when this is dropped; the coordinator sees that at once.
#[derive(Debug)]
pub(super) struct Background {
    _stop: oneshot::Sender<()>,
    enlisted: oneshot::Receiver<Enlisted>,
    pub(super) span: tracing::Span,
}

impl Background {
    pub(super) fn start(
        config: &AgentConfig,
        plane: Arc<dyn ControlPlane>,
        mailbox: Arc<Mailbox>,
        news: Arc<Notify>,
        wake: Option<Wake>,
    ) -> Result<Self, AgentError> {
        let span = tracing::info_span!(
            "member",
            cluster = %config.cluster,
            member = %config.member,
            incarnation = tracing::field::Empty,
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (sender, enlisted) = oneshot::channel();
        let (config, of) = (config.clone(), span.clone());
        let body = move || {
            let forward = forward(Arc::clone(&mailbox), news, wake);
            let serve = serve(config, plane, mailbox, sender, of.clone()).instrument(of);
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = forward => {}
                    () = serve => {}
                }
            });
            // An upload that is still under way is of no use any more.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("stillframe-member".to_owned()).spawn(body).map_err(AgentError::Thread)?;
        Ok(Self { _stop: stop, enlisted, span })
    }

    /// Once the process is registered, what it got.
    pub(super) fn enlisted(&mut self) -> Option<Enlisted> {
        self.enlisted.try_recv().ok()
    }
}

async fn forward(mailbox: Arc<Mailbox>, news: Arc<Notify>, wake: Option<Wake>) {
    loop {
        mailbox.ringing().await;
        news.notify_one();
        if let Some(wake) = &wake {
            wake();
        }
    }
}

async fn serve(
    config: AgentConfig,
    plane: Arc<dyn ControlPlane>,
    mailbox: Arc<Mailbox>,
    enlisted: oneshot::Sender<Enlisted>,
    span: tracing::Span,
) {
    match enlist(config, plane, &mailbox).await {
        Ok(member) => {
            span.record("incarnation", member.incarnation.0);
            tracing::info!("registered");
            let (reporter, lease) = (member.outward.reporter.clone(), Arc::clone(&member.lease));
            // The member may be gone; then this future is about to be dropped.
            let _ = enlisted.send(member);
            mailbox.ring();
            poll::run(reporter, lease, mailbox).await;
        }
        Err(error) => mailbox.end(End::Failed(error)),
    }
    // What the member has under way goes on until it ends.
    std::future::pending::<()>().await;
}

async fn enlist(config: AgentConfig, plane: Arc<dyn ControlPlane>, mailbox: &Arc<Mailbox>) -> Result<Enlisted, AgentError> {
    let AgentConfig { cluster, member, advertise, archive, spool_dir, .. } = config;
    let Some(address) = advertise else {
        return Err(AgentError::Config(
            "AgentConfig::advertise isn't set: it has to be the host:port by which other members find this one (or that of the broker)".to_owned(),
        ));
    };
    let request = Register { member, instance: Uuid::now_v7(), address };
    let (registered, asked) = poll::register(&*plane, &cluster, &request).await?;
    let lease = Arc::new(Lease::new(asked, registered.lease.get()));
    let door = upload::door(&registered.archive, archive.as_ref(), registered.archive_id, &spool_dir)?;
    let tag = ClusterTag::new(registered.archive_id, &cluster);
    let reporter =
        Reporter { plane, cluster, member: request.member, incarnation: registered.incarnation, mailbox: Arc::clone(mailbox) };
    let outward = Outward {
        reporter,
        door: Arc::new(door),
        runtime: tokio::runtime::Handle::current(),
        parts_reported: Arc::default(),
        // The first state is serialised where it may take its time; what follows goes by its size.
        last_state_bytes: Arc::new(u64::MAX.into()),
    };
    Ok(Enlisted { id: registered.member_id, incarnation: registered.incarnation, tag, lease, outward })
}
