//! Members that leave: what they counted at their end is kept, and is part of the snapshots that begin later.

use std::time::Duration;

use stillframe_coordinator::{
    decide::{
        Facts, Occasion,
        facts::{DepartureFacts, LeaveWish, Standing},
        leave::{self, Step},
        member::{self, Ask, Change},
    },
    store::CompleteSnapshot,
};
use stillframe_protocol::{Departed, Generation, Incarnation, Received, Sent, SeqRanges, SnapshotId};

use super::{
    steps::{bank, broken, fault, member, rule, sure},
    subject::Subject,
};
use stillframe_coordinator::store::Scope;

/// A member says something towards leaving.
async fn say(s: &Subject, name: &str, step: Step) {
    let name = member(name);
    let said = move |facts: &Facts, occasion: &Occasion| {
        let change = Change::Leave(name.clone(), facts.members[&name].incarnation, step.clone());
        member::together(facts, occasion, &[Ask { actor: "test".to_owned(), request_id: None, change }]).0
    };
    s.decide(sure(said)).await;
}

/// All that it takes: `p1` has sent it three messages, and received two.
async fn leave(s: &Subject, name: &str, others: &[&str]) -> Departed {
    let incarnation = s.facts().await.members[&member(name)].incarnation;
    let generation = Generation(1);
    say(s, name, Step::Wants { generation }).await;
    for other in others {
        let sent = if *other == "p1" { 3 } else { 0 };
        say(s, other, Step::Drained { generation, member: member(name), incarnation, sent }).await;
    }
    let sent = vec![Sent { to: member("p1"), messages: 2 }];
    let received = vec![Received { from: member("p1"), ranges: SeqRanges::prefix(3) }];
    say(s, name, Step::Ended { generation, sent: sent.clone(), received: received.clone() }).await;
    assert_eq!(s.facts().await.members[&member(name)].standing, Standing::Left);
    Departed { member: member(name), incarnation, sent, received }
}

/// Reports all parts; that of `p1` counts its channels with `p3`.
async fn complete(s: &Subject, id: SnapshotId) -> CompleteSnapshot {
    for name in s.snapshot(id).await.view.keys() {
        let mut row = s.part(id, name.as_str()).await;
        if name.as_str() == "p1" {
            row.report.sent = vec![Sent { to: member("p3"), messages: 3 }];
        }
        s.store().insert_parts(&[row]).await.expect("taken");
    }
    s.other().await.complete_snapshots(&[id]).await.expect("an answer").pop().expect("it is complete")
}

pub(super) async fn how_far_a_members_leaving_is_is_read_as_it_was_written(s: &Subject) {
    s.running(3).await;
    s.decide(rule(|facts, occasion| leave::ask(facts, occasion, &member("p3"), true))).await;
    assert_eq!(s.facts().await.members[&member("p3")].leave_wish, Some(LeaveWish::Forced));
    say(s, "p3", Step::Wants { generation: Generation(1) }).await;
    let drained = Step::Drained { generation: Generation(1), member: member("p3"), incarnation: Incarnation(1), sent: 7 };
    say(s, "p1", drained).await;
    let leaving = s.facts().await.members[&member("p3")].leaving.clone().expect("it is leaving");
    assert_eq!((leaving.since, leaving.drained[&member("p1")].sent), (s.now().await, 7));
    let rows = s.other().await.members(&bank(), None, 10).await.expect("rows");
    assert_eq!(rows[2].leaving.as_ref(), Some(&leaving));
    s.register("p3").await;
    let facts = s.facts().await;
    assert_eq!((&facts.members[&member("p3")].leaving, facts.members[&member("p3")].left), (&None, None));
}

pub(super) async fn what_one_counted_at_its_end_is_with_later_snapshots_that_count_it_and_with_no_other(s: &Subject) {
    let first = s.running(3).await;
    s.update_min_members(1).await;
    let counted = leave(s, "p3", &["p1", "p2"]).await;
    let listed = s.store().members(&bank(), None, 10).await.expect("rows");
    assert_eq!(listed.iter().map(|row| row.standing).collect::<Vec<_>>()[2], Standing::Left);
    let row = s.store().cluster(&bank()).await.expect("a row").expect("the cluster");
    assert_eq!((row.live_members, row.lost_members), (2, 0));
    // It was in the view of the first, which was being recorded: there it has a part.
    assert_eq!(complete(s, first).await.departed, []);
    s.commit_parts(first).await;
    let second = s.recording().await;
    let found = complete(s, second).await;
    assert_eq!((found.view.len(), &found.departed), (2, &vec![counted.clone()]));
    s.commit_parts(second).await;
    let third = s.take().await;
    s.report_all(third).await;
    let found = s.store().complete_snapshots(&[third]).await.expect("an answer").pop().expect("it is complete");
    assert_eq!(found.departed, [], "nobody counts it any more");
    s.commit_parts(third).await;
    s.pass(Duration::from_secs(1)).await;
    // It comes back: in the view, it speaks for itself. Then it leaves again, and only its newest end counts.
    s.register("p3").await;
    let with_it = s.recording().await;
    assert_eq!(complete(s, with_it).await.departed, []);
    s.commit_parts(with_it).await;
    let again = leave(s, "p3", &["p1", "p2"]).await;
    assert_eq!((counted.incarnation, again.incarnation), (Incarnation(1), Incarnation(2)));
    let without = s.recording().await;
    assert_eq!(complete(s, without).await.departed, [again]);
}

pub(super) async fn what_one_counted_at_its_end_never_changes(s: &Subject) {
    s.running(3).await;
    s.update_min_members(1).await;
    let counted = leave(s, "p3", &["p1", "p2"]).await;
    let before = s.everything().await;
    let again = broken(move |facts| {
        let (generation, left_at) = (Generation(1), facts.now);
        facts.departures.push(DepartureFacts { generation, left_at, counters: counted.clone() });
    });
    assert!(!fault(s.try_transact(Scope::default(), again).await).is_empty());
    let nameless = broken(|facts| facts.members.get_mut(&member("p3")).expect("it is there").left = None);
    assert!(!fault(s.try_transact(Scope::default(), nameless).await).is_empty());
    assert_eq!(s.everything().await, before);
}
