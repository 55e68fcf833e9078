//! Postgres' errors, mapped at the border into what a caller can act on. SQLSTATEs, never texts.

use crate::{job::JobId, store::Error};
use tokio_postgres::error::SqlState;

/// The id or idempotency key was used with another body.
pub(super) const CONFLICT: &str = "WLC01";
/// The unique key is held, and the producer said `reject`.
pub(super) const DUPLICATE: &str = "WLC02";
/// A job of this id was there before; asked the long way, it is answered.
pub(super) const KNOWN_ID: &str = "WLC03";
const NOT_FOUND: &str = "WLN01";
const NOT_ALLOWED: &str = "WLN02";

/// What a lost connection means for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only read: nothing can have happened.
    Reads,
    /// It may have been committed.
    Writes,
}

/// What a failed call comes to, and what to do about it.
pub(super) enum Failed {
    /// Another transaction was in the way, and nothing was written: the same call may be made again at once.
    Again(Error),
    /// The connection, or the server behind it, is of no more use.
    Gone(Error),
    Plain(Error),
}

impl Failed {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Again(error) | Self::Gone(error) | Self::Plain(error) => error,
        }
    }
}

pub(super) fn map(error: &tokio_postgres::Error, effect: Effect) -> Failed {
    let Some(said) = error.as_db_error() else {
        return Failed::Gone(lost(&format!("the connection to Postgres broke: {}", text(error)), effect));
    };
    let code = said.code();
    let message = said.message();
    if let Some(own) = own(code.code(), message, said.detail()) {
        return Failed::Plain(own);
    }
    if *code == SqlState::UNIQUE_VIOLATION && said.constraint() == Some("jobs_id") {
        return Failed::Plain(Error::Conflict { index: 0, id: JobId(uuid::Uuid::nil()) });
    }
    if [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED, &SqlState::LOCK_NOT_AVAILABLE].contains(&code) {
        return Failed::Again(Error::Unavailable(format!("another transaction was in the way: {message}")));
    }
    if is_unprepared(error) {
        return Failed::Again(Error::Unavailable(format!("a prepared statement was lost: {message}")));
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        let story = format!("the database user may not do this ({message}); a daemon's needs `GRANT windlass_daemon TO` it");
        return Failed::Plain(Error::Refused(story));
    }
    if *code == SqlState::QUERY_CANCELED {
        return Failed::Plain(Error::Unavailable(
            "the statement took longer than it may; the server is overloaded or something holds a lock".into(),
        ));
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Failed::Gone(Error::Unavailable(
            "this server is read-only, a standby perhaps; waiting for the one that takes writes".into(),
        ));
    }
    if *code == SqlState::DISK_FULL {
        return Failed::Plain(Error::Unavailable("the database server's disk is full; free space and the queue goes on by itself".into()));
    }
    match &code.code()[..2] {
        // The server goes down or ended this session; whether it had committed is not known.
        "57" => Failed::Gone(lost(&format!("Postgres ended the session: {message}"), effect)),
        "08" => Failed::Gone(lost(message, effect)),
        "53" => Failed::Gone(Error::Unavailable(format!("Postgres has no room: {message}"))),
        "28" => Failed::Gone(Error::Unavailable(format!("Postgres does not let us in: {message}"))),
        "42" | "3F" => Failed::Plain(Error::Unavailable(format!("{message}; run `windlass migrate`, and look at the role's rights"))),
        // What our own statements never bring about: the rows contradict each other, and asking again changes nothing.
        _ => Failed::Plain(Error::Corrupt(format!("{message} ({}); another program has changed rows", code.code()))),
    }
}

/// The session does not know a statement that was prepared, or knows it in another shape; nothing was done.
pub(super) fn is_unprepared(error: &tokio_postgres::Error) -> bool {
    // The last is what a changed result type is told by; nothing else in our statements is.
    let known = [&SqlState::INVALID_SQL_STATEMENT_NAME, &SqlState::DUPLICATE_PSTATEMENT, &SqlState::FEATURE_NOT_SUPPORTED];
    error.code().is_some_and(|code| known.contains(&code))
}

/// What our own functions raise.
fn own(code: &str, message: &str, detail: Option<&str>) -> Option<Error> {
    #[derive(serde::Deserialize)]
    struct Detail {
        index: usize,
        id: JobId,
    }
    let detail = || detail.and_then(|text| serde_json::from_str::<Detail>(text).ok());
    Some(match code {
        CONFLICT => detail().map(|Detail { index, id }| Error::Conflict { index, id })?,
        DUPLICATE => detail().map(|Detail { index, id }| Error::Duplicate { index, holder: id })?,
        // Not for callers: the driver asks again the long way.
        KNOWN_ID => Error::Conflict { index: 0, id: JobId(uuid::Uuid::nil()) },
        NOT_FOUND => Error::NotFound { what: message.into() },
        NOT_ALLOWED => Error::NotAllowed(message.into()),
        _ => return None,
    })
}

/// The connection ended before the answer came.
pub(super) fn lost(message: &str, effect: Effect) -> Error {
    match effect {
        Effect::Reads => Error::Unavailable(message.to_owned()),
        Effect::Writes => Error::Unknown(message.to_owned()),
    }
}

/// The chain of causes on one line: the outermost alone says "error communicating with the server".
pub(super) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
