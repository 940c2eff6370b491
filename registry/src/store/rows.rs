//! Values as columns and back.

use rusqlite::types::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sixwire_proto::time::Timestamp;

use super::StoreError;

/// A number as SQLite keeps it: 63 bits, more than times and serial numbers ever need.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn number(integer: i64) -> Result<u64, StoreError> {
    u64::try_from(integer).map_err(|_| StoreError::Damaged(format!("{integer} is below zero")))
}

pub(super) fn time(integer: i64) -> Result<Timestamp, StoreError> {
    number(integer).map(Timestamp)
}

pub(super) fn optional_time(integer: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    integer.map(time).transpose()
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("stored values have text keys only")
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Damaged(e.to_string()))
}

pub(super) fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| StoreError::Damaged(e.to_string()))
}

pub(super) fn optional_text(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Text)
}
