//! The same steps, drawn at random, on both stores at once: whatever is asked, they answer the same. The clocks stand at the same time, so every
//! timestamp is compared too. What is left out is what a store is free in: ids of audit rows, the text of a row's detail (and with it the hashes), the
//! order of lists that have none, and the words of a fault.

use std::{fmt::Debug, sync::Arc, time::Duration};

use jiff::SignedDuration;
use proptest::prelude::*;
use stillframe_api::{
    agent::{MissingChannel, PrepareProblem, Upload},
    channel_state::{Alignment, ChannelState},
    cluster::{CreateCluster, OnLoss},
    restore::RestoreState,
    retention::Retention,
    schedule::{Misfire, OnOverlap},
    snapshot::{SnapshotState, Trigger},
};
use stillframe_archive::{Digest, ObjectKey};
use stillframe_coordinator::{
    decide::{
        Decision, Facts,
        deletion::{self, Swept},
        facts::{ChannelFacts, CollectionState},
        leave,
        member::{self, Change, Evidence},
        restore::{self, Ask, Target, Word},
        resync,
        retention::{self, NewHold},
        rollback,
        schedule::{fire::fire, manage},
        settings, snapshot,
    },
    store::{
        AuditFilter, Collecting, Found, Outcome, ProgressRow, Renewal, Rule, Scope, SnapshotFilter, Store, StoreError,
        TransactError, UploadRow, Uploads,
    },
};
use stillframe_protocol::{HoldId, Incarnation, RestoreId, SnapshotId, name::ScheduleName};
use uuid::Uuid;

use super::{
    steps::{
        LEASE, about, about_kept, arriving, bank, broken, member, object, occasion, registration, report_of, rule, stamped,
        stamping, sure, verdict,
    },
    subject::Subject,
};

#[derive(Debug, Clone)]
enum Step {
    Register(usize),
    Arrive(usize),
    Lose(usize),
    AskToLeave(usize),
    Leave(usize),
    Renew { member: usize, holder: u128, take: bool },
    Request { remembered: bool },
    Report(usize),
    ReportAll,
    Progress(usize),
    Upload(usize),
    Certify,
    Commit,
    Abort(usize),
    Restore { nth: usize, fallback: u32 },
    Say { member: usize, fails: bool },
    SayAll,
    Cancel,
    Resume,
    Delete(usize),
    Hold(usize),
    Release,
    Expire(usize),
    Sweep(usize),
    Settings { max_concurrent: u32, min_pause_ms: u64, channels: ChannelFacts },
    Timeout { nth: usize, ms: u64 },
    Schedule(u64),
    Unschedule,
    Fire,
    Suspend(bool),
    FailOver(u8),
    TakeUp(usize),
    Break(u8),
    Pass(u64),
}

/// Some of them exclude each other.
fn channels() -> impl Strategy<Value = ChannelFacts> {
    let channel_state = prop_oneof![Just(ChannelState::Marker), Just(ChannelState::SenderLogged)];
    let alignment = prop_oneof![Just(Alignment::Unaligned), Just(Alignment::Aligned)];
    (channel_state, alignment, prop::option::of(1u64..9))
        .prop_map(|(channel_state, alignment, aligned_timeout_ms)| ChannelFacts { channel_state, alignment, aligned_timeout_ms })
}

fn step() -> impl Strategy<Value = Step> {
    let (member, nth) = (0usize..4, 0usize..12);
    prop_oneof![
        4 => member.clone().prop_map(Step::Register),
        6 => member.clone().prop_map(Step::Arrive),
        2 => member.clone().prop_map(Step::Lose),
        1 => member.clone().prop_map(Step::AskToLeave),
        2 => member.clone().prop_map(Step::Leave),
        2 => (member.clone(), 1u128..3, any::<bool>()).prop_map(|(member, holder, take)| Step::Renew { member, holder, take }),
        4 => any::<bool>().prop_map(|remembered| Step::Request { remembered }),
        2 => member.clone().prop_map(Step::Report),
        6 => Just(Step::ReportAll),
        1 => member.clone().prop_map(Step::Progress),
        1 => member.clone().prop_map(Step::Upload),
        4 => Just(Step::Certify),
        6 => Just(Step::Commit),
        1 => nth.clone().prop_map(Step::Abort),
        2 => (nth.clone(), 0u32..2).prop_map(|(nth, fallback)| Step::Restore { nth, fallback }),
        3 => (member, prop::bool::weighted(0.4)).prop_map(|(member, fails)| Step::Say { member, fails }),
        6 => Just(Step::SayAll),
        1 => Just(Step::Cancel),
        1 => Just(Step::Resume),
        2 => nth.clone().prop_map(Step::Delete),
        1 => nth.clone().prop_map(Step::Hold),
        1 => Just(Step::Release),
        1 => nth.clone().prop_map(Step::Expire),
        2 => nth.clone().prop_map(Step::Sweep),
        1 => (1u32..4, prop_oneof![Just(0u64), Just(500), Just(5_000)], channels())
            .prop_map(|(max_concurrent, min_pause_ms, channels)| Step::Settings { max_concurrent, min_pause_ms, channels }),
        1 => (nth.clone(), 1u64..3_000).prop_map(|(nth, ms)| Step::Timeout { nth, ms }),
        1 => (1u64..4).prop_map(|secs| Step::Schedule(secs * 1_000)),
        1 => Just(Step::Unschedule),
        2 => Just(Step::Fire),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => (1u8..3).prop_map(Step::FailOver),
        1 => nth.prop_map(Step::TakeUp),
        2 => (0u8..8).prop_map(Step::Break),
        3 => prop_oneof![Just(10u64), Just(600), Just(2_000), Just(10_000), Just(100_000)].prop_map(Step::Pass),
    ]
}

/// Both stores.
struct Pair {
    memory: Subject,
    postgres: Subject,
}

/// What a transition came to, as far as both have to agree.
fn told(done: Result<stillframe_coordinator::store::Transition, TransactError>) -> Result<(Facts, bool), String> {
    match done {
        Ok(done) => Ok((done.facts, done.changed)),
        Err(TransactError::Store(StoreError::Fault { .. })) => Err("a fault".to_owned()),
        Err(other) => Err(other.to_string()),
    }
}

fn name(n: usize) -> String {
    format!("p{n}")
}

fn nightly() -> ScheduleName {
    ScheduleName::new("nightly").expect("a name")
}

fn scheduled() -> Scope {
    Scope { schedule: Some(nightly()), ..Scope::default() }
}

impl Pair {
    async fn start(on_loss: OnLoss) -> Self {
        let pair = Self { memory: Subject::memory().await, postgres: Subject::postgres().await };
        let settings = CreateCluster { on_loss, snapshot_timeout: "5s".parse().expect("5s"), ..CreateCluster::new(bank(), 2) };
        let made = async |store: &dyn Store| store.create_cluster(&settings, None).await.map(|(_, is_new)| is_new);
        pair.both("made", made).await.expect("made");
        pair
    }

    /// Asks both, and has them agree.
    async fn both<T: Debug>(&self, what: &str, ask: impl AsyncFn(&dyn Store) -> T) -> T {
        let expected = ask(self.memory.store()).await;
        let found = ask(self.postgres.store()).await;
        assert_eq!(format!("{found:#?}"), format!("{expected:#?}"), "{what}: Postgres on the left, memory on the right");
        expected
    }

    async fn transact(&self, scope: Scope, rule: Rule) {
        let expected = told(self.memory.try_transact(scope.clone(), rule.clone()).await);
        let found = told(self.postgres.try_transact(scope, rule).await);
        assert_eq!(found, expected, "Postgres on the left, memory on the right");
    }

    async fn facts(&self) -> Facts {
        self.memory.facts().await
    }

    /// One of the snapshots that ever were.
    async fn nth(&self, nth: usize) -> Option<SnapshotId> {
        let mut ids = self.memory.store().snapshot_states(&bank()).await.expect("a list");
        ids.sort_unstable_by_key(|(id, _)| *id);
        ids.get(nth).map(|(id, _)| *id)
    }

    async fn about_nth(&self, nth: usize, rule: impl Fn(SnapshotId) -> Rule) {
        if let Some(id) = self.nth(nth).await {
            self.transact(about_kept(id), rule(id)).await;
        }
    }

    async fn request(&self, remembered: bool) {
        let request =
            snapshot::Request { trigger: Trigger::Request, labels: [("a".to_owned(), "b".to_owned())].into(), timeout_ms: None };
        let occasion = occasion();
        let before = self.facts().await;
        if remembered && let Ok(decision) = snapshot::request(&before, &occasion, request.clone()) {
            let decision = stamped(&before, decision, Uuid::now_v7());
            let done = async |store: &dyn Store| store.transact_remembered(&before, &decision, &[], Some("r")).await;
            self.both("remembered", done).await.expect("an answer");
        } else {
            let request = stamping(move |facts| snapshot::request(facts, &occasion, request.clone()).map(Outcome::from));
            self.transact(Scope::default(), request).await;
        }
    }

    /// Members report to every snapshot, wanted or not.
    async fn report(&self, of: impl Fn(usize) -> bool) {
        let facts = self.facts().await;
        let mut rows = Vec::new();
        for snapshot in facts.snapshots.iter().filter(|snapshot| snapshot.epoch.is_some()) {
            for n in (0..4).filter(|n| of(*n)) {
                let Some(known) = facts.members.get(&member(&name(n))) else { continue };
                let report = report_of(snapshot, vec![object(&bank(), snapshot.id, &known.name, known.incarnation)]);
                let (cluster, member, incarnation) = (bank(), known.name.clone(), known.incarnation);
                rows.push(stillframe_coordinator::store::PartRow { cluster, member, incarnation, report });
            }
        }
        let insert = async |store: &dyn Store| {
            let mut taken = store.insert_parts(&rows).await.expect("taken");
            taken.there.sort_unstable();
            (taken.there, taken.all_new)
        };
        self.both("parts", insert).await;
    }

    async fn drive(&self, commits: bool) {
        for seen in self.facts().await.snapshots {
            let (id, verdict) = (seen.id, verdict(&seen));
            self.transact(about(id), sure(move |facts, o| snapshot::certified(facts, o, id, &verdict))).await;
            if commits {
                let digest = Digest::of(b"manifest");
                self.transact(about(id), sure(move |facts, o| snapshot::committed(facts, o, id, &digest))).await;
            }
        }
    }

    async fn say(&self, of: impl Fn(&str) -> bool, fails: bool) {
        let facts = self.facts().await;
        let Some(restore) = facts.restore else { return };
        let (id, generation) = (restore.id, restore.generation);
        let word = |attempt| match (restore.state, fails) {
            (RestoreState::Resuming, _) => Word::Running { generation },
            (_, true) => {
                let (problem, detail) = (PrepareProblem::Unreadable, "gone".to_owned());
                Word::PrepareFailed { restore: id, generation, attempt, problem, detail }
            }
            (_, false) => Word::Prepared { restore: id, generation, bytes: 5 },
        };
        let members = restore.members.iter().filter(|(name, _)| of(name.as_str()));
        let words: Vec<_> = members.map(|(name, m)| (name.clone(), m.incarnation, word(m.attempt))).collect();
        self.transact(Scope::default(), sure(move |facts, o| restore::heard(facts, o, &words))).await;
    }

    async fn take_up(&self, id: SnapshotId) {
        let facts = self.memory.snapshot(id).await;
        let (Some(epoch), Some(started_at)) = (facts.epoch, facts.recording_at) else { return };
        let (generation, labels, view) = (facts.generation, facts.labels, facts.view);
        let part = |(name, incarnation): (&stillframe_protocol::MemberName, &stillframe_protocol::Incarnation)| {
            stillframe_archive::Part {
                member: name.clone(),
                incarnation: *incarnation,
                objects: vec![object(&bank(), id, name, *incarnation)],
                sent: vec![],
                received: vec![],
                recorded: vec![],
                logged: vec![],
                peers: vec![],
            }
        };
        let found = Found { settings: CreateCluster::new(bank(), 2), parts: view.iter().map(part).collect() };
        let proved = resync::Proved { id, epoch, generation, started_at, labels, view, messages_in_flight: 2 };
        let scope = Scope { found: Some(Arc::new(found)), ..about(id) };
        self.transact(scope, sure(move |facts, o| resync::take_up(facts, o, &proved))).await;
    }

    /// Something that no rule decides, which both have to refuse, or let through alike.
    async fn break_rules(&self, how: u8) {
        let id = SnapshotId(Uuid::now_v7());
        let change = move |facts: &mut Facts| match how {
            0 => facts.cluster.epoch = facts.cluster.epoch.next(),
            1 => facts.cluster.revision = facts.cluster.revision.saturating_sub(1),
            2 => facts.snapshots.iter_mut().for_each(|snapshot| snapshot.state = SnapshotState::Committed),
            3 => facts.snapshots.iter_mut().for_each(|snapshot| snapshot.epoch = snapshot.epoch.map(|epoch| epoch.next())),
            4 => facts.members.values_mut().for_each(|member| member.instance = id.0),
            5 => {
                let twin = facts.snapshots.first().cloned();
                facts.snapshots.extend(twin.map(|twin| stillframe_coordinator::decide::facts::SnapshotFacts { id, ..twin }));
            }
            6 => facts.cluster.channels_in_force.aligned_timeout_ms = Some(5),
            _ => facts.restore.iter_mut().for_each(|restore| restore.state = RestoreState::Resuming),
        };
        self.transact(Scope::default(), broken(change)).await;
    }

    #[expect(clippy::too_many_lines, reason = "an arm a step, each of its own")]
    async fn take(&self, step: &Step) {
        match *step {
            Step::Register(n) => {
                let registration = registration(&name(n), Uuid::now_v7());
                self.transact(Scope::default(), rule(move |facts, o| member::register(facts, o, &registration))).await;
            }
            Step::Arrive(n) => {
                self.transact(Scope::default(), arriving(&name(n))).await;
            }
            Step::Lose(n) => {
                let (name, evidence) = (member(&name(n)), Evidence::Closed { holder: Uuid::from_u128(1) });
                let lost = move |facts: &Facts, o: &_| match facts.members.get(&name) {
                    Some(known) => member::lost(facts, o, &name, known.incarnation, evidence),
                    None => Decision::nothing(facts),
                };
                self.transact(Scope::default(), sure(lost)).await;
            }
            Step::AskToLeave(n) => {
                let name = member(&name(n));
                self.transact(Scope::default(), rule(move |facts, o| leave::ask(facts, o, &name, true))).await;
            }
            Step::Leave(n) => {
                // All that it takes, if it is in a state to: in steps, as it is said.
                let (leaver, generation) = (member(&name(n)), self.facts().await.cluster.generation);
                let incarnation = self.facts().await.members.get(&leaver).map_or(Incarnation(0), |known| known.incarnation);
                let mut said = vec![(leaver.clone(), leave::Step::Wants { generation })];
                said.extend((0..4).filter(|other| *other != n).map(|other| {
                    let drained = leave::Step::Drained { generation, member: leaver.clone(), incarnation, sent: 0 };
                    (member(&name(other)), drained)
                }));
                said.push((leaver, leave::Step::Ended { generation, sent: Vec::new(), received: Vec::new() }));
                for (by, step) in said {
                    let told = move |facts: &Facts, o: &_| {
                        let incarnation = facts.members.get(&by).map_or(Incarnation(0), |known| known.incarnation);
                        let change = Change::Leave(by.clone(), incarnation, step.clone());
                        member::together(facts, o, &[member::Ask { actor: "test".to_owned(), request_id: None, change }]).0
                    };
                    self.transact(Scope::default(), sure(told)).await;
                }
            }
            Step::Renew { member: n, holder, take } => {
                let Some(known) = self.facts().await.members.get(&member(&name(n))).cloned() else { return };
                let renewal = Renewal { lease: (bank(), known.name, known.incarnation), take };
                let renew = async |store: &dyn Store| {
                    store.renew_leases(Uuid::from_u128(holder), LEASE, std::slice::from_ref(&renewal)).await
                };
                self.both("leases", renew).await.expect("renewed");
            }
            Step::Request { remembered } => self.request(remembered).await,
            Step::Report(n) => self.report(|of| of == n).await,
            Step::ReportAll => self.report(|_| true).await,
            Step::Progress(n) => {
                let facts = self.facts().await;
                let Some(known) = facts.members.get(&member(&name(n))) else { return };
                let missing = vec![MissingChannel { from: member("p9"), received: 1, expected: Some(2), since_ms: 3 }];
                let row = |snapshot| ProgressRow {
                    cluster: bank(),
                    member: known.name.clone(),
                    incarnation: known.incarnation,
                    snapshot,
                    missing: missing.clone(),
                    spooled_bytes: 7,
                };
                let rows: Vec<ProgressRow> = facts.snapshots.iter().map(|snapshot| row(snapshot.id)).collect();
                self.both("words", async |store: &dyn Store| store.put_progress(rows.clone()).await).await.expect("kept");
            }
            Step::Upload(n) => {
                let facts = self.facts().await;
                let Some(known) = facts.members.get(&member(&name(n))) else { return };
                for snapshot in &facts.snapshots {
                    let key = ObjectKey::state_key(&bank(), snapshot.id, &known.name, known.incarnation);
                    let (cluster, member, incarnation) = (bank(), known.name.clone(), known.incarnation);
                    let upload = Upload { snapshot: snapshot.id, key, upload: format!("u{n}") };
                    let row = UploadRow { cluster, member, incarnation, upload };
                    self.both("upload", async |store: &dyn Store| store.put_upload(&row).await).await.expect("an answer");
                }
            }
            Step::Certify => self.drive(false).await,
            Step::Commit => self.drive(true).await,
            Step::Abort(nth) => self.about_nth(nth, |id| rule(move |facts, o| snapshot::abort(facts, o, id, None))).await,
            Step::Restore { nth, fallback } => {
                let ask = move |id| {
                    let (target, trigger, mapping) = (Target::Snapshot(id), Trigger::Request, Default::default());
                    Ask { target, trigger, timeout_ms: None, fallback, retries: 0, mapping }
                };
                self.about_nth(nth, |id| rule(move |facts, o| restore::start(facts, o, ask(id)))).await;
            }
            Step::Say { member, fails } => self.say(|of| of == name(member), fails).await,
            Step::SayAll => self.say(|_| true, false).await,
            Step::Cancel => {
                let Some(known) = self.facts().await.restore else { return };
                let id = known.id;
                self.transact(Scope::default(), rule(move |facts, o| restore::cancel(facts, o, id, &known, None))).await;
            }
            Step::Resume => self.transact(Scope::default(), rule(|facts, o| rollback::resume(facts, o, 1))).await,
            Step::Delete(nth) => self.about_nth(nth, |id| rule(move |facts, o| deletion::request(facts, o, id))).await,
            Step::Hold(nth) => {
                let expires_in = (nth % 2 == 0).then_some(SignedDuration::from_secs(5));
                let new = NewHold { id: HoldId(Uuid::now_v7()), owner: "o".to_owned(), reason: "r".to_owned(), expires_in };
                let hold = |id| {
                    let new = new.clone();
                    rule(move |facts, o| retention::hold(facts, o, id, new.clone()))
                };
                self.about_nth(nth, hold).await;
            }
            Step::Release => {
                let release = rule(|facts, o| match facts.kept.as_ref().and_then(|kept| kept.holds.first()).cloned() {
                    Some(hold) => retention::release(facts, o, hold.snapshot, hold.id),
                    None => Ok(Decision::nothing(facts)),
                });
                self.transact(Scope { kept: true, ..Scope::default() }, release).await;
            }
            Step::Expire(nth) => {
                let keeps = Retention { keep_last: Some(2), ..Retention::empty() };
                self.transact(Scope::default(), sure(move |facts, o| retention::set(facts, o, Some(keeps)))).await;
                self.about_nth(nth, |id| sure(move |facts, o| deletion::expire(facts, o, id))).await;
            }
            Step::Sweep(nth) => {
                let again = SignedDuration::from_secs(3);
                self.about_nth(nth, |id| sure(move |facts, o| deletion::swept(facts, o, id, Swept::default(), again))).await;
            }
            Step::Settings { max_concurrent, min_pause_ms, channels } => {
                let changes = settings::Changes {
                    max_concurrent: Some(max_concurrent),
                    min_pause_ms: Some(min_pause_ms),
                    channel_state: Some(channels.channel_state),
                    alignment: Some(channels.alignment),
                    aligned_timeout_ms: Some(channels.aligned_timeout_ms),
                    ..Default::default()
                };
                self.transact(Scope::default(), rule(move |facts, o| settings::update_cluster(facts, o, changes, None))).await;
            }
            Step::Timeout { nth, ms } => {
                self.about_nth(nth, |id| rule(move |facts, o| settings::update_snapshot(facts, o, id, ms))).await;
            }
            Step::Schedule(every_ms) => {
                let wanted = manage::Wanted {
                    name: nightly(),
                    every_ms: Some(every_ms),
                    cron: None,
                    time_zone: "UTC".to_owned(),
                    jitter_ms: 100,
                    min_pause_ms: 0,
                    timeout_ms: None,
                    labels: Default::default(),
                    on_overlap: OnOverlap::Queue,
                    misfire: Misfire::Once,
                };
                self.transact(scheduled(), rule(move |facts, o| manage::set(facts, o, &wanted))).await;
            }
            Step::Unschedule => self.transact(scheduled(), rule(manage::delete)).await,
            Step::Fire => {
                let occasion = occasion();
                let fires = stamping(move |facts: &Facts| {
                    Ok(match fire(facts, &occasion)? {
                        Some((decision, slot)) => Outcome { decision, slot },
                        None => Decision::nothing(facts).into(),
                    })
                });
                self.transact(scheduled(), fires).await;
            }
            Step::Suspend(suspends) => {
                let suspended = CollectionState::Suspended { reason: "a test".to_owned() };
                let state = if suspends { suspended } else { CollectionState::Confirmed };
                self.both("collection", async |store: &dyn Store| store.set_collection(&state, "request", None).await)
                    .await
                    .expect("set");
            }
            Step::FailOver(timeline) => {
                let identity = format!("memory/{timeline}");
                self.memory.fail_over(&identity).await;
                self.postgres.fail_over(&identity).await;
            }
            Step::TakeUp(nth) => {
                if let Some(id) = self.nth(nth).await {
                    self.take_up(id).await;
                }
            }
            Step::Break(how) => self.break_rules(how).await,
            Step::Pass(ms) => {
                self.memory.pass(Duration::from_millis(ms)).await;
                self.postgres.pass(Duration::from_millis(ms)).await;
                self.both("deadlines", async |store: &dyn Store| store.deadlines().await).await.expect("told");
                self.transact(Scope::default(), sure(snapshot::deadlines)).await;
            }
        }
    }

    /// Asks both for everything that there is to be told.
    async fn compare(&self) {
        let name = bank();
        let everything = Scope { kept: true, ..scheduled() };
        self.transact(everything, sure(|facts, _| Decision::nothing(facts))).await;
        let filter = |limit| SnapshotFilter { state: None, before: None, limit };
        let list = async |store: &dyn Store| store.snapshots(&name, &filter(100)).await;
        let ids: Vec<SnapshotId> =
            self.both("snapshots", list).await.expect("a list").into_iter().map(|row| row.facts.id).collect();
        for id in &ids {
            self.both("a snapshot", async |store: &dyn Store| store.snapshot(*id).await).await.expect("a row");
            self.both("its parts", async |store: &dyn Store| store.parts(*id).await).await.expect("parts");
            self.both("its uploads", async |store: &dyn Store| store.uploads(Uploads::Of(*id)).await).await.expect("a list");
        }
        let restores = async |store: &dyn Store| store.restores(&name, None, 100).await;
        let restores = self.both("restores", restores).await.expect("a list");
        let restores: Vec<RestoreId> = restores.into_iter().map(|row| row.facts.id).collect();
        let answers = async |store: &dyn Store| {
            let mut standings = store.standings(&ids).await?;
            standings.sort_by_key(|standing| standing.snapshot);
            let unfinished = store.unfinished(None, 100).await?;
            let mut complete = store.complete_snapshots(&ids).await?;
            complete.sort_by_key(|complete| complete.id);
            let mut expired = store.expired_leases().await?;
            expired.sort();
            let mut restored = Vec::new();
            for id in &restores {
                restored.push(store.restore(*id).await?);
            }
            let mut last = Vec::new();
            for what in [Collecting::Retention, Collecting::Orphans] {
                last.push(store.claim_collecting(what, Duration::from_secs(1)).await?);
            }
            let snapshots = (standings, unfinished, complete, store.leftovers(None).await?, store.leftovers(Some(&name)).await?);
            let members = (store.cluster(&name).await?, store.members(&name, None, 100).await?, expired);
            let due = (store.deadlines().await?, store.due_schedules().await?, store.schedules(&name, None, 10).await?);
            let uploads = (store.uploads(Uploads::Ended(&name)).await?, store.uploads(Uploads::Stray(LEASE)).await?);
            Ok::<_, StoreError>((
                snapshots,
                members,
                due,
                uploads,
                restored,
                last,
                store.behind().await?,
                store.collection().await?,
            ))
        };
        self.both("answers", answers).await.expect("answers");
        self.compare_audit().await;
    }

    async fn compare_audit(&self) {
        let rows = async |store: &dyn Store| {
            let entries = store.audit(&AuditFilter { limit: 10_000, ..AuditFilter::default() }).await?;
            let row = |entry: stillframe_coordinator::store::AuditEntry| {
                let row = entry.row;
                let detail: serde_json::Value = serde_json::from_str(&row.detail).expect("JSON");
                (row.cluster, row.seq, row.at, row.actor, row.action, row.subject, row.reason, row.request_id, detail.to_string())
            };
            let heads = store.audit_heads(None).await?;
            let heads: Vec<_> = heads.into_iter().map(|head| (head.cluster, head.head.seq)).collect();
            Ok::<_, StoreError>((entries.into_iter().map(row).collect::<Vec<_>>(), heads))
        };
        self.both("audit", rows).await.expect("rows");
    }
}

async fn take_all(on_loss: OnLoss, steps: &[Step]) {
    let pair = Pair::start(on_loss).await;
    for step in steps {
        pair.take(step).await;
        let facts = async |store: &dyn Store| store.facts(&bank()).await;
        pair.both("facts", facts).await.expect("facts");
    }
    pair.compare().await;
    pair.postgres.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_postgres_answer_the_same_whatever_is_asked(halt in any::<bool>(), steps in prop::collection::vec(step(), 10..70)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let on_loss = if halt { OnLoss::Halt } else { OnLoss::RestoreLatest };
        // From a cluster that runs and has a snapshot, else most steps have nothing to be about.
        let beginning = [0, 1].map(Step::Register).into_iter().chain([0, 1].map(Step::Arrive)).chain([Step::ReportAll, Step::Commit]);
        let steps: Vec<Step> = beginning.chain(steps).collect();
        runtime.block_on(take_all(on_loss, &steps));
    }
}
