//! Sender-logged channel state: what a sender keeps of its channels at its cut.
//!
//! A message that was sent before the cut and isn't logged was acknowledged before it. That acknowledgement can't have come from behind the receiver's cut, or it
//! would have made this member cut first. So the receiver had the message inside its cut, and nothing has to be waited for.

use std::collections::BTreeMap;

use super::{Output, Participant, SealedCounters, rules::BrokenRule};
use crate::{
    ids::{Epoch, MemberId},
    ranges::SeqRanges,
};

impl Participant {
    /// Logs what isn't acknowledged, for epochs that are being cut.
    pub(super) fn log(&mut self, epochs: &[Epoch]) -> BTreeMap<MemberId, (SeqRanges, u64)> {
        let mut logs = BTreeMap::new();
        if self.rules.breaks(BrokenRule::LogsNothing) {
            return logs;
        }
        for (&to, channel) in &self.outgoing {
            let messages = channel.retained();
            if messages.is_empty() {
                continue;
            }
            let ranges = messages.iter().map(|&(seq, _)| seq).collect();
            logs.insert(to, (ranges, channel.unacknowledged().bytes));
            self.outputs.push_back(Output::Log { epochs: epochs.to_vec(), to, messages });
        }
        logs
    }

    /// Seals epochs whose channels are logged: there is nothing to wait for.
    pub(super) fn seal_logged(
        &mut self,
        epochs: &[Epoch],
        sent: &BTreeMap<MemberId, u64>,
        logged: &BTreeMap<MemberId, (SeqRanges, u64)>,
    ) {
        let open = self.incoming.iter().map(|(&from, channel)| (from, &channel.received));
        let all = self.restored.received.iter().map(|(&from, received)| (from, received)).chain(open);
        let received: BTreeMap<_, _> = all.filter(|(_, set)| !set.is_empty()).map(|(from, set)| (from, set.clone())).collect();
        let mut peers = self.peers_replaced();
        let of_log = self.outgoing.iter().filter(|(to, _)| logged.contains_key(to));
        peers.extend(of_log.map(|(&to, channel)| (to, channel.peer_incarnation)));
        for &epoch in epochs {
            let counters = SealedCounters {
                sent: sent.clone(),
                received: received.clone(),
                recorded: BTreeMap::new(),
                logged: logged.clone(),
                peers: peers.clone(),
            };
            self.outputs.push_back(Output::Sealed { epoch, counters: Box::new(counters) });
        }
    }
}
