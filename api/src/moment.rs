//! Times that people and programs give, refused with what is expected.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;
        impl Visitor<'_> for Rfc3339 {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as RFC 3339 such as \"2026-03-01T14:00:00Z\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                parse(text).map(Moment).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Rfc3339)
    }
}

/// A time that may be left out, as RFC 3339.
///
/// # Errors
/// When it isn't one, or lies outside of the years that there are times of; says which.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Option::<Moment>::deserialize(deserializer).map(|moment| moment.map(|Moment(moment)| moment))
}

fn parse(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_: jiff::Error| {
        let found: String = text.chars().take(40).collect();
        format!(
            "expected a time as RFC 3339 such as \"2026-03-01T14:00:00Z\", from {} to {}, found {found:?}",
            Timestamp::MIN,
            Timestamp::MAX
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_there_is_not_is_refused_with_those_that_there_are() {
        for text in ["9999-12-31T23:59:59Z", "soon", ""] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("to 9999-12-30T22:00:00") && error.contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!(parse(&Timestamp::MAX.to_string()), Ok(Timestamp::MAX));
        assert!(parse("2026-03-01T14:00:00+02:00").is_ok());
    }
}
