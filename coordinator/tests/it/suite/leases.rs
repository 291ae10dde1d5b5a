//! Leases are renewed by whoever holds them, or taken over; those that ran out are told.

use std::time::Duration;

use stillframe_coordinator::{
    decide::member::{self, Evidence},
    store::{LeaseKey, Renewal},
};
use stillframe_protocol::Incarnation;
use uuid::Uuid;

use super::{
    steps::{LEASE, bank, member, sure},
    subject::Subject,
};

fn key(name: &str, incarnation: u64) -> LeaseKey {
    (bank(), member(name), Incarnation(incarnation))
}

async fn renew(s: &Subject, holder: Uuid, name: &str, incarnation: u64, take: bool) {
    let renewal = Renewal { lease: key(name, incarnation), take };
    s.store().renew_leases(holder, LEASE, &[renewal]).await.expect("renewed");
}

async fn expired(s: &Subject) -> Vec<LeaseKey> {
    let mut expired = s.store().expired_leases().await.expect("a list");
    expired.sort();
    expired
}

async fn holder(s: &Subject, name: &str) -> Option<Uuid> {
    s.facts().await.members[&member(name)].holder
}

pub(super) async fn a_lease_runs_out_unless_it_is_renewed(s: &Subject) {
    s.running(2).await;
    assert!(expired(s).await.is_empty());
    s.pass(LEASE / 2).await;
    renew(s, Uuid::now_v7(), "p1", 1, true).await;
    s.pass(LEASE / 2).await;
    assert_eq!(expired(s).await, [key("p2", 1)], "exactly when it is over");
    s.pass(LEASE / 2).await;
    assert_eq!(expired(s).await, [key("p1", 1), key("p2", 1)]);
    let rows = s.store().members(&bank(), None, 10).await.expect("a list");
    let since = |n: usize| rows[n].lease_expires_at.duration_since(rows[n].last_seen_at);
    assert_eq!((since(0), since(1)), (LEASE.try_into().expect("short"), LEASE.try_into().expect("short")));
}

pub(super) async fn only_the_holder_renews_a_lease_and_anybody_takes_it_over(s: &Subject) {
    s.running(1).await;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    renew(s, one, "p1", 1, false).await;
    assert_eq!(holder(s, "p1").await, None, "nobody's isn't anybody's");
    renew(s, one, "p1", 1, true).await;
    assert_eq!(holder(s, "p1").await, Some(one));
    s.pass(LEASE).await;
    renew(s, other, "p1", 1, false).await;
    assert_eq!(expired(s).await, [key("p1", 1)]);
    renew(s, one, "p1", 1, false).await;
    assert!(expired(s).await.is_empty());
    renew(s, other, "p1", 1, true).await;
    assert_eq!(holder(s, "p1").await, Some(other));
}

pub(super) async fn the_lease_of_an_older_incarnation_is_not_renewed(s: &Subject) {
    s.running(1).await;
    let mine = Uuid::now_v7();
    renew(s, mine, "p1", 1, true).await;
    s.pass(LEASE / 2).await;
    s.register("p1").await;
    assert_eq!(holder(s, "p1").await, None, "a new registration has a lease of its own");
    renew(s, mine, "p1", 1, true).await;
    assert_eq!(holder(s, "p1").await, None);
    s.pass(LEASE / 2).await;
    assert!(expired(s).await.is_empty(), "it began anew");
    s.pass(LEASE / 2).await;
    assert_eq!(expired(s).await, [key("p1", 2)]);
}

pub(super) async fn a_renewal_is_no_transition_and_one_that_changes_the_member_leaves_it(s: &Subject) {
    s.running(2).await;
    let before = s.everything().await;
    let mine = Uuid::now_v7();
    renew(s, mine, "p1", 1, true).await;
    let after = s.everything().await;
    assert_eq!((after.0.cluster, after.1), (before.0.cluster, before.1));
    s.lose("p2").await;
    assert_eq!(holder(s, "p1").await, Some(mine));
}

pub(super) async fn a_member_that_is_lost_is_not_told_again(s: &Subject) {
    s.running(2).await;
    s.pass(LEASE + Duration::from_millis(1)).await;
    let lost = move |name: &'static str| {
        sure(move |facts, o| member::lost(facts, o, &member(name), Incarnation(1), Evidence::LeaseExpired))
    };
    assert!(s.decide(lost("p1")).await.changed);
    assert_eq!(expired(s).await, [key("p2", 1)]);
    renew(s, Uuid::now_v7(), "p2", 1, true).await;
    assert!(!s.decide(lost("p2")).await.changed, "it was renewed in between");
}

pub(super) async fn leases_that_nobody_knows_are_passed_over(s: &Subject) {
    s.running(1).await;
    let renewals = [("p9", 1), ("p1", 9), ("p1", 1)].map(|(name, n)| Renewal { lease: key(name, n), take: true });
    let mine = Uuid::now_v7();
    s.store().renew_leases(mine, LEASE, &renewals).await.expect("renewed");
    assert_eq!(holder(s, "p1").await, Some(mine));
    assert_eq!(s.facts().await.members.len(), 1);
}
