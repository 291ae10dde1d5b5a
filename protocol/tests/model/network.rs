//! The network: connections that keep order and break, and datagrams. What a broken connection or a past generation left arrives late, or never.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use stillframe_protocol::{ChannelOrdering, Frame, FrameBody};

use super::bounds::Channel;

/// One way of one connection.
type Stream = VecDeque<Frame>;

/// All that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Network {
    /// By channel.
    pub links: Vec<Link>,
    /// What broken connections still hold.
    pub stale: Vec<Stream>,
    /// Encoded datagrams, and how many of each.
    pub loose: BTreeMap<Bytes, u8>,
}

/// The connection of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Link {
    pub up: bool,
    /// Messages, markers and opens.
    pub forward: Stream,
    /// Acknowledgements and accepts.
    pub backward: Stream,
    /// The receiver of a way doesn't take its next frame yet.
    pub held: [bool; 2],
}

/// A way of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forward,
    Backward,
}

impl Network {
    pub fn new(channels: usize) -> Self {
        Self { links: vec![Link::default(); channels], stale: Vec::new(), loose: BTreeMap::new() }
    }

    /// Breaks a connection. What it holds may still arrive.
    pub fn disconnect(&mut self, channel: usize) {
        let link = &mut self.links[channel];
        link.up = false;
        link.held = [false; 2];
        for stream in [&mut link.forward, &mut link.backward] {
            if !stream.is_empty() {
                self.stale.push(std::mem::take(stream));
            }
        }
    }

    /// Takes in a frame. With `once` a datagram that is under way already isn't put there again.
    pub fn transmit(&mut self, channels: &[Channel], frame: Frame, once: bool) {
        let (from, to) = (frame.from.0 as usize, frame.to.0 as usize);
        let (ends, forward) = match frame.body {
            FrameBody::Data { .. } | FrameBody::Marker | FrameBody::Open { .. } => ((from, to), true),
            FrameBody::Ack { .. } | FrameBody::Accept { .. } => ((to, from), false),
        };
        let Some(n) = channels.iter().position(|channel| (channel.from, channel.to) == ends) else { return };
        match channels[n].ordering {
            ChannelOrdering::Fifo if !self.links[n].up => {}
            ChannelOrdering::Fifo if forward => self.links[n].forward.push_back(frame),
            ChannelOrdering::Fifo => self.links[n].backward.push_back(frame),
            ChannelOrdering::Unordered => {
                let mut bytes = BytesMut::new();
                frame.encode(&mut bytes);
                let count = self.loose.entry(bytes.freeze()).or_insert(0);
                *count = if once { 1 } else { *count + 1 };
            }
        }
    }

    pub fn stream(&mut self, channel: usize, way: Way) -> &mut Stream {
        let link = &mut self.links[channel];
        match way {
            Way::Forward => &mut link.forward,
            Way::Backward => &mut link.backward,
        }
    }

    /// The receiver refused the frame for now.
    pub fn hold(&mut self, channel: usize, way: Way, frame: Frame) {
        self.stream(channel, way).push_front(frame);
        self.links[channel].held[way as usize] = true;
    }

    /// `to` takes the frames from `from` again.
    pub fn resume(&mut self, channels: &[Channel], from: usize, to: usize) {
        for (link, channel) in self.links.iter_mut().zip(channels) {
            if (channel.from, channel.to) == (from, to) {
                link.held[Way::Forward as usize] = false;
            } else if (channel.to, channel.from) == (from, to) {
                link.held[Way::Backward as usize] = false;
            }
        }
    }

    pub fn take_stale(&mut self, n: usize) -> Option<Frame> {
        let frame = self.stale.get_mut(n)?.pop_front();
        if self.stale[n].is_empty() {
            self.stale.remove(n);
        }
        frame
    }

    /// The nth datagram, taken out or left where it is.
    pub fn take_loose(&mut self, n: usize, keep: bool) -> Option<Frame> {
        let bytes = self.loose.keys().nth(n)?.clone();
        if !keep {
            let count = self.loose.get_mut(&bytes)?;
            *count -= 1;
            if *count == 0 {
                self.loose.remove(&bytes);
            }
        }
        Frame::decode(bytes).ok()
    }

    /// Whether all connections are up and nothing is under way but what is held. What broken ones left doesn't count: it may be lost.
    pub fn is_silent(&self) -> bool {
        let quiet = |link: &Link| (link.forward.is_empty() || link.held[0]) && (link.backward.is_empty() || link.held[1]);
        self.loose.is_empty() && self.links.iter().all(|link| link.up && quiet(link))
    }
}
