//! What can go wrong with a store, in as many variants as a caller can act on. Drivers map their own errors here at the
//! border; nothing above recognises an error by its text.

use crate::job::{InvalidEnvelope, JobId};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was written and the same call may work later: locked, disconnected, disk full. The text says which, and what to do.
    #[error("{0}")]
    Unavailable(String),
    /// The answer was lost: the write may or may not have happened. Ask again by the call's `op_id`.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The input breaks a rule; `index` is its place in a bulk call.
    #[error("item {index}: {error}")]
    Invalid { index: usize, error: InvalidEnvelope },
    /// `on_duplicate: reject`, and a live job holds the key.
    #[error("item {index}: the unique key is held by job {holder}")]
    Duplicate { index: usize, holder: JobId },
    /// The id or idempotency key was used before with another body.
    #[error("item {index}: job {id} exists with another body; use a fresh id or idempotency key")]
    Conflict { index: usize, id: JobId },
    #[error("{what} does not exist")]
    NotFound { what: String },
    /// The call does not fit the state of what it names (redrive of a job that is not dead, …).
    #[error("{0}")]
    NotAllowed(String),
    /// The stored data is damaged; needs a person. Nothing was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// Another daemon leases from this store, or the file cannot be used like this; starting is refused.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Whether the same call may be answered later.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unknown(_))
    }
}

impl Error {
    /// The place in a bulk call of the one item that was refused, and why.
    #[must_use]
    pub fn of_item(&self) -> Option<(usize, String)> {
        match self {
            Self::Invalid { index, error } => Some((*index, error.to_string())),
            Self::Duplicate { index, holder } => Some((*index, format!("the unique key is held by job {holder}"))),
            Self::Conflict { index, id } => Some((*index, format!("job {id} exists with another body; use a fresh id or idempotency key"))),
            _ => None,
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// One word for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unknown(_) => "unknown",
            Self::Invalid { .. } => "invalid",
            Self::Duplicate { .. } => "duplicate",
            Self::Conflict { .. } => "conflict",
            Self::NotFound { .. } => "not_found",
            Self::NotAllowed(_) => "not_allowed",
            Self::Corrupt(_) => "corrupt",
            Self::Refused(_) => "refused",
        }
    }
}
