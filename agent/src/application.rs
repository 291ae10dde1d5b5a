//! What an application implements.

use bytes::Bytes;
use stillframe_protocol::{Epoch, Generation, MemberName, SnapshotId};

use crate::{
    capture::Capture,
    context::Context,
    state::{RestoreError, StateReader},
};

/// The name of a timer, chosen by the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// A point at which the state is captured: the cut of an epoch, or of several that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The oldest epoch that this capture is for.
    pub first: Epoch,
    /// The newest one.
    pub last: Epoch,
    /// The generation that the member runs in.
    pub generation: Generation,
}

/// A snapshot that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// How much of what the member did it covers.
    pub covers: Covers,
}

/// How much of what a member did a snapshot covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// What it had done when its state was captured for this epoch ([`Application::capture_at`]).
    Cut(Epoch),
    /// All: the member was put back to it just now, and has done nothing since.
    Everything,
}

/// A member's own code. One thread calls it, one callback at a time, so it needs no lock.
///
/// Everything that a snapshot is to hold must be reachable from [`capture`](Self::capture): what the application keeps elsewhere (another
/// thread, a file, a socket) is not part of the cut. Messages that were handed to [`Context::send`] and timers are kept by the agent: they
/// belong to the snapshot without any doing of the application.
///
/// A callback may compute for as long as it likes: the lease is renewed by another thread. But while it computes, nothing is delivered, and
/// a snapshot of the cluster waits for its end.
pub trait Application: Send + 'static {
    /// The member begins to run from its initial state. Called once, and never in a process that was put back to a snapshot: there,
    /// [`restore`](Self::restore) is called instead and the timers are armed again.
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// A message was delivered. Messages of one sender come in the order in which it sent them, each once.
    fn on_message(&mut self, cx: &mut Context<'_>, from: &MemberName, message: Bytes);

    /// A timer that was set with [`Context::set_timer`] has run out.
    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        let _ = (cx, timer);
    }

    /// There is room again towards this member, after [`Context::send`] had answered [`Room::Full`](crate::Room::Full).
    fn on_ready(&mut self, cx: &mut Context<'_>, to: &MemberName) {
        let _ = (cx, to);
    }

    /// The list of members changed ([`Context::peers`]).
    fn on_peers(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The member is to leave the cluster: an operator asks for it, or [`AgentHandle::leave`](crate::AgentHandle::leave). Hand over what the others need, and call
    /// [`Context::leave`] when that is done; now, unless this is written otherwise. Called again after a restore.
    fn on_leave(&mut self, cx: &mut Context<'_>) {
        cx.leave();
    }

    /// After [`Context::leave`]: no message can come any more. What is sent now is the last that is.
    fn on_drained(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Freezes the state as it is now. This is the cut, so be quick: hand over bytes that are there, a clone, or shared parts behind `Arc`s,
    /// and leave the serialising to [`Capture::encode`] or [`Capture::from_fn`], which run elsewhere.
    fn capture(&mut self) -> Capture;

    /// As [`capture`](Self::capture), for applications that have to know which cut it is, to tell what a committed snapshot covers. Where this is
    /// written, `capture` is called by nobody else.
    fn capture_at(&mut self, cut: Cut) -> Capture {
        let _ = cut;
        self.capture()
    }

    /// Replaces the whole state by one that was captured. Its bytes were verified before. What the application held until now is of a history
    /// that no longer exists.
    ///
    /// # Errors
    /// [`RestoreError`] when the state can't be read: the agent ends with it.
    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError>;

    /// A snapshot was committed that covers what this member has done: the moment to release its effects to the outside
    /// ([`Effects`](crate::Effects)). Called once for each such snapshot of the history that the member is in, in the order of their epochs; and once right
    /// after [`restore`](Self::restore) for the snapshot that it was put back to, because what was to be released may not have been, when a process died.
    fn on_committed(&mut self, committed: Committed) {
        let _ = committed;
    }
}
