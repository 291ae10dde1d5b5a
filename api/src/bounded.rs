//! Limits that requests give, refused with what is expected.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use crate::page::MAX_LIMIT;

struct Limit(u32);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounds;
        impl Visitor<'_> for Bounds {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 1 to {MAX_LIMIT}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Limit, E> {
                let limit = u32::try_from(number).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                limit.map(Limit).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Limit, E> {
                let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                limit.map(Limit).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        // A query has it as text.
        deserializer.deserialize_any(Bounds)
    }
}

/// How many items of a list at most.
pub(crate) fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Option::<Limit>::deserialize(deserializer).map(|limit| limit.map(|Limit(limit)| limit))
}
