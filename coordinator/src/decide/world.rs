//! A cluster in memory for tests: applies decisions as the store does, and checks after each what must always hold.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stillframe_api::{
    agent::PrepareProblem,
    cluster::{ClusterPhase, OnLoss},
    restore::{RestorePhase, RestoreState},
    retention::Retention,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::{
    ClusterName, Epoch, Generation, HoldId, Incarnation, MemberName, PartCounters, Received, RestoreId, SeqRanges, SnapshotId,
    ViewMember, certificate,
};
use uuid::Uuid;

use super::{
    Decision, Facts, Occasion, Refusal,
    assignment::wanted,
    deletion::{self, Swept},
    facts::{
        ClusterFacts, CollectionState, CommittedFacts, HoldFacts, KeptFacts, MemberFacts, OlderFacts, Presence, RestoreFacts,
        RollbackFacts, SnapshotFacts, Standing, UnreadableFacts,
    },
    leave,
    member::{self, Change, Effect, Evidence, Registration},
    queue,
    restore::{self, Ask, Target, Word},
    retention::{self, NewHold},
    rollback, settings, snapshot,
};

pub(crate) struct World {
    pub(crate) facts: Facts,
    /// Every snapshot that ever was.
    pub(crate) all: BTreeMap<SnapshotId, SnapshotFacts>,
    /// Every restore that ever was.
    pub(crate) restores: BTreeMap<RestoreId, RestoreFacts>,
    /// Every snapshot that is known to be unreadable.
    pub(crate) unreadable: BTreeMap<SnapshotId, UnreadableFacts>,
    /// Every generation that was ever allocated to a restore.
    generations: BTreeSet<Generation>,
    /// The incarnations that prepare for each generation.
    preparing: BTreeMap<Generation, BTreeMap<MemberName, Incarnation>>,
    holds: Vec<HoldFacts>,
    ids: u128,
}

pub(crate) fn name(n: usize) -> MemberName {
    MemberName::new(format!("p{n}")).expect("a name")
}

impl World {
    pub(crate) fn new(min_members: u32, on_loss: OnLoss) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let cluster = ClusterFacts {
            name: ClusterName::new("bank").expect("a name"),
            min_members,
            snapshot_timeout_ms: 1_000,
            on_loss,
            archive_prefix: None,
            max_concurrent: 1,
            min_pause_ms: 0,
            channels: Default::default(),
            channels_in_force: Default::default(),
            phase: ClusterPhase::Forming,
            phase_reason: None,
            halt: None,
            generation: Generation(0),
            last_generation: Generation(0),
            epoch: Epoch(0),
            revision: 1,
            version: 1,
            stamp: Uuid::nil(),
            peers_revision: 1,
            last_member_id: 0,
            latest_committed: None,
            retention: None,
            latest_mapping: BTreeMap::new(),
            rollback_limit: 3,
            rollback_window_ms: 60_000,
            rollback_backoff_ms: 100,
            restore_fallback: 0,
            rollback_at: None,
            rollbacks_since: None,
            created_at: now,
        };
        let facts = Facts {
            now,
            cluster,
            members: BTreeMap::new(),
            snapshots: Vec::new(),
            outcomes: Vec::new(),
            restore: None,
            ended_restore: None,
            latest_view: BTreeSet::new(),
            older: None,
            unreadable: BTreeMap::new(),
            rollbacks: Vec::new(),
            schedule: None,
            continuity: Default::default(),
            kept: None,
            departures: Vec::new(),
        };
        Self {
            facts,
            all: BTreeMap::new(),
            restores: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            generations: BTreeSet::new(),
            preparing: BTreeMap::new(),
            holds: Vec::new(),
            ids: 0,
        }
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    pub(crate) fn occasion(&mut self) -> Occasion {
        Occasion {
            snapshot: SnapshotId(self.id()),
            automatic: SnapshotId(self.id()),
            restore: RestoreId(self.id()),
            actor: "test".to_owned(),
            request_id: None,
            restore_timeout: SignedDuration::from_secs(5),
        }
    }

    pub(crate) fn decide(&mut self, rule: impl Fn(&Facts, &Occasion) -> Result<Decision, Refusal>) -> Result<(), Refusal> {
        self.decide_about(None, rule)
    }

    fn decide_about(
        &mut self,
        asked: Option<SnapshotId>,
        rule: impl Fn(&Facts, &Occasion) -> Result<Decision, Refusal>,
    ) -> Result<(), Refusal> {
        let asked = asked.and_then(|id| self.all.get(&id)).cloned();
        let look = |facts: &mut Facts| {
            facts.snapshots.extend(asked.clone().filter(|asked| facts.snapshot(asked.id).is_none()));
        };
        self.decide_with(look, rule)
    }

    /// Lets a rule decide on the facts and what it asks about besides.
    pub(crate) fn decide_with(
        &mut self,
        look: impl Fn(&mut Facts),
        rule: impl Fn(&Facts, &Occasion) -> Result<Decision, Refusal>,
    ) -> Result<(), Refusal> {
        let occasion = self.occasion();
        let mut before = self.read();
        look(&mut before);
        before.kept = Some(self.kept());
        let decision = rule(&before, &occasion)?;
        self.check_step(&before, &decision);
        for snapshot in &decision.next.snapshots {
            self.all.insert(snapshot.id, snapshot.clone());
        }
        if let Some(kept) = &decision.next.kept {
            self.holds.clone_from(&kept.holds);
        }
        for restore in decision.next.ended_restore.iter().chain(&decision.next.restore) {
            self.restores.insert(restore.id, restore.clone());
        }
        self.unreadable.retain(|id, _| !before.unreadable.contains_key(id));
        self.unreadable.extend(decision.next.unreadable.clone());
        self.facts = decision.next.settled();
        self.check_state();
        Ok(())
    }

    /// The facts with what a store reads besides.
    fn read(&self) -> Facts {
        let mut facts = self.facts.clone();
        let committed = |id: &SnapshotId| self.all.get(id).filter(|s| s.state == SnapshotState::Committed);
        let latest = facts.cluster.latest_committed.filter(|id| self.unreadable.contains_key(id));
        let anchor = facts.restore.as_ref().map(|restore| restore.snapshot).or(latest);
        let epoch = anchor.and_then(|id| self.all[&id].epoch);
        let older = self.all.keys().filter_map(committed).filter(|s| s.epoch < epoch && !self.unreadable.contains_key(&s.id));
        facts.older = older.max_by_key(|s| s.epoch).map(|s| OlderFacts { id: s.id, view: s.view.keys().cloned().collect() });
        facts.unreadable = self.unreadable.clone();
        let window = SignedDuration::from_millis(facts.cluster.rollback_window_ms as i64);
        let since = facts.now.checked_sub(window).expect("a time").max(facts.cluster.rollbacks_since.unwrap_or(Timestamp::MIN));
        let rollbacks = self.restores.values().filter(|r| r.trigger == Trigger::Automatic && r.created_at > since);
        facts.rollbacks =
            rollbacks.map(|r| RollbackFacts { created_at: r.created_at, went_through: r.resumed_at.is_some() }).collect();
        facts
    }

    fn check_step(&mut self, before: &Facts, decision: &Decision) {
        let (old, next) = (&before.cluster, &decision.next.cluster);
        assert!(old.epoch <= next.epoch && old.generation <= next.generation && old.last_generation <= next.last_generation);
        let same_channels = old.channels_in_force == next.channels_in_force;
        assert!(same_channels || next.generation > old.generation, "a generation's members would go by two ways");
        let leaps = |action| ["cluster.rebuilt", "cluster.fell_behind"].contains(&action);
        let leapt = before.continuity.moved().is_some() || decision.audit.iter().any(|line| leaps(line.action));
        assert!(old.revision <= next.revision && (leapt || next.revision <= old.revision + 1));
        assert!(next.peers_revision <= next.revision);
        let changed = before != &decision.next || !decision.audit.is_empty();
        assert!(if leapt { next.version > old.version + 1 } else { next.version == old.version + u64::from(changed) });
        for (name, member) in &before.members {
            let now = &decision.next.members[name];
            assert!(member.incarnation <= now.incarnation && member.member_id == now.member_id);
            assert!(member.incarnation != now.incarnation || member.instance == now.instance);
        }
        for snapshot in &before.snapshots {
            let now = decision.next.snapshot(snapshot.id).expect("a snapshot is never dropped");
            assert!(may_become(snapshot.state, now.state), "{:?} -> {:?}", snapshot.state, now.state);
            if snapshot.epoch.is_some() {
                assert_eq!((&snapshot.view, snapshot.epoch, snapshot.generation), (&now.view, now.epoch, now.generation));
            }
        }
        self.check_beginnings(before, decision);
        if let Some(restore) = &decision.next.restore {
            let known = before.restore.as_ref().is_some_and(|r| r.id == restore.id && r.generation == restore.generation);
            assert!(known || self.generations.insert(restore.generation), "generation {} is used twice", restore.generation);
        }
        if let Some(restore) = decision.next.restore.as_ref().filter(|r| r.state == RestoreState::Preparing) {
            let members: BTreeMap<_, _> = restore.members.iter().map(|(name, m)| (name.clone(), m.incarnation)).collect();
            let known = self.preparing.entry(restore.generation).or_insert_with(|| members.clone());
            assert_eq!(known, &members, "generation {} is prepared for by others than at first", restore.generation);
        }
        assert!(
            states(before) == states(&decision.next) || !decision.audit.is_empty(),
            "a change of state without its line in the audit"
        );
        // Whoever's orders change must hear of it.
        for (name, member) in &decision.next.members {
            let orders = |facts: &Facts| wanted(facts, name, member.incarnation).ok();
            let recording = |facts: &Facts| {
                let open = facts.snapshots.iter().filter(|s| s.is_under_way());
                open.map(|s| s.id).collect::<Vec<_>>()
            };
            if orders(before) != orders(&decision.next) || recording(before) != recording(&decision.next) {
                assert!(next.revision > old.revision, "{name}: {:?} -> {:?}", orders(before), orders(&decision.next));
            }
        }
    }

    /// Whoever begins has a slot, and keeps the pause to every one before.
    fn check_beginnings(&self, before: &Facts, decision: &Decision) {
        let next = &decision.next;
        let pending = |s: &&SnapshotFacts| before.snapshot(s.id).is_none_or(|old| old.state == SnapshotState::Pending);
        // What is taken up from the archive began long ago.
        let recorded_here = |s: &&SnapshotFacts| s.epoch.is_some() && s.trigger != Trigger::Resync;
        let begun: Vec<&SnapshotFacts> = next.snapshots.iter().filter(pending).filter(recorded_here).collect();
        if begun.is_empty() {
            return;
        }
        let slots = next.cluster.max_concurrent as usize;
        assert!(next.snapshots.iter().filter(|s| s.is_under_way()).count() <= slots, "more are under way than there are slots");
        let pause = SignedDuration::from_millis(i64::try_from(next.cluster.min_pause_ms).expect("small"));
        assert!(pause.is_zero() || begun.len() == 1, "two begin at once in spite of min_pause");
        for other in self.all.values().filter(|s| begun.iter().all(|b| b.id != s.id)).filter_map(|s| s.recording_at) {
            assert!(before.now.duration_since(other) >= pause, "min_pause isn't kept");
        }
        for snapshot in begun {
            assert_eq!(snapshot.deadline_at, queue::after(before.now, snapshot.timeout_ms));
        }
    }

    fn check_state(&self) {
        let facts = &self.facts;
        let cluster = &facts.cluster;
        assert_eq!(cluster.halt.is_some(), cluster.phase == ClusterPhase::Halted);
        assert_eq!(facts.restore.is_some(), cluster.phase == ClusterPhase::Restoring);
        assert!(cluster.rollback_at.is_none() || cluster.phase == ClusterPhase::Running);
        let under_way = self.restores.values().filter(|restore| !restore.state.has_ended());
        assert!(under_way.count() <= 1, "two restores at once");
        for restore in self.restores.values() {
            assert_eq!(restore.failure_reason.is_some(), restore.state == RestoreState::Failed);
            let parts: BTreeSet<_> = restore.members.iter().map(|(name, m)| m.part.as_ref().unwrap_or(name)).collect();
            assert_eq!(parts, self.all[&restore.snapshot].view.keys().collect(), "every part is taken up, once");
        }
        let epochs: Vec<Epoch> = self.all.values().filter_map(|s| s.epoch).collect();
        assert_eq!(epochs.iter().collect::<BTreeSet<_>>().len(), epochs.len(), "an epoch is used twice");
        assert!(epochs.iter().all(|epoch| *epoch <= cluster.epoch));
        for member in facts.members.values() {
            assert!(member.leaving.is_none() || member.standing == Standing::Active, "{member:?}");
            assert!(member.standing != Standing::Left || member.has_left(cluster.generation), "{member:?}");
        }
        for snapshot in facts.snapshots.iter().filter(|s| s.state == SnapshotState::Recording) {
            let recorded =
                |m: &&MemberFacts| m.has_left(cluster.generation) && snapshot.view.get(&m.name) == Some(&m.incarnation);
            let orders = |m: &MemberFacts| wanted(facts, &m.name, m.incarnation);
            assert!(facts.members.values().filter(recorded).all(|m| orders(m) != Ok(super::assignment::Wanted::End)));
        }
        for member in facts.members.values().filter(|m| m.standing == Standing::Active) {
            assert_eq!(member.generation, cluster.generation, "{member:?}");
            assert!(member.seen, "it runs, and has never asked what to do: {member:?}");
        }
        if let Some(latest) = cluster.latest_committed {
            assert_eq!(self.all[&latest].state, SnapshotState::Committed);
            let mapping = &cluster.latest_mapping;
            let now = self.all[&latest].view.keys().map(|part| restore::mapping::apply(mapping, part).clone());
            assert_eq!(facts.latest_view, now.collect());
        }
        if let Some(restore) = &facts.restore {
            assert_eq!(self.all[&restore.snapshot].state, SnapshotState::Committed, "what is being restored is deleted");
        }
        for hold in &self.holds {
            let state = self.all[&hold.snapshot].state;
            assert!(!matches!(state, SnapshotState::Deleting | SnapshotState::Deleted), "what is held is deleted");
        }
        for snapshot in facts.snapshots.iter().filter(|s| s.state == SnapshotState::Recording) {
            for (member, incarnation) in snapshot.view.iter().filter(|(m, _)| !snapshot.reported.contains(*m)) {
                let now = &facts.members[member];
                assert!(now.incarnation == *incarnation && now.state == Presence::Live, "{member} can never report");
            }
        }
        if cluster.phase == ClusterPhase::Running && facts.missing_members().next().is_none() {
            let waits = facts.snapshots.iter().any(|s| s.state == SnapshotState::Pending);
            assert!(!waits || !queue::may_begin(facts), "a snapshot waits for nothing");
        }
    }

    pub(crate) fn update(&mut self, changes: settings::Changes) {
        self.try_update(changes, None).expect("no refusal");
    }

    pub(crate) fn try_update(&mut self, changes: settings::Changes, cycle: Option<&[MemberName]>) -> Result<(), Refusal> {
        self.decide(|facts, occasion| settings::update_cluster(facts, occasion, changes, cycle))
    }

    pub(crate) fn set_timeout(&mut self, id: SnapshotId, timeout_ms: u64) -> Result<(), Refusal> {
        self.decide_about(Some(id), |facts, occasion| settings::update_snapshot(facts, occasion, id, timeout_ms))
    }

    pub(crate) fn advance(&mut self, ms: i64) {
        self.facts.now = self.facts.now.checked_add(SignedDuration::from_millis(ms)).expect("a time");
    }

    pub(crate) fn register(&mut self, n: usize) {
        self.register_only(n);
        let incarnation = self.member(n).map_or(0, |m| m.incarnation.0);
        self.arrive(n, incarnation);
    }

    /// It isn't heard of again.
    pub(crate) fn register_only(&mut self, n: usize) {
        let instance = self.id();
        self.register_as(n, instance);
    }

    fn register_as(&mut self, n: usize, instance: Uuid) {
        let lease = SignedDuration::from_secs(5);
        let registration = Registration { member: name(n), instance, address: "127.0.0.1:1".to_owned(), lease };
        self.decide(|facts, occasion| member::register(facts, occasion, &registration)).expect("there is room");
    }

    fn member(&self, n: usize) -> Option<&MemberFacts> {
        self.facts.members.get(&name(n))
    }

    pub(crate) fn register_again(&mut self, n: usize) {
        if let Some(instance) = self.member(n).map(|m| m.instance) {
            self.register_as(n, instance);
        }
    }

    pub(crate) fn lose(&mut self, n: usize) {
        let Some(incarnation) = self.member(n).map(|m| m.incarnation) else { return };
        let evidence = Evidence::Closed { holder: Uuid::nil() };
        self.decide(|facts, occasion| Ok(member::lost(facts, occasion, &name(n), incarnation, evidence))).expect("no refusal");
    }

    pub(crate) fn arrive(&mut self, n: usize, incarnation: u64) {
        let _ = self.decide(|facts, occasion| member::arrived(facts, occasion, &name(n), Incarnation(incarnation)));
    }

    /// An operator asks a member to leave.
    pub(crate) fn ask_to_leave(&mut self, n: usize, force: bool) -> Result<(), Refusal> {
        self.decide(|facts, occasion| leave::ask(facts, occasion, &name(n), force))
    }

    pub(crate) fn ask_to_stay(&mut self, n: usize) -> Result<(), Refusal> {
        self.decide(|facts, occasion| leave::take_back(facts, occasion, &name(n)))
    }

    /// A member's application wants to leave.
    pub(crate) fn want_to_leave(&mut self, n: usize) -> Result<Effect, Refusal> {
        self.step(n, leave::Step::Wants { generation: self.facts.cluster.generation })
    }

    /// A member says that it sends another nothing any more.
    pub(crate) fn drain(&mut self, by: usize, of: usize, sent: u64) -> Result<Effect, Refusal> {
        let Some(incarnation) = self.member(of).map(|m| m.incarnation) else { return Ok(Effect::Nothing) };
        let generation = self.facts.cluster.generation;
        self.step(by, leave::Step::Drained { generation, member: name(of), incarnation, sent })
    }

    /// A member has ended, and says what it counts.
    pub(crate) fn end(&mut self, n: usize, received: &[(usize, u64)]) -> Result<Effect, Refusal> {
        let received = received.iter().map(|(from, count)| Received { from: name(*from), ranges: SeqRanges::prefix(*count) });
        let generation = self.facts.cluster.generation;
        self.step(n, leave::Step::Ended { generation, sent: Vec::new(), received: received.collect() })
    }

    fn step(&mut self, n: usize, step: leave::Step) -> Result<Effect, Refusal> {
        let Some(incarnation) = self.member(n).map(|m| m.incarnation) else { return Ok(Effect::Nothing) };
        let change = Change::Leave(name(n), incarnation, step);
        let ask = member::Ask { actor: name(n).to_string(), request_id: None, change };
        let mut effect = Ok(Effect::Nothing);
        let found = std::cell::RefCell::new(&mut effect);
        self.decide(|facts, occasion| {
            let (decision, mut effects) = member::together(facts, occasion, std::slice::from_ref(&ask));
            **found.borrow_mut() = effects.remove(0);
            Ok(decision)
        })
        .expect("no refusal");
        effect
    }

    /// Everything that it takes for a member to leave.
    pub(crate) fn leave(&mut self, n: usize) {
        assert_eq!(self.want_to_leave(n), Ok(Effect::Made));
        for other in (0..10).filter(|other| *other != n) {
            let _ = self.drain(other, n, 0);
        }
        assert_eq!(self.end(n, &[]), Ok(Effect::Made));
    }

    pub(crate) fn request(&mut self) -> Result<(), Refusal> {
        let request = snapshot::Request { trigger: Trigger::Request, labels: BTreeMap::new(), timeout_ms: None };
        self.decide(|facts, occasion| snapshot::request(facts, occasion, request.clone()))
    }

    /// What the store does with a part: no decision, and only while it is wanted.
    pub(crate) fn report(&mut self, n: usize) {
        let Some(incarnation) = self.member(n).map(|m| m.incarnation) else { return };
        for snapshot in &mut self.facts.snapshots {
            if snapshot.state == SnapshotState::Recording && snapshot.view.get(&name(n)) == Some(&incarnation) {
                snapshot.reported.insert(name(n));
            }
        }
    }

    pub(crate) fn report_all(&mut self) {
        for n in 0..10 {
            self.report(n);
        }
    }

    /// Verifies and commits whatever is complete; half of it when `only_certify`.
    pub(crate) fn commit(&mut self, only_certify: bool) {
        let complete: Vec<SnapshotFacts> =
            self.facts.snapshots.iter().filter(|s| s.is_under_way() && s.is_complete()).cloned().collect();
        for s in complete {
            let view: Vec<ViewMember> = s.view.iter().map(|(m, i)| ViewMember { member: m.clone(), incarnation: *i }).collect();
            let part = |v: &ViewMember| PartCounters {
                member: v.member.clone(),
                incarnation: v.incarnation,
                generation: s.generation,
                sent: Vec::new(),
                received: Vec::new(),
                recorded: Vec::new(),
                logged: Vec::new(),
                peers: Vec::new(),
            };
            let verdict = certificate::verify(s.generation, &view, &view.iter().map(part).collect::<Vec<_>>());
            self.decide(|facts, occasion| Ok(snapshot::certified(facts, occasion, s.id, &verdict))).expect("no refusal");
            if !only_certify {
                let digest = stillframe_archive::Digest::of(b"manifest");
                self.decide(|facts, occasion| Ok(snapshot::committed(facts, occasion, s.id, &digest))).expect("no refusal");
            }
        }
    }

    pub(crate) fn abort(&mut self, nth: usize) {
        if let Some(id) = self.all.keys().nth(nth).copied() {
            let _ = self.decide_about(Some(id), |facts, occasion| snapshot::abort(facts, occasion, id, None));
        }
    }

    pub(crate) fn deadlines(&mut self) {
        self.decide(|facts, occasion| Ok(snapshot::deadlines(facts, occasion))).expect("no refusal");
    }

    pub(crate) fn restore(&mut self, nth: usize) -> Result<(), Refusal> {
        self.restore_with(nth, 0, BTreeMap::new())
    }

    /// Members are named by their numbers.
    pub(crate) fn restore_with(&mut self, nth: usize, fallback: u32, mapping: BTreeMap<usize, usize>) -> Result<(), Refusal> {
        let Some(id) = self.all.keys().nth(nth).copied() else { return Ok(()) };
        let mapping = mapping.into_iter().map(|(part, now)| (name(part), name(now))).collect();
        let (target, trigger) = (Target::Snapshot(id), Trigger::Request);
        let ask = Ask { target, trigger, timeout_ms: None, fallback, retries: 1, mapping };
        self.decide_about(Some(id), |facts, occasion| restore::start(facts, occasion, ask.clone()))
    }

    pub(crate) fn cancel(&mut self) -> Result<(), Refusal> {
        let Some(known) = self.restores.values().next_back().cloned() else { return Ok(()) };
        self.decide(|facts, occasion| restore::cancel(facts, occasion, known.id, &known, None))
    }

    pub(crate) fn resume(&mut self, fallback: u32) -> Result<(), Refusal> {
        self.decide(|facts, occasion| rollback::resume(facts, occasion, fallback))
    }

    fn kept(&self) -> KeptFacts {
        let committed = self.all.values().filter(|s| s.state == SnapshotState::Committed);
        let mut committed: Vec<CommittedFacts> = committed
            .map(|s| CommittedFacts {
                id: s.id,
                epoch: s.epoch.expect("an epoch"),
                recording_at: s.recording_at.expect("recorded"),
            })
            .collect();
        committed.sort_by_key(|c| c.epoch);
        KeptFacts { collection: CollectionState::Confirmed, committed, holds: self.holds.clone() }
    }

    pub(crate) fn delete(&mut self, nth: usize) {
        let Some(id) = self.all.keys().nth(nth).copied() else { return };
        let _ = self.decide_about(Some(id), |facts, occasion| deletion::request(facts, occasion, id));
    }

    /// Holds a snapshot, without an end.
    pub(crate) fn hold(&mut self, nth: usize) {
        let Some(id) = self.all.keys().nth(nth).copied() else { return };
        // An aborted snapshot may be deleted though it was held while it was open.
        if self.all[&id].state != SnapshotState::Committed {
            return;
        }
        let new = NewHold { id: HoldId(self.id()), owner: "o".to_owned(), reason: "r".to_owned(), expires_in: None };
        let _ = self.decide_about(Some(id), |facts, occasion| retention::hold(facts, occasion, id, new.clone()));
    }

    /// Keeps the newest two, and carries that out.
    pub(crate) fn expire(&mut self) {
        self.facts.cluster.retention = Some(Retention { keep_last: Some(2), ..Retention::empty() });
        let committed: Vec<SnapshotId> = self.kept().committed.iter().map(|c| c.id).collect();
        for id in committed {
            self.decide_about(Some(id), |facts, occasion| Ok(deletion::expire(facts, occasion, id))).expect("no refusal");
        }
        if self.facts.restore.is_none() {
            let left = self.kept().committed.len();
            assert!(left <= 3 + self.holds.len(), "retention leaves {left}");
        }
    }

    pub(crate) fn sweep(&mut self, nth: usize) {
        let Some(id) = self.all.keys().nth(nth).copied() else { return };
        let again = SignedDuration::from_secs(1);
        let done = |facts: &Facts, occasion: &Occasion| Ok(deletion::swept(facts, occasion, id, Swept::default(), again));
        self.decide_about(Some(id), done).expect("no refusal");
        assert_ne!(self.all[&id].state, SnapshotState::Deleting, "what is swept is deleted");
    }

    /// What a member says of the restore under way; of an older generation when `stale`.
    pub(crate) fn say(&mut self, n: usize, fails: Option<PrepareProblem>, stale: bool) {
        let Some(incarnation) = self.member(n).map(|m| m.incarnation) else { return };
        let Some(restore) = self.facts.restore.clone() else { return };
        let generation = if stale { Generation(restore.generation.0 - 1) } else { restore.generation };
        let restore_id = restore.id;
        let attempt = restore.members.get(&name(n)).map_or(0, |member| member.attempt);
        let word = match (restore.state, fails) {
            (RestoreState::Resuming, _) => Word::Running { generation },
            (_, Some(problem)) => {
                Word::PrepareFailed { restore: restore_id, generation, attempt, problem, detail: "missing".to_owned() }
            }
            (_, None) => Word::Prepared { restore: restore_id, generation, bytes: 1 },
        };
        let words = [(name(n), incarnation, word)];
        self.decide(|facts, occasion| Ok(restore::heard(facts, occasion, &words))).expect("no refusal");
        if stale && let (Some(now), before) = (&self.facts.restore, restore) {
            let phases = |r: &super::facts::RestoreFacts| r.members.values().map(|m| m.phase).collect::<Vec<RestorePhase>>();
            assert_eq!(phases(now), phases(&before), "a word of a burned generation counted");
        }
    }
}

/// Everything whose change the audit has to tell.
fn states(facts: &Facts) -> impl PartialEq {
    let member = |m: &MemberFacts| (m.incarnation, m.state, m.standing, m.generation, m.address.clone());
    let members: Vec<_> = facts.members.values().map(member).collect();
    let snapshots: Vec<_> = facts.snapshots.iter().map(|s| (s.id, s.state)).collect();
    let restore = facts.restore.as_ref().map(|r| (r.id, r.state, r.generation));
    (facts.cluster.phase, facts.cluster.generation, members, snapshots, restore)
}

fn may_become(old: SnapshotState, new: SnapshotState) -> bool {
    use SnapshotState::{Aborted, Committed, Committing, Deleted, Deleting, Pending, Recording};
    match old {
        Pending => matches!(new, Pending | Recording | Aborted),
        Recording => matches!(new, Recording | Committing | Aborted),
        Committing => matches!(new, Committing | Committed),
        Committed => matches!(new, Committed | Deleting),
        Aborted => matches!(new, Aborted | Deleting),
        Deleting => matches!(new, Deleting | Deleted),
        Deleted => new == Deleted,
    }
}
