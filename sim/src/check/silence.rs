//! When nobody sends any more: everything has arrived, once, and no money is lost.

use std::collections::BTreeMap;

use stillframe_coordinator::decide::facts::Standing;
use stillframe_protocol::{MemberId, SeqRanges, invariant::check_channel};

use crate::{member::Live, world::World};

impl World {
    /// The members that run in the active generation.
    fn running(&self) -> BTreeMap<MemberId, &Live> {
        let facts = self.database.facts();
        let lives = self.processes.values().filter(|process| !process.holds).filter_map(|process| process.live.as_ref());
        let active = |live: &&Live| {
            let me = live.participant.identity();
            let now = facts.members.values().find(|m| m.member_id == me.member);
            now.is_some_and(|m| m.incarnation == me.incarnation && m.standing == Standing::Active)
                && me.generation == facts.cluster.generation
        };
        lives.filter(active).map(|live| (live.participant.identity().member, live)).collect()
    }

    /// Why something is still under way; empty when nothing is.
    pub(crate) fn why_not_silent(&self) -> String {
        let running = self.running();
        let facts = self.database.facts();
        let missing = facts.belonging().find(|m| !running.contains_key(&m.member_id));
        if let Some(missing) = missing {
            return format!("{} doesn't run", missing.name);
        }
        for (me, live) in &running {
            let unsent = live.outbox.iter().find(|(_, waits)| !waits.is_empty());
            if let Some((to, waits)) = unsent {
                return format!("{} messages of {me} to {to} wait: {:?}", waits.len(), live.outgoing.get(to));
            }
            let under_way = running.keys().find(|peer| live.participant.unacknowledged(**peer).messages > 0);
            if let Some(peer) = under_way {
                return format!("messages of {me} to {peer} aren't acknowledged");
            }
        }
        String::new()
    }

    /// Whether everything has arrived; then that everything is there.
    pub(crate) fn is_silent(&mut self) -> Result<bool, String> {
        if !self.why_not_silent().is_empty() || !self.database.facts().snapshots.is_empty() {
            return Ok(false);
        }
        let running = self.running();
        for (from, sender) in &running {
            for (to, receiver) in &running {
                let sent = sender.ledger.sent.get(to).copied().unwrap_or(0);
                let received = receiver.ledger.received.get(from).cloned().unwrap_or_default();
                if let Some(inexact) = check_channel(sent, &received, &SeqRanges::new()).first() {
                    return Err(format!("at the end, {from} -> {to}: {inexact}"));
                }
            }
        }
        let money: u64 = running.values().map(|live| live.ledger.balance).sum();
        let expected: u64 = running.values().map(|live| live.ledger.brought).sum();
        if money != expected {
            return Err(format!("at the end, {} members hold {money} in all: expected {expected}", running.len()));
        }
        if let Some(open) = self.database.snapshots.values().find(|s| !s.state.has_ended()) {
            return Err(format!("at the end, snapshot {} is {:?}", open.id, open.state));
        }
        Ok(true)
    }
}
