//! Aligned channels: frames from behind a cut that isn't made are held back, and their connections with them, until the others are there, or for too long.

use std::collections::VecDeque;

use stillframe_protocol::{Epoch, Generation, MemberId};

use super::{Process, Waiting};
use crate::{Checked, event::Event, plan::MS, world::World};

impl World {
    /// Whether a frame has to wait because its connection does; then it is among those that do.
    pub(super) fn waits_behind(process: &mut Process, one: Waiting) -> Option<Waiting> {
        let held = one.via.and_then(|(connection, ..)| process.live.as_mut()?.held.get_mut(&connection));
        match held {
            Some(held) => {
                held.push_back(one);
                None
            }
            None => Some(one),
        }
    }

    /// The frames of this member are to be brought again, soon.
    pub(super) fn resume_soon(&mut self, number: u64, from: MemberId) {
        let delay = self.rng.u64(0..=MS);
        self.after(delay, Event::Resume { process: number, from });
    }

    /// They are brought, until one has to wait once more.
    pub(crate) fn resume_held(&mut self, number: u64, process: &mut Process, from: MemberId) -> Checked {
        let Some(live) = &mut process.live else { return Ok(()) };
        let of_it = |held: &VecDeque<Waiting>| held.front().is_some_and(|one| one.frame.from == from);
        let connections: Vec<u64> = live.held.iter().filter(|(_, held)| of_it(held)).map(|(connection, _)| *connection).collect();
        for connection in connections {
            let Some(mut held) = process.live.as_mut().and_then(|live| live.held.remove(&connection)) else { continue };
            if process.holds {
                // They go ahead of what came since.
                held.append(&mut process.waiting);
                process.waiting = held;
                continue;
            }
            while let Some(one) = held.pop_front() {
                self.frame(number, process, one)?;
                if let Some(again) = process.live.as_mut().and_then(|live| live.held.get_mut(&connection)) {
                    again.append(&mut held);
                }
            }
        }
        Ok(())
    }

    /// Members that were told of an epoch and can't cut it yet wait for so long at most.
    pub(super) fn align_for_a_while(&mut self, number: u64, generation: Generation, epoch: Epoch) {
        self.stats.aligning += 1;
        if let Some(timeout) = self.plan.aligned_timeout_us {
            self.after(timeout, Event::Unalign { process: number, generation, epoch });
        }
    }

    /// It took too long.
    pub(crate) fn unalign(&mut self, number: u64, process: &mut Process, generation: Generation, epoch: Epoch) -> Checked {
        let Some(live) = process.live.as_mut().filter(|live| live.participant.identity().generation == generation) else {
            return Ok(());
        };
        if process.holds || !live.begun.contains_key(&epoch) {
            return Ok(());
        }
        self.stats.unaligned += 1;
        live.participant.unalign(epoch);
        self.settle(number, process)
    }
}
