//! The end of an attempt as the store is told it. Made from what a worker returned (`verdict.rs`); written in one
//! step under the lease's fence.

use super::{AttemptOutcome, JobError, Json, Lease, Name, NewJob, State, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the job goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    Complete,
    /// Again at `at`; costs the attempt.
    Retry {
        at: Timestamp,
        error: JobError,
    },
    /// Gives up now. `reason`: `rejected`, `attempts_spent`, `deadline`, …
    Dead {
        reason: &'static str,
        error: JobError,
    },
    /// Again at `until`; costs nothing.
    Snooze {
        until: Timestamp,
    },
    /// Waits for something other than time, until `until` at most; costs nothing. `token` lets an outside call wake it.
    Park {
        reason: String,
        until: Timestamp,
        token: Option<String>,
        error: Option<JobError>,
    },
    Cancel {
        reason: String,
    },
    /// Handed back unrun or half run; costs nothing and goes to the head of its line.
    Release,
}

impl Transition {
    /// The state the job is in once the settlement is applied. A retry whose instant has come by then may be queued at once.
    #[must_use]
    pub const fn to_state(&self) -> State {
        match self {
            Self::Complete => State::Completed,
            Self::Retry { .. } | Self::Snooze { .. } => State::Scheduled,
            Self::Dead { .. } => State::Dead,
            Self::Park { .. } => State::Parked,
            Self::Cancel { .. } => State::Cancelled,
            Self::Release => State::Queued,
        }
    }

    /// How the attempt's record calls it.
    #[must_use]
    pub const fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Complete => AttemptOutcome::Completed,
            Self::Retry { .. } => AttemptOutcome::Retried,
            Self::Snooze { .. } => AttemptOutcome::Snoozed,
            Self::Dead { .. } => AttemptOutcome::Dead,
            Self::Park { .. } => AttemptOutcome::Parked,
            Self::Cancel { .. } => AttemptOutcome::Cancelled,
            Self::Release => AttemptOutcome::Released,
        }
    }

    /// Whether the attempt counts against `max_attempts`.
    #[must_use]
    pub const fn charges_attempt(&self) -> bool {
        matches!(self, Self::Complete | Self::Retry { .. } | Self::Dead { .. })
    }

    /// The failure that led here, if it was one.
    #[must_use]
    pub const fn error(&self) -> Option<&JobError> {
        match self {
            Self::Retry { error, .. } | Self::Dead { error, .. } => Some(error),
            Self::Park { error, .. } => error.as_ref(),
            _ => None,
        }
    }
}

/// A typed write beside the job, executed by every store in the settle's own step. In JSON `{"put_record": {…}}`: a tag
/// among the members would be read through a buffer that cannot hold raw JSON values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Upserts one record of a collection, in the job's tenant. With `event_time`, an older write never overwrites a newer.
    PutRecord { collection: Name, key: String, value: Json, event_time: Option<Timestamp> },
    /// Remembers that something was sent, under the key that makes it the same send.
    RecordSend { channel: Name, key: String, provider_id: Option<String> },
    /// A cached answer with its time to live, in the job's tenant.
    PutCache { key: String, value: Json, ttl_ms: u64 },
}

/// What a provider says an attempt cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    pub provider: String,
    pub model: String,
    pub input_tokens: u64,
    pub cached_tokens: u64,
    pub output_tokens: u64,
    /// Millionths of the currency unit, when the provider names a price.
    pub cost_micros: Option<u64>,
    /// The provider reported nothing and these are our own counts.
    pub estimated: bool,
}

/// One attempt's end: where the job goes, and everything that is written with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    pub lease: Lease,
    pub transition: Transition,
    pub started_at: Timestamp,
    pub result: Option<Json>,
    pub checkpoint: Option<Json>,
    pub follow_ups: Vec<NewJob>,
    pub effects: Vec<Effect>,
    pub usage: Vec<Usage>,
}

impl Settlement {
    #[must_use]
    pub const fn new(lease: Lease, transition: Transition, started_at: Timestamp) -> Self {
        Self {
            lease,
            transition,
            started_at,
            result: None,
            checkpoint: None,
            follow_ups: Vec::new(),
            effects: Vec::new(),
            usage: Vec::new(),
        }
    }
}
