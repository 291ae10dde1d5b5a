//! What the cases do with a store: transitions by the real rules, and reports as agents make them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use stillframe_api::{
    agent::PartReport,
    cluster::CreateCluster,
    snapshot::{SnapshotState, Trigger},
};
use stillframe_archive::{Digest, Encoding, ObjectEntry, ObjectKey, Place, Role};
use stillframe_coordinator::{
    decide::{
        Decision, Facts, Occasion, Refusal,
        facts::{MemberFacts, SnapshotFacts},
        member::{self, Evidence, Registration},
        settings, snapshot,
    },
    store::{Outcome, PartRow, Rule, Scope, StoreError, TransactError, Transition},
};
use stillframe_protocol::{ClusterName, Incarnation, MemberName, PartCounters, RestoreId, SnapshotId, ViewMember, certificate};
use uuid::Uuid;

use super::subject::Subject;

/// How long a lease lasts here.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

pub(crate) fn bank() -> ClusterName {
    cluster("bank")
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).expect("a name")
}

pub(crate) fn member(name: &str) -> MemberName {
    MemberName::new(name).expect("a name")
}

/// Fresh ids, on behalf of a request.
pub(crate) fn occasion() -> Occasion {
    Occasion {
        snapshot: SnapshotId(Uuid::now_v7()),
        automatic: SnapshotId(Uuid::now_v7()),
        restore: RestoreId(Uuid::now_v7()),
        actor: "request".to_owned(),
        request_id: None,
        restore_timeout: SignedDuration::from_secs(60),
    }
}

/// A rule of the coordinator with an occasion of its own.
pub(crate) fn rule(decide: impl Fn(&Facts, &Occasion) -> Result<Decision, Refusal> + Send + Sync + 'static) -> Rule {
    let occasion = occasion();
    stamping(move |facts| decide(facts, &occasion).map(Outcome::from))
}

/// A rule whose decisions have a stamp of their own, as the service gives them one.
pub(crate) fn stamping(decide: impl Fn(&Facts) -> Result<Outcome, Refusal> + Send + Sync + 'static) -> Rule {
    let stamp = Uuid::now_v7();
    Arc::new(move |facts| {
        let Outcome { decision, slot } = decide(facts)?;
        Ok(Outcome { decision: stamped(facts, decision, stamp), slot })
    })
}

/// A decision that changes something, with this stamp.
pub(crate) fn stamped(before: &Facts, mut decision: Decision, stamp: Uuid) -> Decision {
    if decision.next.cluster.version != before.cluster.version {
        decision.next.cluster.stamp = stamp;
    }
    decision
}

/// A rule that never refuses.
pub(crate) fn sure(decide: impl Fn(&Facts, &Occasion) -> Decision + Send + Sync + 'static) -> Rule {
    rule(move |facts, occasion| Ok(decide(facts, occasion)))
}

/// A broken rule: changes the facts as it likes, and counts a version up as every decision does.
pub(crate) fn broken(change: impl Fn(&mut Facts) + Send + Sync + 'static) -> Rule {
    stamping(move |facts| {
        let mut next = facts.clone();
        change(&mut next);
        next.cluster.version += 1;
        Ok(Decision { next, audit: Vec::new() }.into())
    })
}

/// A transition about a snapshot.
pub(crate) fn about(snapshot: SnapshotId) -> Scope {
    Scope { snapshot: Some(snapshot), ..Scope::default() }
}

/// A transition about a snapshot, and what is kept.
pub(crate) fn about_kept(snapshot: SnapshotId) -> Scope {
    Scope { kept: true, ..about(snapshot) }
}

/// A member that registered asks for its assignment: from then on it counts.
pub(crate) fn arriving(name: &str) -> Rule {
    let name = member(name);
    rule(move |facts, occasion| match facts.members.get(&name) {
        Some(known) => member::arrived(facts, occasion, &name, known.incarnation),
        None => Ok(Decision::nothing(facts)),
    })
}

pub(crate) fn registration(name: &str, instance: Uuid) -> Registration {
    let lease = SignedDuration::try_from(LEASE).expect("a duration");
    Registration { member: member(name), instance, address: format!("{name}:1"), lease }
}

pub(crate) fn report_of(snapshot: &SnapshotFacts, objects: Vec<ObjectEntry>) -> PartReport {
    let (epoch, generation) = (snapshot.epoch.expect("an epoch"), snapshot.generation);
    PartReport {
        snapshot: snapshot.id,
        epoch,
        generation,
        objects,
        sent: Vec::new(),
        received: Vec::new(),
        recorded: Vec::new(),
        logged: Vec::new(),
        peers: Vec::new(),
    }
}

/// The object that a member's part of a snapshot consists of.
pub(crate) fn object(cluster: &ClusterName, snapshot: SnapshotId, member: &MemberName, incarnation: Incarnation) -> ObjectEntry {
    let key = ObjectKey::state_key(cluster, snapshot, member, incarnation);
    let digest = Digest::of(member.as_str().as_bytes());
    ObjectEntry { role: Role::State, place: Place::Key(key), bytes: 100, digest, encoding: Encoding::Raw, plain_bytes: 100 }
}

/// The verdict on parts without a message.
pub(crate) fn verdict(snapshot: &SnapshotFacts) -> snapshot::Verdict {
    let generation = snapshot.generation;
    let view: Vec<ViewMember> = snapshot
        .view
        .iter()
        .map(|(member, incarnation)| ViewMember { member: member.clone(), incarnation: *incarnation })
        .collect();
    let part = |v: &ViewMember| PartCounters {
        member: v.member.clone(),
        incarnation: v.incarnation,
        generation,
        sent: Vec::new(),
        received: Vec::new(),
        recorded: Vec::new(),
        logged: Vec::new(),
        peers: Vec::new(),
    };
    certificate::verify(generation, &view, &view.iter().map(part).collect::<Vec<_>>())
}

pub(crate) fn fault<T: std::fmt::Debug>(result: Result<T, TransactError>) -> String {
    match result {
        Err(TransactError::Store(StoreError::Fault { reason })) => reason,
        other => panic!("expected a fault, found {other:?}"),
    }
}

impl Subject {
    pub(crate) async fn try_transact(&self, scope: Scope, rule: Rule) -> Result<Transition, TransactError> {
        self.store().transact(&bank(), scope, rule).await
    }

    pub(crate) async fn transact(&self, scope: Scope, rule: Rule) -> Transition {
        self.try_transact(scope, rule).await.expect("carried out")
    }

    pub(crate) async fn decide(&self, rule: Rule) -> Transition {
        self.transact(Scope::default(), rule).await
    }

    pub(crate) async fn facts(&self) -> Facts {
        self.store().facts(&bank()).await.expect("facts").expect("the cluster")
    }

    /// Everything that is told of the cluster's facts and its audit, to see that nothing was changed.
    pub(crate) async fn everything(&self) -> (Facts, u64) {
        let heads = self.store().audit_heads(Some(&bank())).await.expect("heads");
        (self.facts().await, heads.first().map_or(0, |head| head.head.seq))
    }

    pub(crate) async fn create(&self, min_members: u32) {
        self.create_with(CreateCluster::new(bank(), min_members)).await;
    }

    pub(crate) async fn create_with(&self, settings: CreateCluster) {
        assert!(self.store().create_cluster(&settings, None).await.expect("a cluster").1);
    }

    pub(crate) async fn register(&self, name: &str) -> MemberFacts {
        let registration = registration(name, Uuid::now_v7());
        self.decide(rule(move |facts, occasion| member::register(facts, occasion, &registration))).await;
        self.decide(arriving(name)).await.facts.members[&member(name)].clone()
    }

    pub(crate) async fn lose(&self, name: &str) -> Transition {
        let name = member(name);
        let lost = move |facts: &Facts, occasion: &Occasion| {
            let incarnation = facts.members[&name].incarnation;
            member::lost(facts, occasion, &name, incarnation, Evidence::Closed { holder: Uuid::nil() })
        };
        self.decide(sure(lost)).await
    }

    /// A running cluster of so many members `p1`, `p2`, ..., with its automatic first snapshot being recorded.
    pub(crate) async fn running(&self, members: u32) -> SnapshotId {
        self.running_with(CreateCluster::new(bank(), members)).await
    }

    pub(crate) async fn running_with(&self, settings: CreateCluster) -> SnapshotId {
        let members = settings.min_members;
        self.create_with(settings).await;
        for n in 1..=members {
            self.register(&format!("p{n}")).await;
        }
        self.recording().await
    }

    /// The snapshot that is being recorded.
    pub(crate) async fn recording(&self) -> SnapshotId {
        let recording = self.facts().await.snapshots.into_iter().find(|s| s.state == SnapshotState::Recording);
        recording.expect("a snapshot that is recorded").id
    }

    /// Asks for a snapshot.
    pub(crate) async fn take(&self) -> SnapshotId {
        let request = snapshot::Request { trigger: Trigger::Request, labels: BTreeMap::new(), timeout_ms: None };
        let occasion = occasion();
        let id = occasion.snapshot;
        self.decide(stamping(move |facts| snapshot::request(facts, &occasion, request.clone()).map(Outcome::from))).await;
        id
    }

    pub(crate) async fn snapshot(&self, id: SnapshotId) -> SnapshotFacts {
        self.store().snapshot(id).await.expect("a snapshot").expect("it is known").facts
    }

    /// A member's part of a snapshot, as it is wanted.
    pub(crate) async fn part(&self, id: SnapshotId, name: &str) -> PartRow {
        let snapshot = self.snapshot(id).await;
        let (name, incarnation) = (member(name), snapshot.view[&member(name)]);
        let report = report_of(&snapshot, vec![object(&bank(), id, &name, incarnation)]);
        PartRow { cluster: bank(), member: name, incarnation, report }
    }

    pub(crate) async fn report(&self, id: SnapshotId, name: &str) {
        let row = self.part(id, name).await;
        let taken = self.store().insert_parts(&[row]).await.expect("taken");
        assert_eq!(taken.there, [(id, member(name))]);
    }

    pub(crate) async fn report_all(&self, id: SnapshotId) {
        for name in self.snapshot(id).await.view.keys() {
            self.report(id, name.as_str()).await;
        }
    }

    pub(crate) async fn certify(&self, id: SnapshotId) {
        let verdict = verdict(&self.snapshot(id).await);
        let done =
            self.transact(about(id), sure(move |facts, occasion| snapshot::certified(facts, occasion, id, &verdict))).await;
        assert!(done.changed);
    }

    /// Has a snapshot committed that is being recorded.
    pub(crate) async fn commit(&self, id: SnapshotId) {
        self.report_all(id).await;
        self.commit_parts(id).await;
    }

    /// Has a snapshot committed whose parts are all there.
    pub(crate) async fn commit_parts(&self, id: SnapshotId) {
        self.certify(id).await;
        let digest = Digest::of(b"manifest");
        let done = self.transact(about(id), sure(move |facts, occasion| snapshot::committed(facts, occasion, id, &digest))).await;
        assert!(done.changed);
    }

    pub(crate) async fn update_min_members(&self, min_members: u32) {
        let changes = settings::Changes { min_members: Some(min_members), ..settings::Changes::default() };
        self.decide(rule(move |facts, occasion| settings::update_cluster(facts, occasion, changes, None))).await;
    }

    /// One more committed snapshot.
    pub(crate) async fn committed(&self) -> SnapshotId {
        let id = self.take().await;
        self.commit(id).await;
        id
    }

    pub(crate) async fn abort(&self, id: SnapshotId) {
        self.transact(about(id), rule(move |facts, occasion| snapshot::abort(facts, occasion, id, None))).await;
    }
}
