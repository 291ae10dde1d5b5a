//! When a schedule's slots are: at an interval, or by the clock of a time zone. Slots are computed in the zone and kept in UTC, the next always
//! later than the last. The zones are those that are built in, so that every replica computes the same wherever it runs.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration, Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use stillframe_api::{
    HumanDuration,
    schedule::{MAX_CRON_BYTES, MIN_EVERY},
};
use stillframe_protocol::{ClusterName, name::ScheduleName};

use crate::decide::facts::ScheduleFacts;

/// The most slots that are counted one by one when some were missed.
const MAX_COUNTED: u64 = 10_000;

/// How far back slots are looked for when more than that were missed.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(48);

/// Times that no schedule can have: what was expected, what was found, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unfit {
    /// What was expected, what was found.
    pub detail: String,
    /// What to do.
    pub hint: &'static str,
}

const CRON_HINT: &str = "give five fields, minute (0-59), hour (0-23), day of the month (1-31), month (1-12), day of the week (0-7), such as \"30 2 * * 1-5\", or @hourly, @daily, \
                         @weekly, @monthly; for anything shorter than a minute use every";

#[derive(Debug, Clone)]
enum Clock {
    /// So many milliseconds apart, this being one of them.
    Every {
        anchor: Timestamp,
        every: i128,
    },
    Cron {
        cron: Box<Cron>,
        zone: TimeZone,
    },
}

/// When the slots of one schedule are, and when they fire.
#[derive(Debug, Clone)]
pub struct Timing {
    clock: Clock,
    jitter_ms: u64,
    seed: String,
}

/// The slots whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The latest of them.
    pub newest: Timestamp,
    /// How many there are before it; at least so many, if they are very many.
    pub before: u64,
    /// The slot after it.
    pub next: Timestamp,
}

fn zone(name: &str) -> Result<TimeZone, Unfit> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| Unfit {
        detail: format!("time_zone must be an IANA name such as \"Europe/Berlin\" or \"UTC\", found {name:?}"),
        hint: "look the name up in the IANA time zone database; abbreviations such as CEST and offsets such as +02:00 are none",
    })
}

fn cron(text: &str) -> Result<Cron, Unfit> {
    let found: String = text.chars().take(MAX_CRON_BYTES).collect();
    let unfit = |why: &str| Unfit { detail: format!("cron must be {why}, found {found:?}"), hint: CRON_HINT };
    if text.len() > MAX_CRON_BYTES {
        return Err(unfit(&format!("an expression of {MAX_CRON_BYTES} bytes at most")));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|_| unfit("an expression of five fields that names times"))
}

/// Whether the clock jumped to this moment over a whole day.
fn begins_after_a_day_left_out(zone: &TimeZone, at: Timestamp) -> bool {
    let before = at.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(at);
    zone.to_offset(at).seconds() - zone.to_offset(before).seconds() >= 24 * 60 * 60
}

impl Timing {
    /// The timing of a schedule whose next slot is known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(cluster: &ClusterName, schedule: &ScheduleFacts) -> Result<Self, Unfit> {
        let clock = (schedule.every_ms, schedule.cron.as_deref());
        Self::new(cluster, &schedule.name, clock, &schedule.time_zone, schedule.jitter_ms, schedule.next_slot())
    }

    /// The timing of a schedule with one of its slots, if it is at an interval.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(
        cluster: &ClusterName,
        schedule: &ScheduleName,
        clock: (Option<u64>, Option<&str>),
        time_zone: &str,
        jitter_ms: u64,
        anchor: Timestamp,
    ) -> Result<Self, Unfit> {
        let zone = zone(time_zone)?;
        let clock = match clock {
            (Some(every), None) => {
                if i64::try_from(every).map_or(true, |every| every < MIN_EVERY.as_millis()) {
                    let found = HumanDuration::from_millis(every);
                    return Err(Unfit {
                        detail: format!("every must be at least {MIN_EVERY}, found {found}"),
                        hint: "choose an interval of 50ms or longer, such as \"30s\": at most so much is lost by a restore",
                    });
                }
                Clock::Every { anchor, every: i128::from(every) }
            }
            (None, Some(text)) => Clock::Cron { cron: Box::new(cron(text)?), zone },
            (Some(_), Some(_)) | (None, None) => {
                let found = if clock.0.is_some() { "both" } else { "neither" };
                return Err(Unfit {
                    detail: format!("exactly one of every and cron says when the slots are, found {found}"),
                    hint: "give every for an interval, or cron for times of the clock",
                });
            }
        };
        let timing = Self { clock, jitter_ms, seed: format!("{cluster}/{schedule}/") };
        if timing.slot_after(anchor).is_none() {
            return Err(Unfit { detail: "cron must name times that come, and it names none".to_owned(), hint: CRON_HINT });
        }
        Ok(timing)
    }

    /// The first slot later than this; none when none ever comes.
    #[must_use]
    pub fn slot_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.clock {
            Clock::Every { anchor, every } => {
                let passed = after.as_microsecond() - anchor.as_microsecond();
                let every_us = every * 1000;
                let steps = i128::from(passed).div_euclid(every_us) + 1;
                let slot = i128::from(anchor.as_microsecond()) + steps * every_us;
                Timestamp::from_microsecond(i64::try_from(slot).ok()?).ok()
            }
            Clock::Cron { cron, zone } => {
                let next = |from: Timestamp, inclusive| {
                    let next = cron.find_next_occurrence(&from.to_zoned(zone.clone()), inclusive).ok()?.timestamp();
                    (next > after).then_some(next)
                };
                // The search doesn't get over a whole day that a zone left out (Samoa's 30 December 2011): it goes on from behind it.
                let slot = next(after, false).or_else(|| next(zone.following(after).next()?.timestamp(), true))?;
                // A time of day that the clock leaves out comes right after the gap, but a day that was left out altogether has no times.
                let is_of_no_day = begins_after_a_day_left_out(zone, slot)
                    && !cron.is_time_matching(&slot.to_zoned(zone.clone())).unwrap_or(true);
                if is_of_no_day { next(slot, false) } else { Some(slot) }
            }
        }
    }

    /// When a slot fires: later by its part of the jitter, which is always the same, and before the next slot.
    #[must_use]
    pub fn fires_at(&self, slot: Timestamp) -> Timestamp {
        if self.jitter_ms == 0 {
            return slot;
        }
        let gap = self.slot_after(slot).map_or(i128::MAX, |next| next.duration_since(slot).as_millis());
        let bound = u64::try_from(gap).unwrap_or(u64::MAX).min(self.jitter_ms);
        let part = if bound == 0 { 0 } else { hash(&self.seed, slot) % bound };
        slot.checked_add(SignedDuration::from_millis(i64::try_from(part).unwrap_or(0))).unwrap_or(slot)
    }

    /// The next slots, and when they fire.
    pub fn slots_from(&self, slot: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        std::iter::successors(Some(slot), |slot| self.slot_after(*slot)).map(|slot| (slot, self.fires_at(slot)))
    }

    /// The slots from this one on whose time has come; none when its own hasn't. Also none when no slot comes after them: then there is no schedule
    /// any more.
    #[must_use]
    pub fn due(&self, slot: Timestamp, now: Timestamp) -> Option<Due> {
        if self.fires_at(slot) > now {
            return None;
        }
        let (mut newest, mut before) = (slot, 0);
        if let Clock::Every { every, .. } = &self.clock {
            // All at once: a slot at an interval fires before the next one.
            let passed = i128::from(now.as_microsecond() - slot.as_microsecond()) / (every * 1000);
            let steps = passed.saturating_sub(1).max(0);
            let ahead = i64::try_from(steps * every).unwrap_or(i64::MAX);
            newest = slot.checked_add(SignedDuration::from_millis(ahead)).unwrap_or(slot);
            before = u64::try_from(steps).unwrap_or(u64::MAX);
        }
        let mut counted = 0;
        loop {
            let next = self.slot_after(newest)?;
            if self.fires_at(next) > now {
                return Some(Due { newest, before, next });
            }
            (newest, before, counted) = (next, before.saturating_add(1), counted + 1);
            if counted == MAX_COUNTED {
                // An outage of years, or of a week by the minute: those in between needn't be counted.
                let recent = self.slot_after(now.checked_sub(LOOK_BACK).unwrap_or(now))?;
                newest = newest.max(recent);
                if self.fires_at(newest) > now {
                    return Some(Due { newest: slot, before, next: newest });
                }
            }
        }
    }
}

/// A number that looks drawn, and is always the same: FNV-1a, then mixed so that near slots have far numbers.
fn hash(seed: &str, slot: Timestamp) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seed.bytes().chain(slot.as_microsecond().to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
