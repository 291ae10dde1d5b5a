//! Between JSON columns and types.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::store::StoreError;

/// Reads a JSON column as a type.
pub(super) fn from_json<T: DeserializeOwned>(value: Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|error| StoreError::Fault { reason: format!("a row is not as expected: {error}") })
}

/// Makes the value of a JSON parameter.
pub(super) fn to_json(value: &impl Serialize) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|error| StoreError::Fault { reason: format!("a value has no JSON form: {error}") })
}

/// A number for a `bigint`. Ours count from 1 and never come near the end.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from a `bigint` that is never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
