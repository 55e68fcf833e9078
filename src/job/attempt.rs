//! The record that each attempt leaves.

use super::{HolderId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of failure it was, in the words that classify every provider's answers (reference: providers 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// May work later: a lost connection, a 5xx, a rate limit.
    Retry,
    /// Will never work as it is.
    Permanent,
    /// The credential or the configuration is wrong; an operator must act.
    Auth,
    /// The money or the quota is gone; waits for a reset or an operator.
    Quota,
    Timeout,
    Panic,
    Cancelled,
}

impl ErrorClass {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Permanent => "permanent",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A failure as it is recorded: what class, and a sentence for people. Capped by [`JobError::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobError {
    pub class: ErrorClass,
    /// A stable code, such as `invalid_answer` or `http_503`, by which failures are grouped.
    pub code: String,
    pub message: String,
}

impl JobError {
    /// Bytes: long enough for a provider's sentence, short enough that ten thousand dead letters stay a small table.
    pub const MAX_MESSAGE: usize = 2048;

    pub fn new(class: ErrorClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > Self::MAX_MESSAGE {
            let longest = Self::MAX_MESSAGE - '…'.len_utf8();
            let boundary = (0..=longest).rev().find(|&at| message.is_char_boundary(at));
            message.truncate(boundary.unwrap_or(0));
            message.push('…');
        }
        Self { class, code: code.into(), message }
    }
}

/// How an attempt ended, in the words of [`super::Transition`], and one that only others can record of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    Completed,
    Retried,
    Snoozed,
    Parked,
    Cancelled,
    Dead,
    Released,
    /// The lease ran out or its holder died.
    Lost,
}

impl AttemptOutcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retried => "retried",
            Self::Snoozed => "snoozed",
            Self::Parked => "parked",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Released => "released",
            Self::Lost => "lost",
        }
    }
}

/// One run of a job, as it stays with the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// From 1; the same number again after a run that was not charged.
    pub number: u32,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub holder: HolderId,
    pub outcome: AttemptOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl Attempt {
    /// A job that snoozes for a year must not carry a year of records: only the newest are kept.
    pub const KEPT: usize = 20;
}
