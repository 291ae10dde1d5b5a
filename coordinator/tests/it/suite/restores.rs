//! What a restore rests on is read with the facts.

use std::time::Duration;

use stillframe_api::{
    agent::PrepareProblem,
    cluster::{ClusterPhase, CreateCluster},
    restore::RestoreState,
    rollback::RollbackSettings,
    snapshot::Trigger,
};
use stillframe_coordinator::decide::restore::{self, Ask, Target, Word};
use stillframe_protocol::SnapshotId;

use super::{
    steps::{about, bank, member, rule, sure},
    subject::Subject,
};

async fn start(s: &Subject, id: SnapshotId, fallback: u32, mapping: restore::mapping::Mapping) {
    let (target, trigger) = (Target::Snapshot(id), Trigger::Request);
    let ask = Ask { target, trigger, timeout_ms: None, fallback, retries: 0, mapping };
    s.transact(about(id), rule(move |facts, occasion| restore::start(facts, occasion, ask.clone()))).await;
}

/// Every member says what it is asked for.
pub(super) async fn do_their_part(s: &Subject) {
    let facts = s.facts().await;
    let restore = facts.restore.expect("under way");
    let (id, generation) = (restore.id, restore.generation);
    let word = || match restore.state {
        RestoreState::Resuming => Word::Running { generation },
        _ => Word::Prepared { restore: id, generation, bytes: 1 },
    };
    let words: Vec<_> = restore.members.iter().map(|(name, m)| (name.clone(), m.incarnation, word())).collect();
    s.decide(sure(move |facts, o| restore::heard(facts, o, &words))).await;
}

pub(super) async fn a_restore_goes_from_preparing_to_completed_and_is_known_from_then_on(s: &Subject) {
    let id = s.running(2).await;
    s.commit(id).await;
    start(s, id, 0, Default::default()).await;
    let restore = s.facts().await.restore.expect("under way");
    assert_eq!((restore.state, restore.snapshot), (RestoreState::Preparing, id));
    assert_eq!(s.store().cluster(&bank()).await.expect("a row").expect("it").restore, Some(restore.id));
    for _ in 0..2 {
        do_their_part(s).await;
    }
    let facts = s.facts().await;
    assert_eq!((facts.restore, facts.cluster.phase), (None, ClusterPhase::Running));
    let ended = s.store().restore(restore.id).await.expect("a row").expect("it is known").facts;
    assert_eq!((ended.state, ended.ended_at), (RestoreState::Completed, Some(s.now().await)));
}

pub(super) async fn a_rollback_that_begins_is_counted_within_its_window(s: &Subject) {
    let rollback =
        RollbackSettings { limit: 3, window: "1m".parse().expect("1m"), backoff: "1ms".parse().expect("1ms"), fallback: 0 };
    let id = s.running_with(CreateCluster { rollback, ..CreateCluster::new(bank(), 1) }).await;
    s.commit(id).await;
    s.register("p1").await;
    let facts = s.facts().await;
    assert_eq!(facts.restore.as_ref().map(|restore| restore.trigger.clone()), Some(Trigger::Automatic));
    assert_eq!((facts.rollbacks.len(), facts.rollbacks[0].went_through), (1, false));
    for _ in 0..2 {
        do_their_part(s).await;
    }
    assert!(s.facts().await.rollbacks[0].went_through);
    s.pass(Duration::from_secs(60)).await;
    assert!(s.facts().await.rollbacks.is_empty());
}

pub(super) async fn what_proved_unreadable_is_known_and_where_to_fall_back_to(s: &Subject) {
    let first = s.running(1).await;
    s.commit(first).await;
    let second = s.committed().await;
    start(s, second, 1, Default::default()).await;
    let facts = s.facts().await;
    assert_eq!(facts.older.as_ref().map(|older| older.id), Some(first));
    let restore = facts.restore.expect("under way");
    let (problem, detail) = (PrepareProblem::Unreadable, "gone".to_owned());
    let word = Word::PrepareFailed { restore: restore.id, generation: restore.generation, attempt: 0, problem, detail };
    let words = [(member("p1"), facts.members[&member("p1")].incarnation, word)];
    s.decide(sure(move |facts, o| restore::heard(facts, o, &words))).await;
    let facts = s.facts().await;
    assert_eq!(facts.restore.as_ref().map(|restore| restore.snapshot), Some(first), "it fell back");
    let unreadable: Vec<_> = facts.unreadable.iter().map(|(id, found)| (*id, found.member.clone())).collect();
    assert_eq!(unreadable, [(second, member("p1"))]);
    assert!(facts.older.is_none(), "nothing is older");
}

pub(super) async fn members_that_have_other_names_are_found_by_them(s: &Subject) {
    let id = s.running(1).await;
    s.commit(id).await;
    s.register("p9").await;
    start(s, id, 0, [(member("p1"), member("p9"))].into()).await;
    for _ in 0..2 {
        do_their_part(s).await;
    }
    let facts = s.facts().await;
    assert_eq!(facts.latest_view.into_iter().collect::<Vec<_>>(), [member("p9")]);
    assert_eq!(facts.cluster.latest_mapping.into_iter().collect::<Vec<_>>(), [(member("p1"), member("p9"))]);
    let names: Vec<_> = s.store().members(&bank(), None, 9).await.expect("a list").into_iter().map(|row| row.name).collect();
    assert_eq!(names, [member("p9")], "who was put out isn't told of");
}
