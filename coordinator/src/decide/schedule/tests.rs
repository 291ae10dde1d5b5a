//! What is promised of schedules: slots, jitter, what overlaps, what was missed, pauses.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stillframe_api::{
    cluster::OnLoss,
    schedule::{Misfire, OnOverlap},
    snapshot::{SnapshotState, Trigger},
};
use stillframe_protocol::{ClusterName, SnapshotId, name::ScheduleName};

use super::{
    Slot, fire,
    manage::{self, Pause, Wanted},
    timing::{Due, Timing},
};
use crate::decide::{Decision, Facts, Occasion, Refusal, facts::ScheduleFacts, settings::Changes, world::World};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).expect("a time")
}

fn wanted(every_ms: u64) -> Wanted {
    Wanted {
        name: ScheduleName::new("often").expect("a name"),
        every_ms: Some(every_ms),
        cron: None,
        time_zone: "UTC".to_owned(),
        jitter_ms: 0,
        min_pause_ms: 0,
        timeout_ms: None,
        labels: BTreeMap::from([("by".to_owned(), "often".to_owned())]),
        on_overlap: OnOverlap::Skip,
        misfire: Misfire::Skip,
    }
}

fn by_cron(text: &str) -> Wanted {
    Wanted { every_ms: None, cron: Some(text.to_owned()), ..wanted(1) }
}

fn every(every_ms: u64, jitter_ms: u64, anchor: Timestamp) -> Timing {
    let (cluster, name) = (ClusterName::new("bank").expect("a name"), ScheduleName::new("often").expect("a name"));
    Timing::new(&cluster, &name, (Some(every_ms), None), "UTC", jitter_ms, anchor).expect("an interval")
}

/// A cluster of two that has taken its first snapshot, with a schedule.
struct Scheduled {
    world: World,
    schedule: Option<ScheduleFacts>,
    slots: Vec<Slot>,
}

impl Scheduled {
    fn new(wanted: &Wanted) -> Self {
        let mut world = World::new(2, OnLoss::RestoreLatest);
        (0..2).for_each(|n| world.register(n));
        world.report_all();
        world.commit(false);
        let mut scheduled = Self { world, schedule: None, slots: Vec::new() };
        scheduled.set(wanted).expect("set");
        scheduled
    }

    fn decide(&mut self, rule: impl Fn(&Facts, &Occasion) -> Result<Decision, Refusal>) -> Result<(), Refusal> {
        let schedule = self.schedule.clone();
        let next = std::cell::RefCell::new(schedule.clone());
        self.world.decide_with(
            |facts| facts.schedule.clone_from(&schedule),
            |facts, occasion| {
                let decision = rule(facts, occasion)?;
                next.borrow_mut().clone_from(&decision.next.schedule);
                Ok(decision)
            },
        )?;
        self.schedule = next.into_inner();
        Ok(())
    }

    fn set(&mut self, wanted: &Wanted) -> Result<(), Refusal> {
        self.decide(|facts, occasion| manage::set(facts, occasion, wanted))
    }

    fn it(&self) -> &ScheduleFacts {
        self.schedule.as_ref().expect("a schedule")
    }

    /// Lets the time come, and decides what is due.
    fn pass(&mut self, ms: i64) -> Option<Slot> {
        self.world.advance(ms);
        let slot = std::cell::RefCell::new(None);
        self.decide(|facts, occasion| {
            Ok(match fire::fire(facts, occasion)? {
                Some((decision, fired)) => {
                    *slot.borrow_mut() = fired;
                    decision
                }
                None => Decision::nothing(facts),
            })
        })
        .expect("no refusal");
        let slot = slot.into_inner();
        self.slots.extend(slot.clone());
        let decided: Vec<Timestamp> = self.slots.iter().map(|slot| slot.at).collect();
        assert!(decided.windows(2).all(|pair| pair[0] < pair[1]), "a slot was decided twice: {decided:?}");
        slot
    }

    fn finish(&mut self) {
        self.world.report_all();
        self.world.commit(false);
    }

    fn of_schedule(&self) -> Vec<SnapshotId> {
        let own = |s: &&crate::decide::facts::SnapshotFacts| matches!(&s.trigger, Trigger::Schedule { .. });
        self.world.all.values().filter(own).map(|s| s.id).collect()
    }
}

proptest! {
    #[test]
    fn at_an_interval_the_next_slot_is_on_the_grid_and_the_first_later_one(every_ms in 50u64..100_000, look in -1_000_000i64..1_000_000) {
        let next = every(every_ms, 0, Timestamp::UNIX_EPOCH).slot_after(at(look)).expect("a slot");
        let every_ms = i64::try_from(every_ms).expect("small");
        prop_assert_eq!(next.as_millisecond().rem_euclid(every_ms), 0);
        prop_assert!(next > at(look) && next.as_millisecond() - every_ms <= look);
    }

    #[test]
    fn jitter_is_the_same_each_time_and_never_reaches_the_next_slot(every_ms in 50u64..100_000, jitter in 0u64..200_000, n in 0i64..1_000) {
        let timing = every(every_ms, jitter, Timestamp::UNIX_EPOCH);
        let every_ms = i64::try_from(every_ms).expect("small");
        let slot = at(n * every_ms);
        let fires = timing.fires_at(slot);
        prop_assert_eq!(fires, timing.fires_at(slot));
        prop_assert!(fires >= slot && fires.duration_since(slot).as_millis() <= i128::from(jitter));
        prop_assert!(fires < at((n + 1) * every_ms) && fires <= timing.fires_at(at((n + 1) * every_ms)));
    }

    #[test]
    fn whatever_is_due_the_newest_is_the_last_whose_time_has_come_and_none_is_lost_count_of(
        every_ms in 50u64..5_000, jitter in 0u64..6_000, late in -5_000i64..200_000,
    ) {
        let timing = every(every_ms, jitter, Timestamp::UNIX_EPOCH);
        let (slot, now) = (Timestamp::UNIX_EPOCH, at(late));
        let passed: Vec<Timestamp> = timing.slots_from(slot).take_while(|(_, fires)| *fires <= now).map(|(slot, _)| slot).collect();
        let expected = passed.last().map(|newest| Due {
            newest: *newest,
            before: passed.len() as u64 - 1,
            next: timing.slot_after(*newest).expect("one more"),
        });
        prop_assert_eq!(timing.due(slot, now), expected);
    }
}

#[test]
fn jitter_spreads_the_slots() {
    let timing = every(60_000, 30_000, Timestamp::UNIX_EPOCH);
    let parts: std::collections::BTreeSet<i64> = timing
        .slots_from(Timestamp::UNIX_EPOCH)
        .take(200)
        .map(|(slot, fires)| (fires.as_millisecond() - slot.as_millisecond()) / 3_000)
        .collect();
    assert_eq!(parts.len(), 10, "{parts:?}");
}

#[test]
fn a_slot_takes_a_snapshot_with_the_schedules_labels_and_the_next_is_set() {
    let mut scheduled = Scheduled::new(&wanted(1_000));
    assert_eq!(scheduled.it().next_at, at(1_000));
    assert_eq!(scheduled.pass(999), None);
    let slot = scheduled.pass(1).expect("a slot");
    assert_eq!((slot.at, slot.skip), (at(1_000), None));
    let taken = &scheduled.world.all[&slot.snapshot.expect("a snapshot")];
    assert_eq!(taken.labels, BTreeMap::from([("by".to_owned(), "often".to_owned())]));
    assert_eq!((scheduled.it().next_at, scheduled.it().last_slot_at, scheduled.it().missed), (at(2_000), Some(at(1_000)), 0));
    assert_eq!(scheduled.pass(0), None, "a slot fires once");
}

#[test]
fn a_slot_that_overlaps_is_skipped_or_waits_its_turn_but_never_twice() {
    let mut skipping = Scheduled::new(&wanted(100));
    skipping.pass(100);
    let skip = skipping.pass(100).expect("a slot").skip.expect("a reason");
    assert!(skip.contains("under way"), "{skip}");

    let mut queueing = Scheduled::new(&Wanted { on_overlap: OnOverlap::Queue, ..wanted(100) });
    queueing.pass(100);
    assert_eq!(queueing.pass(100).expect("a slot").skip, None);
    let skip = queueing.pass(100).expect("a slot").skip.expect("a reason");
    assert!(skip.contains("still waits"), "{skip}");
    assert_eq!(queueing.of_schedule().len(), 2);
    queueing.finish();
    assert!(queueing.world.all.values().any(|s| s.state == SnapshotState::Recording));
}

#[test]
fn with_more_slots_of_the_cluster_schedules_overlap_as_long_as_there_are_some() {
    let mut scheduled = Scheduled::new(&wanted(100));
    scheduled.world.update(Changes { max_concurrent: Some(2), ..Changes::default() });
    assert!(scheduled.pass(100).expect("a slot").snapshot.is_some());
    assert!(scheduled.pass(100).expect("a slot").snapshot.is_some());
    assert!(scheduled.pass(100).expect("a slot").skip.is_some());
}

#[test]
fn pauses_between_snapshots_hold_for_slots() {
    let mut own = Scheduled::new(&Wanted { min_pause_ms: 150, on_overlap: OnOverlap::Queue, ..wanted(100) });
    let skip = own.pass(100).expect("a slot").skip.expect("a reason");
    assert!(skip.contains("the schedule's min_pause"), "{skip}");
    assert!(own.pass(100).expect("a slot").snapshot.is_some());

    let mut clusters = Scheduled::new(&wanted(100));
    clusters.world.update(Changes { min_pause_ms: Some(150), ..Changes::default() });
    let skip = clusters.pass(100).expect("a slot").skip.expect("a reason");
    assert!(skip.contains("the cluster's min_pause"), "{skip}");
    assert!(clusters.pass(100).expect("a slot").snapshot.is_some());
}

#[test]
fn a_slot_that_comes_while_a_member_is_lost_says_who() {
    let mut scheduled = Scheduled::new(&Wanted { on_overlap: OnOverlap::Queue, ..wanted(100) });
    scheduled.world.lose(1);
    let skip = scheduled.pass(100).expect("a slot").skip.expect("a reason");
    assert!(skip.contains("p1 is lost"), "{skip}");
}

const HOUR: i64 = 3_600_000;

#[test]
fn after_an_outage_slots_are_counted_and_skipped() {
    let mut scheduled = Scheduled::new(&wanted(3_600_000));
    // Slots at 1, 2, 3 h; the last of them half an hour ago.
    let slot = scheduled.pass(3 * HOUR + HOUR / 2).expect("a decision");
    assert_eq!((slot.at, slot.snapshot), (at(3 * HOUR), None));
    assert!(slot.skip.expect("why").contains("missed"));
    let it = scheduled.it();
    assert_eq!((it.missed, it.last_missed_at, it.next_at), (3, Some(at(3 * HOUR)), at(4 * HOUR)));
    assert!(scheduled.pass(HOUR / 2).expect("a slot").snapshot.is_some());
    assert_eq!(scheduled.it().missed, 3);
}

#[test]
fn after_an_outage_one_snapshot_is_taken_for_all_that_were_missed() {
    let mut scheduled = Scheduled::new(&Wanted { misfire: Misfire::Once, ..wanted(3_600_000) });
    let slot = scheduled.pass(3 * HOUR + HOUR / 2).expect("a decision");
    assert!(slot.snapshot.is_some());
    assert_eq!((scheduled.it().missed, scheduled.it().next_at), (3, at(4 * HOUR)));
    assert_eq!(scheduled.pass(1_000), None, "once");
    assert_eq!(scheduled.of_schedule().len(), 1);
}

#[test]
fn a_slot_that_is_only_late_fires_whatever_became_of_those_before() {
    let mut scheduled = Scheduled::new(&wanted(3_600_000));
    let slot = scheduled.pass(3 * HOUR + 59_000).expect("a decision");
    assert_eq!(slot.at, at(3 * HOUR));
    assert!(slot.snapshot.is_some());
    assert_eq!((scheduled.it().missed, scheduled.it().last_missed_at), (2, Some(at(2 * HOUR))));
}

#[test]
fn an_outage_of_years_is_got_over() {
    let mut scheduled = Scheduled::new(&by_cron("* * * * *"));
    let slot = scheduled.pass(24 * HOUR * 1_000 + 1).expect("a decision");
    assert_eq!(slot.at, at(24 * HOUR * 1_000));
    assert!(scheduled.it().missed >= 10_000);
    assert_eq!(scheduled.it().next_at, at(24 * HOUR * 1_000 + 60_000));
}

#[test]
fn a_pause_holds_until_its_end_and_counts_nothing_as_missed() {
    let mut scheduled = Scheduled::new(&wanted(1_000));
    scheduled.decide(|facts, occasion| manage::pause(facts, occasion, Pause::UntilResumed)).expect("paused");
    assert_eq!(scheduled.pass(10_500), None);
    scheduled.decide(manage::resume).expect("resumed");
    assert_eq!((scheduled.it().next_at, scheduled.it().missed), (at(11_000), 0));

    scheduled.decide(|facts, occasion| manage::pause(facts, occasion, Pause::For(SignedDuration::from_secs(5)))).expect("paused");
    assert_eq!((scheduled.it().paused_until, scheduled.it().next_at), (Some(at(15_500)), at(16_000)));
    assert!(scheduled.it().is_paused(at(15_499)) && !scheduled.it().is_paused(at(15_500)));
    assert_eq!(scheduled.pass(5_499), None);
    assert!(scheduled.pass(1).expect("a slot").snapshot.is_some());
    assert_eq!((scheduled.it().missed, scheduled.it().paused_until), (0, None));

    let past = scheduled.decide(|facts, occasion| manage::pause(facts, occasion, Pause::Until(at(1)))).expect_err("it is past");
    assert!(past.to_string().contains("later than now"), "{past}");
}

#[test]
fn a_slot_exactly_at_the_end_of_a_pause_fires() {
    let mut scheduled = Scheduled::new(&wanted(1_000));
    scheduled.decide(|facts, occasion| manage::pause(facts, occasion, Pause::Until(at(5_000)))).expect("paused");
    assert_eq!(scheduled.it().next_at, at(5_000));
}

#[test]
fn one_that_is_not_paused_is_resumed_without_a_change() {
    let mut scheduled = Scheduled::new(&wanted(1_000));
    let before = scheduled.it().clone();
    scheduled.decide(manage::resume).expect("fine");
    assert_eq!(scheduled.it(), &before);
}

#[test]
fn triggered_it_takes_a_snapshot_and_no_slot_also_while_it_is_paused() {
    let mut scheduled = Scheduled::new(&wanted(1_000));
    scheduled.decide(|facts, occasion| manage::pause(facts, occasion, Pause::UntilResumed)).expect("paused");
    scheduled.decide(manage::trigger).expect("a snapshot");
    let taken = scheduled.of_schedule();
    assert_eq!((taken.len(), scheduled.it().last_snapshot), (1, taken.first().copied()));
    assert!(scheduled.it().paused && scheduled.it().last_slot_at.is_none());
    scheduled.world.lose(0);
    scheduled.decide(manage::trigger).expect_err("a member is lost");
}

#[test]
fn a_change_that_leaves_the_times_leaves_the_next_slot_and_others_begin_anew() {
    let mut scheduled = Scheduled::new(&wanted(1_000));
    scheduled.pass(2_300);
    let next = scheduled.it().next_at;
    scheduled.set(&Wanted { misfire: Misfire::Once, timeout_ms: Some(5_000), ..wanted(1_000) }).expect("set");
    assert_eq!((scheduled.it().next_at, scheduled.it().timeout_ms), (next, Some(5_000)));
    scheduled.set(&wanted(5_000)).expect("set");
    assert_eq!(scheduled.it().next_at, at(7_300));
    scheduled.decide(|facts, occasion| manage::pause(facts, occasion, Pause::UntilResumed)).expect("paused");
    scheduled.set(&by_cron("@hourly")).expect("set");
    assert!(scheduled.it().paused, "a pause stays");
    assert_eq!((scheduled.it().next_at, scheduled.it().created_at), (at(HOUR), Timestamp::UNIX_EPOCH));
}

#[test]
fn set_again_after_it_was_deleted_it_decides_no_slot_twice() {
    let mut scheduled = Scheduled::new(&by_cron("* * * * *"));
    scheduled.pass(60_000).expect("a slot");
    scheduled.decide(manage::delete).expect("deleted");
    assert_eq!(scheduled.schedule, None);
    scheduled.decide(manage::delete).expect_err("it is gone");
    scheduled.set(&by_cron("* * * * *")).expect("set");
    assert_eq!(scheduled.pass(0), None);
    assert_eq!(scheduled.pass(60_000).expect("a slot").at, at(120_000));
}

#[test]
fn what_names_no_times_is_refused_with_what_was_expected() {
    let mut scheduled = Scheduled::new(&wanted(1_000));
    for (wanted, says) in [
        (wanted(1), "at least 50ms, found 1ms"),
        (Wanted { every_ms: None, ..wanted(1) }, "exactly one"),
        (Wanted { cron: Some("@daily".to_owned()), ..wanted(1_000) }, "exactly one"),
        (by_cron(""), "names times"),
        (by_cron("never"), "names times"),
        (by_cron("61 * * * *"), "names times"),
        (by_cron("* * * *"), "names times"),
        (by_cron("* * * * * *"), "names times"),
        (by_cron("0 0 30 2 *"), "names none"),
        (by_cron(&"1,".repeat(200)), "200 bytes"),
        (Wanted { time_zone: "Europe/Atlantis".to_owned(), ..by_cron("@daily") }, "IANA name"),
        (Wanted { time_zone: "CEST".to_owned(), ..by_cron("@daily") }, "IANA name"),
        (Wanted { time_zone: String::new(), ..by_cron("@daily") }, "IANA name"),
    ] {
        let refused = scheduled.set(&wanted).expect_err(says);
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[test]
fn a_schedule_whose_zone_is_not_known_any_more_is_paused_rather_than_tried_for_ever() {
    let mut scheduled = Scheduled::new(&by_cron("@daily"));
    if let Some(schedule) = scheduled.schedule.as_mut() {
        schedule.time_zone = "Europe/Atlantis".to_owned();
    }
    assert_eq!(scheduled.pass(24 * HOUR), None);
    assert!(scheduled.it().paused && scheduled.it().last_skip.as_ref().is_some_and(|why| why.contains("Atlantis")));
}
