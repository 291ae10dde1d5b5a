//! Frames that are held back until the channels are aligned.
//!
//! What a connection brings from behind a cut that isn't made here stays here, in its order, and the connection isn't read meanwhile: TCP and the channel's
//! window then stop the sender. So there is no more here than a window holds, of each channel.

use std::collections::{HashMap, VecDeque};

use stillframe_protocol::{Frame, MemberId};

use crate::link::ConnectionId;

/// The frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) connection: ConnectionId,
    pub(super) peer: MemberId,
    pub(super) frames: Vec<Frame>,
}

/// What is held back, by connection.
#[derive(Debug, Default)]
pub(super) struct Held {
    frames: HashMap<ConnectionId, Frames>,
    /// The connections whose frames are to be brought again, in this order.
    resumed: VecDeque<ConnectionId>,
}

impl Held {
    /// Holds a frame back, and with it everything that its connection still brings.
    pub(super) fn hold(&mut self, connection: ConnectionId, peer: MemberId, frame: Frame) {
        let held = self.frames.entry(connection).or_insert_with(|| Frames { connection, peer, frames: Vec::new() });
        held.frames.push(frame);
    }

    /// Whether frames of this connection are held back.
    pub(super) fn holds(&self, connection: ConnectionId) -> bool {
        self.frames.contains_key(&connection)
    }

    /// Puts frames behind those that are held back of their connection; gives them back if none are.
    pub(super) fn behind(&mut self, connection: ConnectionId, frames: Vec<Frame>) -> Option<Vec<Frame>> {
        match self.frames.get_mut(&connection) {
            Some(held) => {
                held.frames.extend(frames);
                None
            }
            None => Some(frames),
        }
    }

    /// The frames of this member are to be brought again.
    pub(super) fn resume(&mut self, peer: MemberId) {
        for held in self.frames.values().filter(|held| held.peer == peer) {
            if !self.resumed.contains(&held.connection) {
                self.resumed.push_back(held.connection);
            }
        }
    }

    /// Whether there are frames to be brought again.
    pub(super) fn is_resumed(&self) -> bool {
        !self.resumed.is_empty()
    }

    /// The next frames to be brought again; they aren't held back any more.
    pub(super) fn next_resumed(&mut self) -> Option<Frames> {
        self.frames.remove(&self.resumed.pop_front()?)
    }

    /// The connection is gone. What it brought isn't acknowledged, and is brought again by the next one.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.frames.remove(&connection);
        self.resumed.retain(|resumed| *resumed != connection);
    }
}
