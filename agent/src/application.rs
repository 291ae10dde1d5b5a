//! What an application implements.

use bytes::Bytes;
use stillframe_protocol::{MemberName, SnapshotId};

use crate::{
    capture::Capture,
    context::Context,
    state::{RestoreError, StateReader},
};

/// The name of a timer, chosen by the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

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

    /// Freezes the state as it is now. This is the cut, so be quick: hand over bytes that are there, a clone, or shared parts behind `Arc`s,
    /// and leave the serialising to [`Capture::encode`] or [`Capture::from_fn`], which run elsewhere.
    fn capture(&mut self) -> Capture;

    /// Replaces the whole state by one that was captured. Its bytes were verified before. What the application held until now is of a history
    /// that no longer exists.
    ///
    /// # Errors
    /// [`RestoreError`] when the state can't be read: the agent ends with it.
    fn restore(&mut self, state: StateReader) -> Result<(), RestoreError>;

    /// This snapshot was committed: the moment to release effects to the outside that are covered by it. Called once for each snapshot that
    /// commits while this process runs, in order.
    fn on_committed(&mut self, snapshot: SnapshotId) {
        let _ = snapshot;
    }
}
