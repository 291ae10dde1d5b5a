//! What is due is told, and how long until the next is.

use std::{sync::Arc, time::Duration};

use stillframe_api::{
    cluster::CreateCluster,
    schedule::{Misfire, OnOverlap},
    snapshot::Trigger,
};
use stillframe_coordinator::{
    decide::{
        Facts,
        restore::{self, Ask, Target},
        schedule::{Slot, fire::fire, manage},
        snapshot,
    },
    store::{Due, Outcome, Rule, Scope},
};
use stillframe_protocol::{ClusterName, SnapshotId, name::ScheduleName};
use uuid::Uuid;

use super::{
    steps::{about, bank, cluster, fault, occasion, rule, stamping, sure},
    subject::Subject,
};

fn name(name: &str) -> ScheduleName {
    ScheduleName::new(name).expect("a name")
}

fn of(schedule: &str) -> Scope {
    Scope { schedule: Some(name(schedule)), ..Scope::default() }
}

async fn set(s: &Subject, schedule: &str, every_ms: u64) {
    let wanted = manage::Wanted {
        name: name(schedule),
        every_ms: Some(every_ms),
        cron: None,
        time_zone: "UTC".to_owned(),
        jitter_ms: 0,
        min_pause_ms: 0,
        timeout_ms: Some(9_000),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        on_overlap: OnOverlap::Skip,
        misfire: Misfire::Skip,
    };
    s.transact(of(schedule), rule(move |facts, occasion| manage::set(facts, occasion, &wanted))).await;
}

/// Decides the slot that is due.
fn firing() -> Rule {
    let occasion = occasion();
    stamping(move |facts: &Facts| {
        let (decision, slot) = fire(facts, &occasion)?.expect("a slot is due");
        Ok(Outcome { decision, slot })
    })
}

async fn deadlines(s: &Subject) -> Due<ClusterName> {
    s.store().deadlines().await.expect("told")
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) async fn nothing_is_due_where_nothing_is_under_way(s: &Subject) {
    s.create(1).await;
    assert_eq!(deadlines(s).await, Due { now: vec![], next_in: None });
    assert_eq!(s.store().due_schedules().await.expect("told"), Due { now: vec![], next_in: None });
}

pub(super) async fn a_snapshot_is_due_at_its_deadline(s: &Subject) {
    s.running_with(CreateCluster { snapshot_timeout: "10s".parse().expect("10s"), ..CreateCluster::new(bank(), 1) }).await;
    assert_eq!(deadlines(s).await, Due { now: vec![], next_in: Some(secs(10)) });
    s.pass(secs(4)).await;
    assert_eq!(deadlines(s).await, Due { now: vec![], next_in: Some(secs(6)) });
    s.pass(secs(6)).await;
    assert_eq!(deadlines(s).await, Due { now: vec![bank()], next_in: None });
    s.decide(sure(snapshot::deadlines)).await;
    assert_eq!(deadlines(s).await, Due { now: vec![], next_in: None });
}

pub(super) async fn a_snapshot_that_waits_for_a_pause_is_due_when_that_is_over(s: &Subject) {
    let settings = CreateCluster {
        min_pause: "20s".parse().expect("20s"),
        snapshot_timeout: "1m".parse().expect("1m"),
        max_concurrent: 2,
        ..CreateCluster::new(bank(), 1)
    };
    let first = s.running_with(settings).await;
    s.commit(first).await;
    s.pass(secs(5)).await;
    let second = s.take().await;
    assert_eq!(deadlines(s).await, Due { now: vec![], next_in: Some(secs(15)) });
    s.pass(secs(15)).await;
    assert_eq!(deadlines(s).await.now, [bank()]);
    s.decide(sure(snapshot::deadlines)).await;
    assert_eq!(s.recording().await, second);
}

pub(super) async fn a_restore_is_due_at_its_deadline(s: &Subject) {
    let id = s.running(1).await;
    s.commit(id).await;
    let ask = Ask {
        target: Target::Snapshot(id),
        trigger: Trigger::Request,
        timeout_ms: Some(7_000),
        fallback: 0,
        retries: 0,
        mapping: Default::default(),
    };
    s.transact(about(id), rule(move |facts, occasion| restore::start(facts, occasion, ask.clone()))).await;
    assert_eq!(deadlines(s).await, Due { now: vec![], next_in: Some(secs(7)) });
    s.pass(secs(7)).await;
    assert_eq!(deadlines(s).await.now, [bank()]);
}

pub(super) async fn of_several_clusters_each_is_told_once_the_most_overdue_first(s: &Subject) {
    for (name, timeout) in [("c1", "30s"), ("c2", "10s"), ("c3", "20s"), ("c4", "50s")] {
        let settings =
            CreateCluster { snapshot_timeout: timeout.parse().expect("a duration"), ..CreateCluster::new(cluster(name), 1) };
        s.store().create_cluster(&settings, None).await.expect("made");
        let registration = super::steps::registration("p1", Uuid::now_v7());
        let register = rule(move |facts, o| stillframe_coordinator::decide::member::register(facts, o, &registration));
        for rule in [register, super::steps::arriving("p1")] {
            s.store().transact(&cluster(name), Scope::default(), rule).await.expect("carried out");
        }
    }
    s.pass(secs(30)).await;
    let due = deadlines(s).await;
    assert_eq!(due, Due { now: ["c2", "c3", "c1"].map(cluster).to_vec(), next_in: Some(secs(20)) });
}

pub(super) async fn a_schedule_is_due_at_its_slot_and_not_while_it_is_paused(s: &Subject) {
    s.running(1).await;
    set(s, "often", 10_000).await;
    set(s, "rarely", 60_000).await;
    let due = async || s.store().due_schedules().await.expect("told");
    assert_eq!(due().await, Due { now: vec![], next_in: Some(secs(10)) });
    s.pass(secs(10)).await;
    assert_eq!(due().await, Due { now: vec![(bank(), name("often"))], next_in: Some(secs(50)) });
    s.transact(of("often"), rule(|facts, o| manage::pause(facts, o, manage::Pause::UntilResumed))).await;
    assert_eq!(due().await, Due { now: vec![], next_in: Some(secs(50)) });
}

pub(super) async fn a_slot_is_decided_at_most_once_whatever_a_replica_believes(s: &Subject) {
    s.running(1).await;
    set(s, "often", 10_000).await;
    s.pass(secs(10)).await;
    let done = s.transact(of("often"), firing()).await;
    let at = done.facts.schedule.expect("the schedule").last_slot_at.expect("a slot");
    let before = s.everything().await;
    let again: Rule = Arc::new(move |facts| {
        let mut next = facts.clone();
        next.cluster.version += 1;
        let slot = Slot { at, snapshot: None, skip: None };
        Ok(Outcome { decision: stillframe_coordinator::decide::Decision { next, audit: vec![] }, slot: Some(slot) })
    });
    fault(s.try_transact(of("often"), again.clone()).await);
    assert_eq!(s.everything().await, before);
    // Nor when the schedule is deleted and made again in between.
    s.transact(of("often"), rule(manage::delete)).await;
    set(s, "often", 10_000).await;
    fault(s.try_transact(of("often"), again.clone()).await);
    s.pass(secs(24 * 3600 - 1)).await;
    s.store().trim_slots().await.expect("trimmed");
    fault(s.try_transact(of("often"), again.clone()).await);
    s.pass(secs(2)).await;
    s.store().trim_slots().await.expect("trimmed");
    s.transact(of("often"), again).await;
}

pub(super) async fn of_two_replicas_that_decide_a_slot_one_does(s: &Subject) {
    s.running(1).await;
    set(s, "often", 10_000).await;
    s.pass(secs(10)).await;
    let occasion = || {
        let occasion = occasion();
        stamping(move |facts: &Facts| {
            Ok(match fire(facts, &occasion)? {
                Some((decision, slot)) => Outcome { decision, slot },
                None => stillframe_coordinator::decide::Decision::nothing(facts).into(),
            })
        })
    };
    let cluster = bank();
    let (one, other) = tokio::join!(
        s.store().transact(&cluster, of("often"), occasion()),
        s.other().await.transact(&cluster, of("often"), occasion())
    );
    assert!(one.expect("carried out").changed != other.expect("carried out").changed);
}

pub(super) async fn schedules_are_told_as_they_were_set_and_listed_by_name(s: &Subject) {
    s.running(1).await;
    for schedule in ["s3", "s1", "s2"] {
        set(s, schedule, 10_000).await;
    }
    let names = async |after, limit| -> Vec<String> {
        let rows = s.store().schedules(&bank(), after, limit).await.expect("a list");
        rows.into_iter().map(|row| row.facts.name.to_string()).collect()
    };
    assert_eq!(names(None, 2).await, ["s1", "s2"]);
    assert_eq!(names(Some("s2"), 2).await, ["s3"]);
    let row = s.store().schedule(&bank(), &name("s1")).await.expect("an answer").expect("it is there");
    assert_eq!((&row.cluster, row.now, row.facts.every_ms), (&bank(), s.now().await, Some(10_000)));
    let done = s.transact(of("s1"), sure(|facts, _| stillframe_coordinator::decide::Decision::nothing(facts))).await;
    assert_eq!(done.facts.schedule, Some(row.facts));
    s.transact(of("s1"), rule(manage::delete)).await;
    assert!(s.store().schedule(&bank(), &name("s1")).await.expect("an answer").is_none());
    assert_eq!(names(None, 9).await, ["s2", "s3"]);
    assert!(s.store().schedules(&cluster("other"), None, 9).await.expect("a list").is_empty());
}

pub(super) async fn a_slot_that_fires_takes_its_snapshot_in_the_same_transition(s: &Subject) {
    let first = s.running(1).await;
    s.commit(first).await;
    set(s, "often", 10_000).await;
    s.pass(secs(10)).await;
    s.transact(of("often"), firing()).await;
    let taken: SnapshotId = s.recording().await;
    let facts = s.snapshot(taken).await;
    assert_eq!((facts.timeout_ms, facts.own_timeout, facts.labels.len()), (9_000, true, 1));
    let schedule = s.store().schedule(&bank(), &name("often")).await.expect("an answer").expect("it is there").facts;
    assert_eq!((schedule.last_snapshot, schedule.last_slot_at), (Some(taken), Some(s.now().await)));
}
