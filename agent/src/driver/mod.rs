//! The one task that owns the participant and the application, on a thread of its own.
//!
//! The thread has a small runtime, on which the data plane's connections are read and written too: a message costs no change of threads. Everything else
//! (polling the coordinator, uploads, reports) runs on the caller's runtime, so a callback that computes for long stops neither the lease nor an upload.
//!
//! | to find | look in |
//! | --- | --- |
//! | the loop | here |
//! | comparing what is with what the coordinator wants | [`assignment`] |
//! | what a member has in one generation, and carrying out outputs | [`live`] |
//! | starting fresh, or from a part | [`resume`] |
//! | connections | [`wiring`], [`channel`] |
//! | frames that wait until the channels are aligned | [`held`] |
//! | messages that wait, timers, acknowledgements | [`outbox`], [`timers`], [`acknowledging`] |
//! | open snapshots, and what the participant and the coordinator say of them | [`recordings`], [`books`] |
//! | how snapshots ended | [`outcomes`] |
//! | a restore that is being prepared | [`preparation`] |
//! | leaving in good order, letting others leave | [`leaving`] |
//! | ending well, and what others see meanwhile | [`farewell`], [`published`] |

mod acknowledging;
mod assignment;
pub(crate) mod books;
pub(crate) mod channel;
mod farewell;
mod held;
pub(crate) mod leaving;
mod live;
pub(crate) mod outbox;
pub(crate) mod outcomes;
mod parts;
pub(crate) mod preparation;
mod published;
pub(crate) mod recordings;
mod resume;
mod timers;
mod wiring;

use std::{sync::Arc, time::Instant};

use stillframe_protocol::{Frame, Generation, MemberId, SnapshotId};
use tokio::sync::{mpsc, watch};

pub(crate) use live::Live;
pub(crate) use parts::{OutwardParts, Parts, WiringParts};

use held::Frames;
use outcomes::Outcomes;
use preparation::{Loaded, Preparations};
use published::STATUS_EVERY;
use recordings::Outward;
use wiring::Wiring;

use crate::{
    application::Application,
    config::Limits,
    context::Context,
    control::{lease::Lease, mailbox::Mailbox},
    directory::Directory,
    error::AgentError,
    link::{ConnectionId, Input},
    spool::SpoolBudget,
    status::{Phase, Status},
};

/// Inputs that wait for the driver; beyond it, connections aren't read.
pub(crate) const INPUTS: usize = 16;

/// Frames after which the lease is looked at again.
const FRAMES_A_LOOK: usize = 16;

/// Messages to oneself that are delivered before other things get their turn.
const OWN_A_TURN: usize = 256;

/// Timers that are served before other things get their turn.
const TIMERS_A_TURN: usize = 64;

/// Why nothing is delivered just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The coordinator hasn't said that the member may run.
    Waiting,
    /// A restore is being prepared.
    Preparing,
    /// The lease ran out.
    LeaseExpired,
    /// A peer is in a newer generation: this process may be the one that was replaced.
    NewerGeneration,
}

/// What comes after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another turn, or waiting.
    GoOn,
    /// The end, once what was sent has arrived.
    Farewell,
    /// The end.
    Stop,
}

/// What work outside of the driver gave.
pub(crate) enum Work {
    /// A part was loaded, or not.
    Loaded(Loaded),
}

/// Frames that are being processed.
struct Backlog {
    connection: ConnectionId,
    peer: MemberId,
    frames: std::vec::IntoIter<Frame>,
}

impl From<Frames> for Backlog {
    fn from(Frames { connection, peer, frames }: Frames) -> Self {
        Self { connection, peer, frames: frames.into_iter() }
    }
}

/// The owner of everything that a member does.
pub(crate) struct Driver {
    app: Box<dyn Application>,
    limits: Arc<Limits>,
    mailbox: Arc<Mailbox>,
    lease: Arc<Lease>,
    status: watch::Sender<Status>,
    generation: watch::Sender<Generation>,
    inputs: mpsc::Receiver<Input>,
    work: mpsc::UnboundedReceiver<Work>,
    work_sender: mpsc::UnboundedSender<Work>,
    outward: Outward,
    budget: Arc<SpoolBudget>,
    wiring: Wiring,
    directory: Directory,
    /// Of which list of peers the directory is.
    peers_revision: u64,
    live: Option<Live>,
    hold: Option<Hold>,
    preparations: Preparations,
    backlog: Option<Backlog>,
    /// The report that the member runs in its generation.
    running_report: Option<channel::AbortOnDrop>,
    /// Outcomes that wait until the member runs again.
    outcomes: Outcomes,
    last_committed: Option<SnapshotId>,
    /// The agent's handle asked that it leave.
    asked_to_leave: bool,
    published_at: Instant,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { app, limits, mailbox, lease, status, generation, inputs, outward, wiring } = parts;
        let OutwardParts { reporter, door, runtime, spool_dir } = outward;
        let WiringParts { transport, me, name, inputs: inputs_sender } = wiring;
        let (work_sender, work) = mpsc::unbounded_channel();
        let budget = SpoolBudget::new(limits.spool_memory_bytes, limits.spool_file_bytes, &spool_dir);
        let wiring = Wiring {
            transport,
            cluster: reporter.cluster.clone(),
            me,
            incarnation: reporter.incarnation,
            inputs: inputs_sender,
            terms: crate::link::Terms::new(&limits),
            numbers: Arc::default(),
        };
        // The first state is serialised where it may take its time; what follows goes by its size.
        let last_state_bytes = Arc::new(u64::MAX.into());
        Self {
            app,
            limits,
            mailbox,
            lease,
            status,
            generation,
            inputs,
            work,
            work_sender,
            outward: Outward { reporter, door, runtime, parts_reported: Arc::default(), last_state_bytes },
            budget,
            wiring,
            directory: Directory::new(name, None),
            peers_revision: 0,
            live: None,
            hold: Some(Hold::Waiting),
            preparations: Preparations::default(),
            backlog: None,
            running_report: None,
            outcomes: Outcomes::default(),
            last_committed: None,
            asked_to_leave: false,
            published_at: Instant::now(),
        }
    }

    /// Runs until the application, the caller or the coordinator ends it.
    pub(crate) async fn run(mut self) -> Result<(), AgentError> {
        let result = loop {
            match self.turn() {
                Ok(Next::GoOn) => {}
                Ok(Next::Farewell) => {
                    self.farewell().await;
                    break Ok(());
                }
                Ok(Next::Stop) => break Ok(()),
                Err(error) => break Err(error),
            }
            let flushed = self.live.as_mut().is_some_and(Live::flush);
            self.publish(false);
            if flushed || self.has_work() {
                // The connections' tasks are on this thread: let them write, and read what has come.
                tokio::task::yield_now().await;
            }
            if self.has_work() {
                continue;
            }
            self.wait().await;
        };
        self.status.send_modify(|status| status.phase = Phase::Stopped);
        result
    }

    /// One round over everything that doesn't have to be waited for.
    fn turn(&mut self) -> Result<Next, AgentError> {
        if self.mailbox.has_news() {
            match self.read_mail()? {
                Next::GoOn => {}
                end @ (Next::Farewell | Next::Stop) => return Ok(end),
            }
        }
        let now = Instant::now();
        if !self.may_act(now) {
            return Ok(Next::GoOn);
        }
        if let Some(live) = &mut self.live {
            let app = &mut *self.app;
            for _ in 0..TIMERS_A_TURN {
                if live.leaving.is_silent() {
                    break;
                }
                let Some(timer) = live.timers.due(now) else { break };
                app.on_timer(&mut Context::new(live), timer);
                live.settle(app);
            }
            live.deliver_own(OWN_A_TURN, app);
            live.redial(now);
        }
        match self.work_off_backlog()? {
            Next::GoOn => {}
            end @ (Next::Farewell | Next::Stop) => return Ok(end),
        }
        if let Some(live) = &mut self.live
            && self.hold.is_none()
        {
            live.break_marked();
            live.acknowledge_if_due(now, &mut *self.app);
            live.unalign_due(now, &mut *self.app);
            live.look_after_leaving(self.asked_to_leave, &self.outward, &mut *self.app);
            let (participant, directory) = (&live.participant, &live.directory);
            if live.recordings.next_progress().is_some_and(|at| at <= now) {
                live.recordings.report_progress(now, |epoch, since| Live::missing(participant, directory, epoch, since));
            }
            if let Some(generation) = live.newer.take() {
                tracing::warn!(%generation, "a peer is in a newer generation; holding still until the coordinator is heard");
                self.hold(Hold::NewerGeneration);
            }
        }
        let shutdown = self.live.as_ref().is_some_and(|live| live.shutdown);
        Ok(if shutdown { Next::Farewell } else { Next::GoOn })
    }

    /// Whether the member runs; finds out that its lease has run out.
    fn may_act(&mut self, now: Instant) -> bool {
        if self.hold.is_none() && now >= self.lease.until() {
            tracing::warn!("the lease ran out: holding still until the coordinator is heard again");
            self.hold(Hold::LeaseExpired);
        }
        self.hold.is_none()
    }

    /// Processes frames until there are none left or something more urgent comes.
    fn work_off_backlog(&mut self) -> Result<Next, AgentError> {
        while self.hold.is_none() {
            let Some(live) = &mut self.live else { return Ok(Next::GoOn) };
            if self.backlog.is_none() {
                self.backlog = live.next_resumed().map(Backlog::from);
            }
            let Some(backlog) = &mut self.backlog else { return Ok(Next::GoOn) };
            let mut looked_at = 0;
            while looked_at < FRAMES_A_LOOK && !self.mailbox.has_news() {
                let Some(frame) = backlog.frames.next() else {
                    self.backlog = None;
                    break;
                };
                looked_at += 1;
                if frame.from == backlog.peer {
                    live.receive(backlog.connection, frame, &mut *self.app);
                } else {
                    live.to_break.push(backlog.peer);
                }
                if live.shutdown {
                    return Ok(Next::Farewell);
                }
                if !live.to_break.is_empty() {
                    live.break_marked();
                    if !live.connections.contains_key(&backlog.connection) {
                        self.backlog = None;
                        break;
                    }
                }
                if live.held.holds(backlog.connection) {
                    live.held.behind(backlog.connection, backlog.frames.by_ref().collect());
                    self.backlog = None;
                    break;
                }
            }
            if self.mailbox.has_news() {
                match self.read_mail()? {
                    Next::GoOn => {}
                    end @ (Next::Farewell | Next::Stop) => return Ok(end),
                }
            }
            self.may_act(Instant::now());
        }
        Ok(Next::GoOn)
    }

    fn has_work(&self) -> bool {
        let own = self.live.as_ref().is_some_and(|live| !live.own.is_empty() || live.held.is_resumed());
        self.mailbox.has_news() || (self.hold.is_none() && (self.backlog.is_some() || own))
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self) {
        let running = self.hold.is_none();
        let next = match &self.live {
            Some(live) if running => live.next_deadline().into_iter().chain([self.lease.until()]).min(),
            Some(_) | None => None,
        };
        let publish = self.is_unpublished().then(|| self.published_at + STATUS_EVERY);
        let next = next.into_iter().chain(publish).min();
        let alarm = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.mailbox.ringing() => {}
            Some(work) = self.work.recv() => self.take_work(work),
            // While it holds still, a member takes nothing in: the senders' windows fill, and nothing is lost.
            Some(input) = self.inputs.recv(), if running => self.take_input(input),
            () = alarm => {}
        }
    }

    fn take_input(&mut self, input: Input) {
        let Some(live) = &mut self.live else { return };
        match input {
            Input::Frames { connection, frames } => {
                // What isn't known was replaced; what it still brings is repeated on the new one.
                if let Some((_, peer)) = live.connections.get(&connection).copied()
                    && let Some(frames) = live.held.behind(connection, frames)
                {
                    self.backlog = Some(Backlog { connection, peer, frames: frames.into_iter() });
                }
            }
            Input::Broken { connection, reason } => live.broken(connection, &reason),
            Input::Accepted(accepted) => live.accepted(*accepted),
            Input::Dialed { peer, attempt, result } => live.dialed(peer, attempt, result, &mut *self.app),
        }
    }

    /// Holds still, for this reason.
    fn hold(&mut self, hold: Hold) {
        if self.hold != Some(hold) {
            self.hold = Some(hold);
            if let Some(live) = &mut self.live {
                live.timers.pause(Instant::now());
            }
            self.publish(true);
        }
    }

    /// Goes on.
    fn go_on(&mut self) {
        if self.hold.take().is_some() {
            if let Some(live) = &mut self.live {
                live.timers.resume(Instant::now());
            }
            self.publish(true);
        }
    }
}
