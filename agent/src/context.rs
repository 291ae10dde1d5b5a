//! What an application may do in a callback.

use std::time::Duration;

use bytes::Bytes;
use stillframe_protocol::{Generation, MemberName};

use crate::{application::TimerId, driver::Live};

/// Whether more may be sent to a member now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a sender that doesn't stop when it is told to meets SendError::OutboxFull"]
pub enum Room {
    /// More may be sent.
    Ready,
    /// The message was taken, but the window is full: stop until [`on_ready`](crate::Application::on_ready).
    Full,
}

/// Why a message wasn't taken. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No member of that name in the cluster.
    #[error("{to} is no member of the cluster: expected one of the peers")]
    UnknownMember {
        /// The name.
        to: MemberName,
    },
    /// The member is leaving: it takes in what was sent already, and nothing new.
    #[error("{to} is leaving, and is sent nothing new; choose another of the peers")]
    Leaving {
        /// The member.
        to: MemberName,
        /// The message, handed back.
        message: Bytes,
    },
    /// This member itself has had its last word.
    #[error("this member has left: nothing can be sent after on_drained")]
    HasLeft,
    /// Too much waits to be sent to this member already. Try again from `on_ready`.
    #[error("the outbox to {to} is full with {messages} messages of {bytes} bytes; stop sending when send answers Room::Full")]
    OutboxFull {
        /// The member.
        to: MemberName,
        /// Messages that wait.
        messages: usize,
        /// Their bytes.
        bytes: u64,
        /// The message, handed back.
        message: Bytes,
    },
    /// The message is larger than this member sends, or the other one takes.
    #[error("a message of {found} bytes is too large: at most {limit} bytes (Limits::max_message_bytes, of both members)")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// The message's length.
        found: usize,
    },
}

/// What an application may do while it is called.
pub struct Context<'a> {
    live: &'a mut Live,
}

impl<'a> Context<'a> {
    pub(crate) fn new(live: &'a mut Live) -> Self {
        Self { live }
    }

    /// This member's own name.
    #[must_use]
    pub fn me(&self) -> &MemberName {
        self.live.directory.me()
    }

    /// Every other member of the cluster that can be sent to, by name: those that are leaving aren't among them.
    pub fn peers(&self) -> impl Iterator<Item = &MemberName> {
        self.live.directory.peers()
    }

    /// The generation that the member runs in; each restore raises it.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.live.generation()
    }

    /// Sends a message. It waits in the agent while the channel is being opened, while the other member is away, and while the window is full; a
    /// snapshot holds it wherever it is. A message to oneself is delivered after this callback.
    ///
    /// # Errors
    /// [`SendError`]: the message wasn't taken.
    pub fn send(&mut self, to: &MemberName, message: impl Into<Bytes>) -> Result<Room, SendError> {
        self.live.send(to, message.into())
    }

    /// Has [`on_timer`](crate::Application::on_timer) called once, after this time in which the member runs. A timer of the same id is replaced.
    /// Timers belong to the member's state: a restore arms them again with the time that was left.
    pub fn set_timer(&mut self, id: TimerId, after: Duration) {
        self.live.timers.set(id, after);
    }

    /// Takes a timer back; nothing happens when there is none of that id.
    pub fn cancel_timer(&mut self, id: TimerId) {
        self.live.timers.cancel(id);
    }

    /// Leaves the cluster in good order, once. The other members are told, and send nothing new here; what was sent already arrives, and this member may send as
    /// before. When nothing can come any more, [`on_drained`](crate::Application::on_drained) is called; after it this member sends nothing, and when all
    /// of that has arrived, the agent's run ends with `Ok`. Snapshots go on meanwhile, with this member and then without it.
    ///
    /// While fewer than the cluster's `min_members` would stay, the coordinator refuses it: the member goes on as it is, and asks again every few seconds. A
    /// restore undoes it with everything else.
    pub fn leave(&mut self) {
        self.live.leaving.want();
    }

    /// Ends the agent's run with `Ok` once this callback is over and what was sent is on its way. For the cluster that is the loss of a
    /// member, which has to come back; to end for good, [`leave`](Self::leave).
    pub fn shutdown(&mut self) {
        self.live.shutdown = true;
    }
}
