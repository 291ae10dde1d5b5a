//! Of each committed snapshot: its certificate holds, its money adds up, and what the applications saw agrees with every channel's counters.

use std::collections::BTreeMap;

use stillframe_coordinator::decide::facts::SnapshotFacts;
use stillframe_protocol::{MemberId, PartCounters, Seq, SeqRanges, ViewMember, certificate, invariant::check_channel};

use crate::{Checked, archive::Content, ledger::Transfer, world::World};

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
        let departed = certificate::needed(&view, &counters, self.database.departed_before(snapshot));
        self.stats.with_departed += u64::from(!departed.is_empty());
        certificate::verify_with(snapshot.generation, &view, &counters, &departed)
            .map_err(|violations| wrong(format!("its certificate doesn't hold: {}", violations[0])))?;
        let ids = self.ids_by_name();
        let contents: BTreeMap<MemberId, &Content> =
            parts.iter().filter_map(|(name, part)| Some((*ids.get(name)?, &part.content))).collect();
        let logged: Vec<Transfer> =
            contents.values().flat_map(|sender| in_flight(sender, &contents)).map(|(_, transfer)| transfer).collect();
        let money =
            contents.values().map(|content| content.money()).sum::<u64>() + logged.iter().map(|it| it.amount).sum::<u64>();
        let brought = contents.values().map(|content| content.brought()).sum::<u64>();
        let expected = brought + logged.iter().map(|it| it.brought).sum::<u64>();
        if money != expected {
            return Err(wrong(format!("{} members hold {money} in all: expected {expected}", view.len())));
        }
        check_channels(&contents).map_err(wrong)?;
        self.known.proved.insert(id);
        Ok(())
    }
}

/// What a member logged and its receivers' applications hadn't seen, by receiver.
fn in_flight<'a>(
    sender: &'a Content,
    contents: &'a BTreeMap<MemberId, &Content>,
) -> impl Iterator<Item = (MemberId, Transfer)> + 'a {
    let logged = sender.logged.iter().map(|(to, _, transfer)| (*to, *transfer));
    logged.filter(|(to, transfer)| {
        // One that isn't there has left, and had received all of it.
        let Some(receiver) = contents.get(to) else { return false };
        !receiver.ledger.received.get(&sender.member).is_some_and(|received| received.contains(Seq(transfer.number)))
    })
}

/// By what the applications counted themselves.
fn check_channels(contents: &BTreeMap<MemberId, &Content>) -> Checked {
    for (&from, sender) in contents {
        for (&to, receiver) in contents {
            let given = sender.ledger.sent.get(&to).copied().unwrap_or(0);
            let received = receiver.ledger.received.get(&from).cloned().unwrap_or_default();
            let waits = sender.unsent.iter().filter(|(receiver, _)| *receiver == to).map(|(_, transfer)| transfer.number);
            let recorded = receiver.recorded.iter().filter(|(sender, _, _)| *sender == from).map(|(_, _, it)| it.number);
            let logged = in_flight(sender, contents).filter(|(receiver, _)| *receiver == to).map(|(_, it)| it.number);
            // What was given and wasn't received is in exactly one place.
            let mut elsewhere = SeqRanges::new();
            for number in waits.chain(recorded).chain(logged) {
                if !elsewhere.insert(Seq(number)) {
                    return Err(format!("member {from} -> {to}, as the applications counted: {number} is in two places"));
                }
            }
            if let Some(inexact) = check_channel(given, &received, &elsewhere).first() {
                return Err(format!("member {from} -> {to}, as the applications counted: {inexact}"));
            }
        }
    }
    Ok(())
}
