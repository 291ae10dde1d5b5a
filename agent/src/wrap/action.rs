//! What the application has to do, in order.

use bytes::Bytes;
use stillframe_protocol::{Epoch, Generation, MemberName};

use super::{Envelope, Member, WrapError, Wrapped};
use crate::{AgentError, Capture, Committed, Cut, StateReader};

/// One thing to do. Actions are carried out in the order in which they come, each before the next one is asked for.
#[derive(Debug)]
#[must_use = "an action that isn't carried out is a message lost"]
pub enum Action {
    /// Begin from the initial state. The first action of a cluster's first generation.
    Start,
    /// Replace the whole state by this one; what was captured with it follows as [`Action::Deliver`]. Timers and other things under way are of a history
    /// that no longer exists.
    Restore(StateReader),
    /// Capture the state as it is now, and hand it to [`Actions::answer`] before anything else.
    Capture(CaptureRequest),
    /// This message is for the application. It has to be processed before the next action.
    Deliver {
        /// Who sent it.
        from: MemberName,
        /// What was wrapped.
        message: Bytes,
    },
    /// Carry this to that member. On a fifo carrier in this order, also with regard to what [`Member::wrap`] gives.
    Send {
        /// Whom to.
        to: MemberName,
        /// What.
        envelope: Envelope,
    },
    /// There is room again towards this member, after [`Room::Full`](crate::Room::Full).
    Ready {
        /// The member.
        to: MemberName,
    },
    /// The list of members, or the address of one, has changed ([`Member::peers`], [`Member::address`]).
    Peers,
    /// A snapshot is committed: effects to the outside that it covers may be released. Once for each, in the order of epochs; and right after [`Action::Restore`], for
    /// what the restored state had done.
    Committed(Committed),
    /// The member has to end; nothing comes after it. [`AgentError`] says what to do.
    Ended(AgentError),
}

/// Asks for the application's state. It can be answered once, and only until the next action is asked for: later, the state would be of another moment. A request that
/// isn't answered aborts the snapshot, and nothing else.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request that isn't answered aborts the snapshot"]
pub struct CaptureRequest {
    pub(super) generation: Generation,
    pub(super) first: Epoch,
    pub(super) last: Epoch,
}

impl CaptureRequest {
    /// Which cut it is for: what [`Committed`] will name.
    #[must_use]
    pub fn cut(&self) -> Cut {
        Cut { first: self.first, last: self.last, generation: self.generation }
    }
}

/// The actions that are due. Take them out with [`next_action`](Self::next_action) until there is none. What is left when this is dropped isn't lost: it comes
/// first, in the same order, with the next `Actions`, and until then nothing behind it happens.
#[derive(Debug)]
#[must_use = "actions have to be carried out: call next_action until it gives None"]
pub struct Actions<'a> {
    pub(super) member: &'a mut Member,
}

impl Actions<'_> {
    /// The next thing to do; None when everything is done.
    pub fn next_action(&mut self) -> Option<Action> {
        self.member.next_action()
    }

    /// Answers [`Action::Capture`].
    pub fn answer(&mut self, request: CaptureRequest, state: Capture) {
        self.member.answer(request, state);
    }

    /// Wraps a message while actions are being carried out: an answer to one that was delivered, say. See [`Member::wrap`].
    ///
    /// # Errors
    /// [`WrapError`]: the message wasn't taken.
    pub fn wrap(&mut self, to: &MemberName, message: impl Into<Bytes>) -> Result<Wrapped, WrapError> {
        self.member.wrap(to, message)
    }

    /// The member.
    #[must_use]
    pub fn member(&self) -> &Member {
        self.member
    }
}
