//! Redis' errors, mapped at the border into what a caller can act on. By their codes, never by texts.

use crate::{
    job::JobId,
    store::{Error, Result},
};
use redis::{ErrorKind, RedisError};
use uuid::Uuid;

/// What a lost connection means for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only read: nothing can have happened.
    Reads,
    /// It may have been done.
    Writes,
    /// The same, and a positive answer promises that it stays done (contract P1).
    Promises,
}

pub(super) fn map(error: &RedisError, effect: Effect) -> Error {
    match error.code() {
        Some("WINDLASS_CONFLICT") => refused(error.detail(), |index, id| Error::Conflict { index, id }),
        Some("WINDLASS_DUPLICATE") => refused(error.detail(), |index, holder| Error::Duplicate { index, holder }),
        Some("READONLY") => Error::Unavailable("this server is a replica; waiting for the one that takes writes".into()),
        Some("LOADING") => Error::Unavailable("Redis is loading its data; waiting until it has".into()),
        Some("WINDLASS_MOVING" | "TRYAGAIN" | "ASK" | "MOVED") => {
            Error::Unavailable("the slot of this queue moves to another server of the cluster; waiting until it has".into())
        }
        Some("WINDLASS_PARTITION") => Error::Unavailable("the queue has another number of partitions now; looking again".into()),
        Some("CLUSTERDOWN" | "MASTERDOWN") => {
            Error::Unavailable("the cluster does not serve this queue's slot; waiting for a master that does".into())
        }
        Some("OOM") => {
            Error::Unavailable("Redis has no memory left (`maxmemory`); give it more, or let jobs finish, and the queue goes on".into())
        }
        Some("BUSY") => Error::Unavailable("another program's script keeps Redis busy; waiting for its end".into()),
        Some("MISCONF") => Error::Unavailable("Redis cannot write to its disk and takes no writes; free space or mend the disk".into()),
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Error::Refused(format!(
            "Redis does not let this user do that ({error}); it needs FCALL, and all commands on keys that begin with `store.redis.prefix`"
        )),
        _ if error.is_connection_refusal() || error.kind() == ErrorKind::AuthenticationFailed => {
            Error::Unavailable(format!("Redis cannot be reached: {error}"))
        }
        _ if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() => lost(&error.to_string(), effect),
        _ => Error::Corrupt(format!("Redis answered: {error}")),
    }
}

pub(super) fn lost(story: &str, effect: Effect) -> Error {
    match effect {
        Effect::Reads => Error::Unavailable(format!("the connection to Redis broke: {story}")),
        Effect::Writes | Effect::Promises => Error::Unknown(format!("the connection to Redis broke: {story}")),
    }
}

/// The library's own refusals: `INDEX ID`.
fn refused(detail: Option<&str>, make: impl FnOnce(usize, JobId) -> Error) -> Error {
    let mut words = detail.unwrap_or_default().split(' ');
    let (index, id) = (words.next(), words.next());
    match (index.and_then(|n| n.parse::<f64>().ok()), id.and_then(|id| Uuid::parse_str(id).ok())) {
        (Some(index), Some(id)) => make(index as usize, JobId(id)),
        _ => Error::Corrupt("a function of the library refused something and did not say what".into()),
    }
}

/// An answer of another shape than the library gives.
pub(super) fn odd<T>(what: &str) -> Result<T> {
    Err(Error::Corrupt(format!("a function of the library answered something else than {what}; run this version's `windlass migrate`")))
}
