//! SQLite's errors, mapped at the border into what a caller can act on.

use crate::store::Error;
use rusqlite::ErrorCode;

/// Of a damaged file.
pub(super) const RESTORE: &str = "stop the daemon, keep a copy of the file, and restore a backup";

/// Before the commit: nothing was written, so every such failure is `Unavailable` or worse, never `Unknown`.
pub(super) fn before_commit(error: rusqlite::Error) -> Error {
    let Some(code) = error.sqlite_error_code() else { return Error::Corrupt(error.to_string()) };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Error::Unavailable("the database is locked by another program; it may be long in a transaction of its own".into())
        }
        // The second: the index beside the WAL cannot grow, which is how a full disk meets the first to open a store.
        ErrorCode::DiskFull => full(),
        ErrorCode::SystemIoFailure if is_extended(&error, rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => full(),
        ErrorCode::ReadOnly => {
            Error::Unavailable("the database cannot be written to; check the file's and its folder's permissions".into())
        }
        ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            Error::Unavailable("the database file cannot be opened; check that it and its folder exist and may be written".into())
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Error::Corrupt(format!("{error}; {RESTORE}")),
        // What our own statements never bring about: the rows contradict each other, and asking again changes nothing.
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => Error::Corrupt(format!("{error}; another program has changed rows")),
        ErrorCode::SystemIoFailure => Error::Unavailable(format!("the disk failed ({error}); see the system's log")),
        _ => Error::Unavailable(error.to_string()),
    }
}

fn full() -> Error {
    Error::Unavailable("the disk is full; free space and the queue goes on by itself".into())
}

fn is_extended(error: &rusqlite::Error, code: i32) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == code)
}

/// In the commit itself: only a full disk and a lock are known to have written nothing.
pub(super) fn in_commit(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ReadOnly) => before_commit(error),
        _ => Error::Unknown(error.to_string()),
    }
}

/// Whether the connection can no longer be trusted and must be opened anew (an fsync that failed must not be retried on
/// the same file descriptor: the kernel may have dropped the pages).
pub(super) fn wants_reopen(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::CannotOpen)
    )
}
