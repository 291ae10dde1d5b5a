//! Leaving, and letting others leave, as the agent does it: said again for as long as it makes no difference.

use stillframe_coordinator::decide::leave::{Stage, Step};
use stillframe_protocol::{Incarnation, MemberId, MemberName, Received, Sent};

use super::{Process, Source};
use crate::{Checked, words::Report, world::World};

impl Process {
    /// Whether this incarnation has left the generation.
    pub(super) fn has_left(&self, member: MemberId, incarnation: Incarnation) -> bool {
        self.left.get(&member).is_some_and(|left| incarnation <= *left)
    }
}

impl World {
    /// Forgets the channels with those that have left.
    pub(super) fn part_with_the_left(&mut self, number: u64, process: &mut Process) -> Checked {
        for (member, incarnation) in process.left.clone() {
            let Some(live) = &mut process.live else { return Ok(()) };
            if live.participant.depart(member, incarnation) {
                self.trace.line(self.now, format_args!("p{}#{number} parts with member {member}", process.slot));
                live.ledger.forget(member);
            }
            let waits = live.outbox.get(&member).map_or(0, std::collections::VecDeque::len);
            if waits > 0 && !process.peers.contains_key(&member) {
                return Err(format!("p{}#{number}: {waits} messages wait for member {member}, which has left", process.slot));
            }
            if !process.peers.contains_key(&member) {
                live.outgoing.remove(&member);
                if let Some(Source::Connection(connection)) = live.incoming.remove(&member) {
                    self.break_connection(connection);
                }
            }
            self.settle(number, process)?;
        }
        Ok(())
    }

    /// Goes on with what is under way of leaving.
    pub(super) fn look_after_leaving(&mut self, number: u64, process: &mut Process) -> Checked {
        let Some(live) = process.live.as_mut().filter(|_| !process.holds) else { return Ok(()) };
        let me = live.participant.identity();
        let generation = me.generation;
        let mut steps = Vec::new();
        for peer in process.peers.values().filter(|peer| peer.leaving && peer.member != me.member) {
            if live.outbox.get(&peer.member).is_none_or(std::collections::VecDeque::is_empty) {
                let (member, incarnation) = (self.names[peer.slot].clone(), peer.incarnation);
                steps.push(Step::Drained { generation, member, incarnation, sent: live.participant.sent(peer.member) });
            }
        }
        live.wants_to_leave |= process.leave_stage == Some(Stage::Asked);
        if live.wants_to_leave {
            match process.leave_stage {
                None | Some(Stage::Asked) => steps.push(Step::Wants { generation }),
                Some(Stage::Draining | Stage::Left) => {}
                Some(Stage::Drained) if !live.silent => self.have_the_last_word(number, process)?,
                Some(Stage::Drained) => {
                    let unsent = live.outbox.values().any(|waits| !waits.is_empty());
                    let under_way = live.outgoing.keys().any(|peer| live.participant.unacknowledged(*peer).messages > 0);
                    if !unsent && !under_way {
                        steps.push(self.end_of(process)?);
                    }
                }
            }
        }
        for step in steps {
            self.say_once(number, process, Report::Leave(step));
        }
        Ok(())
    }

    /// Once everything has come, all that this member has goes to one that stays.
    fn have_the_last_word(&mut self, number: u64, process: &mut Process) -> Checked {
        let ids = self.ids_by_name();
        let Some(live) = &mut process.live else { return Ok(()) };
        let has = |(name, sent): &(MemberName, u64)| {
            *sent == 0 || ids.get(name).is_some_and(|id| live.participant.has_received(*id, *sent))
        };
        if self.quiet || !process.sent_to.iter().all(has) {
            return Ok(());
        }
        let slot = process.slot;
        let to = process
            .peers
            .values()
            .find(|peer| !peer.leaving && self.plan.channels.iter().any(|c| (c.from, c.to) == (slot, peer.slot)));
        // With nobody to leave it to, it waits.
        let Some(to) = to.map(|peer| peer.member) else { return Ok(()) };
        self.trace.line(self.now, format_args!("p{slot}#{number} leaves everything to member {to}"));
        let transfer = live.ledger.hand_over(to);
        live.outbox.entry(to).or_default().push_back(transfer);
        live.silent = true;
        self.settle(number, process)
    }

    /// What it counts at its end.
    fn end_of(&self, process: &Process) -> Result<Step, String> {
        let live = process.live.as_ref().ok_or("it doesn't run")?;
        let counters = live.participant.counters();
        let name = |id: &MemberId| {
            let slot = self.slots_by_id.get(id).ok_or_else(|| format!("member {id} has no slot"))?;
            Ok::<MemberName, String>(self.names[*slot].clone())
        };
        let sent = counters.sent.iter().map(|(to, messages)| Ok(Sent { to: name(to)?, messages: *messages }));
        let received = counters.received.iter().map(|(from, ranges)| Ok(Received { from: name(from)?, ranges: ranges.clone() }));
        let (sent, received) = (sent.collect::<Result<_, String>>()?, received.collect::<Result<_, String>>()?);
        Ok(Step::Ended { generation: live.participant.identity().generation, sent, received })
    }
}
