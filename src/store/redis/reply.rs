//! Taking answers of the library apart.

use super::error::odd;
use crate::{
    job::{JobId, Timestamp},
    store::Result,
};
use redis::Value;
use uuid::Uuid;

pub(super) fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => odd("a list"),
    }
}

pub(super) fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        Value::Nil => Ok(Vec::new()),
        _ => odd("bytes"),
    }
}

pub(super) fn text(value: Value) -> Result<String> {
    String::from_utf8(bytes(value)?).or_else(|_| odd("text"))
}

/// Of a number, or of its digits: numbers of the server's Lua are cut to whole ones, and texts are not.
pub(super) fn number(value: Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(number),
        other => text(other)?.parse().or_else(|_| odd("a number")),
    }
}

pub(super) fn count(value: Value) -> Result<u64> {
    number(value).map(|n| u64::try_from(n).unwrap_or(0))
}

pub(super) fn id(value: Value) -> Result<JobId> {
    uuid(value).map(JobId)
}

pub(super) fn uuid(value: Value) -> Result<Uuid> {
    Uuid::from_slice(&bytes(value)?).or_else(|_| odd("an id"))
}

pub(super) fn maybe_time(value: Value) -> Result<Option<Timestamp>> {
    let text = text(value)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(|t| Some(Timestamp(t))).or_else(|_| odd("an instant")) }
}

/// A list of `N` values.
pub(super) fn fixed<const N: usize>(value: Value) -> Result<[Value; N]> {
    list(value)?.try_into().or_else(|_| odd("a list of that length"))
}
