//! The network: connections that keep order and break, and a bag of datagrams that are lost, repeated and mixed up. Frames of broken connections and
//! of past generations stay in it and arrive late.

use std::collections::{BTreeMap, VecDeque};

use stillframe_protocol::{ChannelOrdering, Frame, FrameBody};

use super::{Checked, Plan, ensure};

/// One way of one connection.
type Stream = VecDeque<Frame>;

#[derive(Debug)]
struct Link {
    ordering: ChannelOrdering,
    up: bool,
    /// Data, markers and opens of the channel; only for fifo channels.
    forward: Stream,
    /// Its acknowledgements and accepts; only for fifo channels.
    backward: Stream,
    /// The receiver of a way doesn't take its next frame yet.
    held: [bool; 2],
}

#[derive(Debug, Default)]
pub(super) struct Network {
    links: BTreeMap<(usize, usize), Link>,
    /// What broken connections still hold.
    stale: Vec<Stream>,
    /// What unordered channels hold.
    bag: Vec<Frame>,
}

/// Where a frame was taken from, so that it can be put back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Forward(usize, usize),
    Backward(usize, usize),
    Stale(usize),
    Bag(usize),
}

impl Network {
    pub(super) fn new(plan: &Plan) -> Self {
        let link = |ordering| Link { ordering, up: false, forward: Stream::new(), backward: Stream::new(), held: [false; 2] };
        let links = plan.channels.iter().map(|channel| ((channel.from, channel.to), link(channel.ordering))).collect();
        Self { links, ..Self::default() }
    }

    pub(super) fn is_up(&self, from: usize, to: usize) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.up)
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        if let Some(link) = self.links.get_mut(&(from, to)) {
            link.up = true;
        }
    }

    /// Breaks a connection: of each way a part that was sent last is lost, the rest may arrive late.
    pub(super) fn disconnect(&mut self, from: usize, to: usize, how: u16) {
        let Some(link) = self.links.get_mut(&(from, to)) else { return };
        link.up = false;
        link.held = [false; 2];
        for (stream, draw) in [(&mut link.forward, how & 0xff), (&mut link.backward, how >> 8)] {
            let mut rest = std::mem::take(stream);
            rest.truncate(usize::from(draw) % (rest.len() + 1));
            if !rest.is_empty() {
                self.stale.push(rest);
            }
        }
    }

    pub(super) fn transmit(&mut self, frame: Frame) -> Checked {
        let (from, to) = (frame.from.0 as usize, frame.to.0 as usize);
        let (channel, forward) = match frame.body {
            FrameBody::Data { .. } | FrameBody::Marker | FrameBody::Open { .. } => ((from, to), true),
            FrameBody::Ack { .. } | FrameBody::Accept { .. } => ((to, from), false),
        };
        let link = self.links.get_mut(&channel).ok_or_else(|| format!("{channel:?} isn't in the topology: {frame:?}"))?;
        ensure!(link.up || !forward, "{frame:?} was transmitted though the connection is gone");
        match (link.ordering, forward) {
            (ChannelOrdering::Unordered, _) => self.bag.push(frame),
            (ChannelOrdering::Fifo, true) => link.forward.push_back(frame),
            (ChannelOrdering::Fifo, false) if link.up => link.backward.push_back(frame),
            (ChannelOrdering::Fifo, false) => {}
        }
        Ok(())
    }

    fn places(&self) -> Vec<Place> {
        let links = self.links.iter().flat_map(|(&(from, to), link)| {
            let forward = (!link.forward.is_empty() && !link.held[0]).then_some(Place::Forward(from, to));
            let backward = (!link.backward.is_empty() && !link.held[1]).then_some(Place::Backward(from, to));
            forward.into_iter().chain(backward)
        });
        let stale = (0..self.stale.len()).map(Place::Stale);
        let bag = (0..self.bag.len()).map(Place::Bag);
        links.chain(stale).chain(bag).collect()
    }

    pub(super) fn take(&mut self, which: u16) -> Option<(Place, Frame)> {
        let places = self.places();
        let place = *places.get(usize::from(which) % places.len().max(1))?;
        let frame = match place {
            Place::Forward(from, to) => self.links.get_mut(&(from, to))?.forward.pop_front(),
            Place::Backward(from, to) => self.links.get_mut(&(from, to))?.backward.pop_front(),
            Place::Stale(n) => {
                let frame = self.stale.get_mut(n)?.pop_front();
                if self.stale[n].is_empty() {
                    self.stale.swap_remove(n);
                }
                frame
            }
            Place::Bag(n) => Some(self.bag.swap_remove(n)),
        };
        frame.map(|frame| (place, frame))
    }

    /// Puts a frame back whose receiver doesn't take it yet.
    pub(super) fn put_back(&mut self, place: Place, frame: Frame) {
        match place {
            Place::Forward(from, to) => self.links.get_mut(&(from, to)).unwrap().forward.push_front(frame),
            Place::Backward(from, to) => self.links.get_mut(&(from, to)).unwrap().backward.push_front(frame),
            // The connection is gone, and the receiver restarts: nothing is owed.
            Place::Stale(_) => {}
            Place::Bag(_) => self.bag.push(frame),
        }
    }

    /// Keeps a frame that its receiver refused for now, and what is behind it. What a broken connection brings isn't kept.
    pub(super) fn hold(&mut self, place: Place, frame: Frame) {
        match place {
            Place::Forward(from, to) => self.links.get_mut(&(from, to)).unwrap().held[0] = true,
            Place::Backward(from, to) => self.links.get_mut(&(from, to)).unwrap().held[1] = true,
            Place::Stale(_) => {
                self.stale.retain(|stream| stream.front().is_none_or(|next| (next.from, next.to) != (frame.from, frame.to)))
            }
            Place::Bag(_) => {}
        }
        self.put_back(place, frame);
    }

    /// `to` takes the frames from `from` again.
    pub(super) fn resume(&mut self, from: usize, to: usize) {
        for (ends, way) in [((from, to), 0), ((to, from), 1)] {
            if let Some(link) = self.links.get_mut(&ends) {
                link.held[way] = false;
            }
        }
    }

    /// Whether a frame can be taken.
    pub(super) fn moves(&self) -> bool {
        !self.places().is_empty()
    }

    pub(super) fn lose(&mut self, which: u16) {
        if !self.bag.is_empty() {
            self.bag.swap_remove(usize::from(which) % self.bag.len());
        }
    }

    pub(super) fn repeat(&mut self, which: u16) {
        if !self.bag.is_empty() && self.bag.len() < 200 {
            self.bag.push(self.bag[usize::from(which) % self.bag.len()].clone());
        }
    }

    pub(super) fn len(&self) -> usize {
        let links: usize = self.links.values().map(|link| link.forward.len() + link.backward.len()).sum();
        links + self.stale.iter().map(Stream::len).sum::<usize>() + self.bag.len()
    }
}
