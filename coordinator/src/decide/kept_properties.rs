//! What must hold of retention, whatever the snapshots, the rules and the holds.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stillframe_api::{
    HumanDuration,
    retention::{Keep, Retention},
};
use stillframe_protocol::{Epoch, HoldId, RestoreId, SnapshotId};
use uuid::Uuid;

use super::{
    facts::{CommittedFacts, HoldFacts, KeptFacts},
    retention::{Needed, Verdict, judge},
};

fn at(minutes: i64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    begin.checked_add(SignedDuration::from_mins(minutes)).expect("a time")
}

fn id(n: usize) -> SnapshotId {
    SnapshotId(Uuid::from_u128(n as u128 + 1))
}

/// Snapshots taken at these minutes, held by (index, minute of expiry).
fn kept(minutes: &[i64], holds: &[(usize, Option<i64>)]) -> KeptFacts {
    let mut minutes = minutes.to_vec();
    minutes.sort_unstable();
    let committed =
        |(n, minute): (usize, &i64)| CommittedFacts { id: id(n), epoch: Epoch(n as u64 + 1), recording_at: at(*minute) };
    let hold = |(n, (snapshot, expires)): (usize, &(usize, Option<i64>))| HoldFacts {
        id: HoldId(Uuid::from_u128(n as u128)),
        snapshot: id(*snapshot),
        owner: "audit".to_owned(),
        reason: "quarter".to_owned(),
        created_at: at(0),
        expires_at: expires.map(at),
    };
    KeptFacts {
        committed: minutes.iter().enumerate().map(committed).collect(),
        holds: holds.iter().enumerate().map(hold).collect(),
        ..KeptFacts::default()
    }
}

fn stays(verdicts: &[Verdict]) -> BTreeSet<SnapshotId> {
    verdicts.iter().filter(|verdict| !verdict.keep.is_empty()).map(|verdict| verdict.snapshot).collect()
}

fn retention() -> impl Strategy<Value = Retention> {
    let count = || prop::option::of(1u32..12);
    let age = prop::option::of((1u64..20_000).prop_map(|minutes| HumanDuration::from_millis(minutes * 60_000)));
    (count(), age, count(), count(), count(), 1u32..5).prop_map(|(keep_last, keep_for, hourly, daily, weekly, floor)| Retention {
        keep_last,
        keep_for,
        hourly,
        daily,
        weekly,
        floor,
    })
}

/// One rule stricter than the other, or added to it.
fn grown(retention: Retention, which: u8, by: u32) -> Retention {
    let more = |count: Option<u32>| Some(count.unwrap_or(0) + by);
    match which {
        0 => Retention { keep_last: more(retention.keep_last), ..retention },
        1 => Retention { hourly: more(retention.hourly), ..retention },
        2 => Retention { daily: more(retention.daily), ..retention },
        3 => Retention { weekly: more(retention.weekly), ..retention },
        4 => Retention { floor: retention.floor + by, ..retention },
        _ => {
            let ms = retention.keep_for.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(0));
            Retention { keep_for: Some(HumanDuration::from_millis(ms + u64::from(by) * 60_000)), ..retention }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What a retention keeps, a larger one keeps too; never fewer than the floor stay; what is held, latest or restored stays.
    #[test]
    fn nothing_goes_that_anything_keeps(
        minutes in prop::collection::vec(0i64..40_000, 0..60),
        holds in prop::collection::vec((0usize..60, prop::option::of(0i64..60_000)), 0..5),
        retention in retention(),
        latest in prop::option::of(0usize..60),
        now in 40_000i64..60_000,
        which in 0u8..6,
        by in 1u32..10,
    ) {
        let kept = kept(&minutes, &holds);
        let needed = Needed { latest: latest.map(id), restore: None };
        let verdicts = judge(Some(&retention), &kept, needed, at(now));
        prop_assert_eq!(verdicts.len(), minutes.len());
        let stay = stays(&verdicts);
        prop_assert!(stay.len() >= minutes.len().min(retention.floor as usize), "the floor");
        for (snapshot, expires) in &holds {
            if *snapshot < minutes.len() && expires.is_none_or(|minute| now < minute) {
                prop_assert!(stay.contains(&id(*snapshot)), "a hold");
            }
        }
        if let Some(latest) = latest.filter(|latest| *latest < minutes.len()) {
            prop_assert!(stay.contains(&id(latest)), "the latest committed");
        }
        let larger = stays(&judge(Some(&grown(retention, which, by)), &kept, needed, at(now)));
        prop_assert!(stay.is_subset(&larger), "a larger rule lets go what a smaller one keeps");
        // Each rule keeps by itself what it keeps together with the others.
        let only = Retention { keep_for: None, hourly: None, daily: None, weekly: None, ..retention };
        prop_assert!(stays(&judge(Some(&only), &kept, needed, at(now))).is_subset(&stay));
        // A restore under way may come to need any of them; and without a retention nothing goes.
        let restoring = Needed { restore: Some(RestoreId(Uuid::nil())), ..needed };
        prop_assert_eq!(stays(&judge(Some(&retention), &kept, restoring, at(now))).len(), minutes.len());
        prop_assert_eq!(stays(&judge(None, &kept, needed, at(now))).len(), minutes.len());
    }

    /// To delete what goes and judge again lets nothing more go: a collection that is done is done.
    #[test]
    fn judging_again_what_is_left_lets_nothing_more_go(minutes in prop::collection::vec(0i64..40_000, 0..60), retention in retention()) {
        let mut kept = kept(&minutes, &[]);
        let first = stays(&judge(Some(&retention), &kept, Needed::default(), at(40_000)));
        kept.committed.retain(|committed| first.contains(&committed.id));
        prop_assert_eq!(stays(&judge(Some(&retention), &kept, Needed::default(), at(40_000))), first);
    }
}

#[test]
fn each_rule_keeps_what_it_says_and_says_so() {
    // Three in the first hour of a Thursday, one in the next hour, one on Sunday evening, one on Monday morning.
    let kept = kept(&[5, 10, 20, 70, 4 * 1440 - 10, 4 * 1440 + 10], &[]);
    let judged = |retention: Retention| judge(Some(&retention), &kept, Needed::default(), at(5 * 1440));
    let staying = |retention| stays(&judged(retention)).into_iter().collect::<Vec<_>>();
    let empty = Retention::empty();
    assert_eq!(staying(Retention { keep_last: Some(2), ..empty }), [id(4), id(5)]);
    assert_eq!(staying(Retention { keep_last: Some(1), floor: 3, ..empty }), [id(3), id(4), id(5)]);
    assert_eq!(staying(Retention { hourly: Some(3), ..empty }), [id(3), id(4), id(5)]);
    assert_eq!(staying(Retention { hourly: Some(9), ..empty }), [id(2), id(3), id(4), id(5)]);
    assert_eq!(staying(Retention { daily: Some(3), ..empty }), [id(3), id(4), id(5)]);
    assert_eq!(staying(Retention { weekly: Some(2), ..empty }), [id(4), id(5)]);
    let age = HumanDuration::from_millis(1440 * 60_000 + 10 * 60_000);
    assert_eq!(staying(Retention { keep_for: Some(age), ..empty }), [id(4), id(5)]);
    let both = judged(Retention { weekly: Some(2), daily: Some(1), ..empty });
    let monday = at(4 * 1440);
    assert_eq!(both[5].keep, [Keep::Floor, Keep::Daily { of: monday }, Keep::Weekly { of: monday }]);
    assert_eq!(both[4].keep, [Keep::Weekly { of: "2025-12-29T00:00:00Z".parse().expect("a Monday") }]);
}
