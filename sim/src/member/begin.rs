//! Beginning to run in a generation: fresh, or from a part.

use std::collections::BTreeMap;

use stillframe_api::agent::PrepareProblem;
use stillframe_coordinator::decide::restore::Word;
use stillframe_protocol::{
    ChannelCounters, Epoch, Generation, Identity, MemberId, MemberName, Participant, RestoreId, SnapshotId,
};

use super::{Live, Preparation, Process};
use crate::{Checked, archive::StoredPart, event::Event, ledger::Ledger, plan::MS, words::Report, world::World};

impl World {
    fn live(&self, participant: Participant, ledger: Ledger) -> Live {
        let participant = participant.with_channel_state(self.plan.channel_state);
        let participant = match self.mutant.and_then(crate::mutant::Mutant::rule) {
            Some(rule) => participant.with_broken_rule(rule),
            None => participant,
        };
        Live {
            participant,
            ledger,
            outbox: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            recordings: BTreeMap::new(),
            held: BTreeMap::new(),
            begun: BTreeMap::new(),
            to_break: Vec::new(),
            newer: false,
            wants_to_leave: false,
            silent: false,
        }
    }

    /// Everything of the generation before is dropped.
    fn leave_generation(&mut self, process: &mut Process, number: u64) {
        process.live = None;
        process.waiting.clear();
        process.reports.retain(|_, report| matches!(report, Report::Word(_)));
        for connection in self.network.of(|end| end == number) {
            self.break_connection(connection);
        }
    }

    pub(super) fn start_fresh(&mut self, number: u64, process: &mut Process, identity: Identity, epoch: Epoch) -> Checked {
        self.leave_generation(process, number);
        self.note(format_args!("p{}#{number} runs from the initial state in generation {}", process.slot, identity.generation));
        process.live = Some(self.live(Participant::new(identity, epoch), Ledger::new()));
        self.begun(number, process, identity.generation)
    }

    pub(super) fn resume(
        &mut self,
        number: u64,
        process: &mut Process,
        identity: Identity,
        epoch: Epoch,
        part: StoredPart,
    ) -> Checked {
        self.leave_generation(process, number);
        self.note(format_args!("p{}#{number} runs from a part in generation {}", process.slot, identity.generation));
        self.stats.resumed_members += 1;
        let ids = self.ids_by_name();
        let StoredPart { counters, content } = part;
        let id = |name: &MemberName| ids.get(name).copied().ok_or_else(|| format!("{name} has no number"));
        let mut from = ChannelCounters::default();
        for sent in &counters.sent {
            from.sent.insert(id(&sent.to)?, sent.messages);
        }
        for received in &counters.received {
            from.received.insert(id(&received.from)?, received.ranges.clone());
        }
        // Recorded messages count as received: they are delivered before any new frame.
        for recorded in &counters.recorded {
            let known = from.received.entry(id(&recorded.from)?).or_default();
            *known = known.union(&recorded.ranges);
        }
        let mut live = self.live(Participant::restored(identity, epoch, from), content.ledger);
        // What was logged and had not arrived goes ahead of what was never sent.
        let logged = content.logged.into_iter().map(|(to, _, transfer)| (to, transfer));
        for (to, transfer) in logged.chain(content.unsent) {
            live.outbox.entry(to).or_default().push_back(transfer);
        }
        let slot = process.slot;
        for (from, _, transfer) in content.recorded {
            let ordering = self.ordering_from(from, slot);
            live.ledger.take(from, transfer, ordering).map_err(|why| format!("p{slot}, from its part: {why}"))?;
        }
        process.live = Some(live);
        self.begun(number, process, identity.generation)
    }

    fn begun(&mut self, number: u64, process: &mut Process, generation: Generation) -> Checked {
        process.holds = false;
        (process.preparation, process.in_force) = (None, None);
        let report = process.report(Report::Word(Word::Running { generation }));
        self.send_report(number, process, report);
        self.connect(number, process)
    }

    /// The numbers of the members, by name.
    pub(crate) fn ids_by_name(&self) -> BTreeMap<MemberName, MemberId> {
        self.database.facts().members.values().map(|m| (m.name.clone(), m.member_id)).collect()
    }

    /// Begins to load a part.
    pub(super) fn prepare(
        &mut self,
        number: u64,
        process: &mut Process,
        (restore, generation, attempt): (RestoreId, Generation, u32),
        (snapshot, part): (SnapshotId, MemberName),
    ) {
        process.holds = true;
        let begun = |at: &Preparation| {
            at.restore == restore && at.generation == generation && (at.loaded.is_some() || at.attempt >= attempt)
        };
        if process.preparation.as_ref().is_some_and(begun) {
            return;
        }
        process.preparation = Some(Preparation { restore, generation, attempt, loaded: None });
        let delay = self.rng.u64(2 * MS..=120 * MS) * process.slowness;
        self.after(delay, Event::Loaded { process: number, restore, generation, attempt, snapshot, part });
    }

    /// A part was read, or can't be.
    pub(crate) fn loaded(
        &mut self,
        number: u64,
        process: &mut Process,
        (restore, generation, attempt): (RestoreId, Generation, u32),
        (snapshot, part): (SnapshotId, &MemberName),
    ) -> Checked {
        let Some(at) = &mut process.preparation else { return Ok(()) };
        if (at.restore, at.generation, at.attempt) != (restore, generation, attempt) || at.loaded.is_some() {
            return Ok(());
        }
        let failed = |problem, detail: &str| {
            let detail = detail.to_owned();
            Word::PrepareFailed { restore, generation, attempt, problem, detail }
        };
        let word = if self.archive.unreadable.contains(&snapshot) {
            failed(PrepareProblem::Unreadable, "an object is missing")
        } else if self.archive.away_until > self.now || (!self.healed && self.rng.u8(..) < 8) {
            failed(PrepareProblem::Unavailable, "the archive is away")
        } else {
            let mut stored = self.archive.part_to_restore(snapshot, part, self.mutant)?;
            // What is counted of those that aren't in the snapshot, because they had left, is of a past that ends here.
            let view = self.database.snapshots.get(&snapshot).map(|s| s.view.clone()).unwrap_or_default();
            let ids: BTreeMap<MemberId, MemberName> =
                self.database.facts().members.values().map(|m| (m.member_id, m.name.clone())).collect();
            let counters = &mut stored.counters;
            counters.sent.retain(|sent| view.contains_key(&sent.to));
            counters.received.retain(|received| view.contains_key(&received.from));
            let stays = |id: &MemberId| ids.get(id).is_some_and(|name| view.contains_key(name));
            stored.content.ledger.sent.retain(|id, _| stays(id));
            stored.content.ledger.received.retain(|id, _| stays(id));
            if let Some((to, _)) = stored.content.unsent.iter().find(|(to, _)| !stays(to)) {
                return Err(format!("in {snapshot} a message of {part} waits for {to}, which isn't in it"));
            }
            at.loaded = Some(stored);
            Word::Prepared { restore, generation, bytes: 1 }
        };
        let report = process.report(Report::Word(word));
        self.send_report(number, process, report);
        Ok(())
    }
}
