//! Durations as people write them: `"30s"`, `"1m 30s"`, `"500ms"`.

use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

use jiff::{SignedDuration, SpanRelativeTo, fmt::friendly};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// The longest duration that is taken: 366 days.
pub const MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// A duration between 1 ms and 366 days; in JSON and on the command line a string such as `"30s"`, `"500ms"` or `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(Duration);

/// Text that isn't a duration, or one out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not a duration here: expected a number with a unit, such as \"500ms\", \"30s\", \"1h 30m\" or \"7d\", from 1ms to 366 days"
)]
pub struct DurationError {
    found: String,
}

impl HumanDuration {
    /// Takes a duration.
    ///
    /// # Errors
    /// [`DurationError`] when it is shorter than 1 ms or longer than [`MAX`].
    pub fn new(duration: Duration) -> Result<Self, DurationError> {
        if (Duration::from_millis(1)..=MAX).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(DurationError { found: format!("{duration:?}") })
        }
    }

    /// A duration of whole milliseconds, brought into the bounds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        let max = MAX.as_millis() as u64;
        let ms = if ms == 0 { 1 } else { ms };
        Self(Duration::from_millis(if ms > max { max } else { ms }))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// In whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        f.write_str(&friendly::SpanPrinter::new().duration_to_string(&signed))
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError { found: text.chars().take(100).collect() };
        let span = friendly::SpanParser::new().parse_span(text).map_err(|_| error())?;
        // Years and months have no fixed length, so they are no durations.
        let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| error())?;
        Self::new(Duration::try_from(signed).map_err(|_| error())?).map_err(|_| error())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written(PhantomData))
    }
}

/// Reads a duration.
struct Written<T>(PhantomData<T>);

impl<T: FromStr<Err = DurationError>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"30s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A duration that may be zero: `"0s"` says none. Otherwise as [`HumanDuration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurationOrZero(Option<HumanDuration>);

impl DurationOrZero {
    /// No time at all.
    pub const ZERO: Self = Self(None);

    /// A duration of whole milliseconds, brought into the bounds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(if ms == 0 { None } else { Some(HumanDuration::from_millis(ms)) })
    }

    /// The duration.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0.map_or(Duration::ZERO, HumanDuration::get)
    }

    /// In whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.get().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_none()
    }
}

impl From<HumanDuration> for DurationOrZero {
    fn from(duration: HumanDuration) -> Self {
        Self(Some(duration))
    }
}

impl fmt::Display for DurationOrZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => duration.fmt(f),
            None => f.write_str("0s"),
        }
    }
}

impl FromStr for DurationOrZero {
    type Err = DurationError;
    fn from_str(text: &str) -> Result<Self, DurationError> {
        match friendly::SpanParser::new().parse_span(text) {
            Ok(span) if span.is_zero() => Ok(Self::ZERO),
            Ok(_) | Err(_) => text.parse().map(|duration: HumanDuration| duration.into()),
        }
    }
}

impl Serialize for DurationOrZero {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationOrZero {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_printed_duration_is_read_back_the_same(ms in 1u64..=31_622_400_000) {
            let duration = HumanDuration::from_millis(ms);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }

    #[test]
    fn durations_as_people_write_them_are_read() {
        for (text, ms) in [("30s", 30_000), ("500ms", 500), ("1m30s", 90_000), ("1h 30m", 5_400_000), ("2 days", 172_800_000)] {
            assert_eq!(text.parse::<HumanDuration>().map(HumanDuration::as_millis), Ok(ms), "{text}");
        }
    }

    #[test]
    fn where_none_is_allowed_it_is_written_as_zero() {
        assert_eq!("0s".parse(), Ok(DurationOrZero::ZERO));
        assert_eq!("0ms".parse(), Ok(DurationOrZero::ZERO));
        assert_eq!(DurationOrZero::ZERO.to_string(), "0s");
        assert_eq!("1m 30s".parse(), Ok(DurationOrZero::from_millis(90_000)));
        for text in ["", "0", "-5s", "soon"] {
            text.parse::<DurationOrZero>().expect_err(text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "30", "-5s", "0s", "soon", "400 days", "1y"] {
            let error = text.parse::<HumanDuration>().expect_err(text);
            assert!(error.to_string().contains("\"30s\""), "{error}");
        }
    }
}
