//! Of each committed snapshot: its certificate holds, its money adds up, and what the applications saw agrees with every channel's counters.

use std::collections::BTreeMap;

use stillframe_coordinator::decide::facts::SnapshotFacts;
use stillframe_protocol::{MemberId, PartCounters, Seq, SeqRanges, ViewMember, certificate, invariant::check_channel};

use crate::{Checked, archive::Content, ledger::START, world::World};

impl World {
    pub(super) fn check_committed(&mut self, snapshot: &SnapshotFacts) -> Checked {
        let id = snapshot.id;
        let wrong = |what: String| format!("committed snapshot {id} of epoch {:?}: {what}", snapshot.epoch);
        if !self.archive.manifests.contains(&id) {
            return Err(wrong("it has no manifest".to_owned()));
        }
        let parts = self.archive.parts.get(&id).ok_or_else(|| wrong("it has no parts".to_owned()))?;
        let view: Vec<ViewMember> = snapshot
            .view
            .iter()
            .map(|(member, incarnation)| ViewMember { member: member.clone(), incarnation: *incarnation })
            .collect();
        let counters: Vec<PartCounters> = parts.values().map(|part| part.counters.clone()).collect();
        certificate::verify(snapshot.generation, &view, &counters)
            .map_err(|violations| wrong(format!("its certificate doesn't hold: {}", violations[0])))?;
        let ids = self.ids_by_name();
        let contents: BTreeMap<MemberId, &Content> =
            parts.iter().filter_map(|(name, part)| Some((*ids.get(name)?, &part.content))).collect();
        let money: u64 = contents.values().map(|content| content.money()).sum();
        let expected = START * view.len() as u64;
        if money != expected {
            return Err(wrong(format!("{} members hold {money} in all: expected {expected}", view.len())));
        }
        check_channels(&contents).map_err(wrong)?;
        self.known.proved.insert(id);
        Ok(())
    }
}

/// By what the applications counted themselves.
fn check_channels(contents: &BTreeMap<MemberId, &Content>) -> Checked {
    for (&from, sender) in contents {
        for (&to, receiver) in contents {
            let waits = sender.unsent.iter().filter(|(receiver, _)| *receiver == to).count() as u64;
            let sent = sender.ledger.sent.get(&to).copied().unwrap_or(0) - waits;
            let received = receiver.ledger.received.get(&from).cloned().unwrap_or_default();
            let recorded = receiver.recorded.iter().filter(|(sender, _, _)| *sender == from);
            let recorded: SeqRanges = recorded.map(|(_, _, transfer)| Seq(transfer.number)).collect();
            if let Some(inexact) = check_channel(sent, &received, &recorded).first() {
                return Err(format!("member {from} -> {to}, as the applications counted: {inexact}"));
            }
        }
    }
    Ok(())
}
