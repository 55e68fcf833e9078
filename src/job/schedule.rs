//! Recurring rules: when they are due, what to do with instants that were missed, across every change of the clocks.
//! Pure; `engine/scheduler.rs` asks, the store remembers (contract P8).

use super::{Envelope, JobId, Name, Timestamp};
use serde::{Deserialize, Serialize};

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Rule {
    /// Every so many milliseconds, counted from `anchor`, so that restarts do not move it.
    Every { every_ms: u64, anchor: Timestamp },
    /// A cron expression of five fields, or six with seconds first, read in an IANA time zone.
    Cron { cron: String, tz: String },
}

/// What to do with due instants that passed while no daemon looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Record them as skipped, but for the newest if it is not older than a minute.
    Skip,
    /// One job for the newest, the others recorded as skipped.
    Once,
    /// A job for each of the newest `n`, the others recorded as skipped.
    All { n: u32 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    pub name: Name,
    #[serde(flatten)]
    pub rule: Rule,
    #[serde(default = "once")]
    pub missed: Missed,
    /// The job of each occurrence. Its `id` must be left out.
    pub job: Envelope,
}

const fn once() -> Missed {
    Missed::Once
}

/// A schedule with what the store remembers of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleState {
    pub schedule: Schedule,
    /// Grows with every change of the rule; occurrences belong to one generation.
    pub generation: i64,
    /// Everything up to and including this instant has a job or a recorded skip.
    pub last: Timestamp,
    pub paused: bool,
}

/// What became of one due instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Occurrence {
    pub due: Timestamp,
    #[serde(flatten)]
    pub fate: Fate,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// To be enqueued (on the way in) or enqueued as `id` (on the way out).
    Job { id: JobId },
    /// Recorded as skipped, with the reason: `missed`, `paused`.
    Skipped { reason: String },
}
