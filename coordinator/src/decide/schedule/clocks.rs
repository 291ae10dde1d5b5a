//! Slots by the clock, where clocks are changed: the next is always later than the last, none that exists is left out, none comes twice. Compared
//! with what is found by looking at every minute.

use std::collections::BTreeSet;

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};
use proptest::prelude::*;
use stillframe_protocol::{ClusterName, name::ScheduleName};

use super::timing::Timing;

/// Both hemispheres, changes by half an hour, at midnight, during a month of fasting, of a whole day; and zones without any.
const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Atlantic/Azores",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Asuncion",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Asia/Beirut",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
];

/// A field of an expression, and what it stands for.
#[derive(Debug, Clone)]
struct Field {
    text: &'static str,
    values: Vec<i8>,
    is_one_value: bool,
}

fn field(text: &'static str, values: impl IntoIterator<Item = i8>) -> Field {
    let values: Vec<i8> = values.into_iter().collect();
    let is_one_value = text.parse::<i8>().is_ok();
    Field { text, values, is_one_value }
}

fn minutes() -> impl Strategy<Value = Field> {
    prop_oneof![
        Just(field("0", [0])),
        Just(field("30", [30])),
        Just(field("59", [59])),
        Just(field("15,45", [15, 45])),
        Just(field("*/5", (0..60).step_by(5))),
        Just(field("*/7", (0..60).step_by(7))),
        Just(field("*", 0..60)),
    ]
}

fn hours() -> impl Strategy<Value = Field> {
    prop_oneof![
        Just(field("0", [0])),
        Just(field("1", [1])),
        Just(field("2", [2])),
        Just(field("3", [3])),
        Just(field("23", [23])),
        Just(field("1-3", 1..4)),
        Just(field("2,14", [2, 14])),
        Just(field("*/2", (0..24).step_by(2))),
        Just(field("*", 0..24)),
    ]
}

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).expect("it is built in")
}

fn timing(expression: &str, zone: &str) -> Timing {
    let (cluster, schedule) = (ClusterName::new("bank").expect("a name"), ScheduleName::new("s").expect("a name"));
    Timing::new(&cluster, &schedule, (None, Some(expression)), zone, 0, Timestamp::UNIX_EPOCH).expect("an expression")
}

fn timestamp(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Every slot later than `from` and up to `to`, found by looking at every minute. An expression of one minute and one hour names a time of day: it comes
/// once a day, at the first of two, and right after the gap when the clock leaves it out (unless it leaves out the day). Any other names every minute that it fits, however often that
/// comes.
fn by_the_minute(minute: &Field, hour: &Field, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let is_time_of_day = minute.is_one_value && hour.is_one_value;
    let mut slots = BTreeSet::new();
    let mut days: BTreeSet<DateTime> = BTreeSet::new();
    let step = SignedDuration::from_mins(1);
    // From the day before: whether a time of day has come already isn't seen from the middle of the fold.
    let begin = from.checked_sub(SignedDuration::from_hours(26)).expect("a time").as_second();
    let mut at = Timestamp::from_second(begin - begin.rem_euclid(60)).expect("a time");
    let mut before = zone.to_datetime(at);
    while at < to {
        at = at.checked_add(step).expect("a time");
        let local = zone.to_datetime(at);
        if minute.values.contains(&local.minute())
            && hour.values.contains(&local.hour())
            && (!is_time_of_day || days.insert(local))
        {
            slots.insert(at);
        }
        let left_out = before.checked_add(step).expect("a time");
        // A day that was left out altogether has no times.
        let is_less_than_a_day = local.checked_sub(SignedDuration::from_hours(24)).expect("a time") < left_out;
        if is_time_of_day && local > left_out && is_less_than_a_day {
            let mut gap = left_out;
            while gap < local {
                if minute.values.contains(&gap.minute()) && hour.values.contains(&gap.hour()) {
                    slots.insert(at);
                }
                gap = gap.checked_add(step).expect("a time");
            }
        }
        before = local;
    }
    slots.into_iter().filter(|slot| *slot > from && *slot <= to).collect()
}

/// A time near a change of a zone's clock, where there is one.
fn near_a_change(zone: &TimeZone, from: Timestamp, nth: usize, minutes_off: i64) -> Timestamp {
    let change = zone.following(from).nth(nth).map_or(from, |change| change.timestamp());
    change.checked_add(SignedDuration::from_mins(minutes_off)).expect("a time")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn by_the_clock_no_slot_is_left_out_and_none_comes_twice(
        zone_name in prop::sample::select(ZONES), minute in minutes(), hour in hours(), year in 2005i64..2034, nth in 0usize..4,
        minutes_off in -2_000i64..200,
    ) {
        let zone = zone(zone_name);
        let from = Timestamp::from_second((year - 1970) * 31_556_952).expect("a time");
        let from = near_a_change(&zone, from, nth, minutes_off);
        let to = from.checked_add(SignedDuration::from_hours(72)).expect("a time");
        let expression = format!("{} {} * * *", minute.text, hour.text);
        let timing = timing(&expression, zone_name);
        let mut found = Vec::new();
        let mut last = from;
        while let Some(next) = timing.slot_after(last).filter(|next| *next <= to) {
            prop_assert!(next > last, "{expression} in {zone_name}: {next} after {last}");
            found.push(next);
            last = next;
        }
        let expected = by_the_minute(&minute, &hour, &zone, from, to);
        prop_assert_eq!(found, expected, "{} in {} from {}", expression, zone_name, from);
    }

    #[test]
    fn from_wherever_one_looks_the_next_slot_is_the_first_later_one(
        zone_name in prop::sample::select(ZONES), minute in minutes(), hour in hours(), year in 2005i64..2034, nth in 0usize..4,
        seconds_off in -20_000i64..20_000,
    ) {
        let zone = zone(zone_name);
        let from = Timestamp::from_second((year - 1970) * 31_556_952).expect("a time");
        let change = near_a_change(&zone, from, nth, 0);
        let look = change.checked_add(SignedDuration::from_secs(seconds_off)).expect("a time");
        let timing = timing(&format!("{} {} * * *", minute.text, hour.text), zone_name);
        let whole_minute = change.checked_sub(SignedDuration::from_hours(8)).expect("a time");
        let to = look.checked_add(SignedDuration::from_hours(50)).expect("a time");
        let expected = by_the_minute(&minute, &hour, &zone, whole_minute, to).into_iter().find(|slot| *slot > look);
        prop_assert_eq!(timing.slot_after(look).filter(|slot| *slot <= to), expected);
    }
}

fn slots(expression: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
    let timing = timing(expression, zone);
    std::iter::successors(timing.slot_after(timestamp(from)), |slot| timing.slot_after(*slot))
        .take(n)
        .map(|slot| slot.to_string())
        .collect()
}

#[test]
fn a_time_of_day_that_is_left_out_comes_right_after_and_one_that_comes_twice_once() {
    // 2026-03-29 02:00 is 03:00 in Berlin; 2026-10-25 03:00 is 02:00.
    let spring = slots("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
    assert_eq!(spring, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    let autumn = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
    assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

#[test]
fn every_half_hour_goes_on_through_both_hours_that_have_one_name() {
    let autumn = slots("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59:00Z", 6);
    let expected = [
        "2026-10-25T00:00:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T02:00:00Z",
        "2026-10-25T02:30:00Z",
    ];
    assert_eq!(autumn, expected);
}

#[test]
fn lord_howe_changes_its_clocks_by_half_an_hour() {
    // 2026-04-05 02:00 is 01:30; 2026-10-04 02:00 is 02:30.
    let autumn = slots("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2);
    assert_eq!(autumn, ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    let spring = slots("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2);
    assert_eq!(spring, ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
}

#[test]
fn a_day_that_a_zone_left_out_is_got_over() {
    // After the 29th of December 2011 came the 31st.
    let slots = slots("0 0 * * *", "Pacific/Apia", "2011-12-29T09:00:00Z", 3);
    assert_eq!(slots, ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"]);
}

#[test]
fn a_day_that_a_zone_left_out_has_no_times() {
    for (hour, next) in [(1, "2011-12-30T11:00:00Z"), (12, "2011-12-30T22:00:00Z"), (23, "2011-12-31T09:00:00Z")] {
        let expression = format!("0 {hour} * * *");
        // Just before the end of the 29th, and a second before that.
        for from in ["2011-12-30T09:59:59Z", "2011-12-30T09:59:58Z"] {
            assert_eq!(slots(&expression, "Pacific/Apia", from, 1), [next], "{expression} from {from}");
        }
    }
}

#[test]
fn zones_are_built_in_whatever_the_machine_has() {
    for name in ZONES {
        zone(name);
    }
    assert!(!TimeZoneDatabase::bundled().is_definitively_empty());
}
