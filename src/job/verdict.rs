//! What a run says of itself, and where its job goes for it: the one decision for every worker, in the daemon and elsewhere. Pure.

use super::{JobError, JobId, KindSettings, Timestamp, Transition, jitter_seed};
use std::time::Duration;

#[derive(Debug)]
pub enum Verdict {
    Complete,
    /// Try again, after the kind's curve or after `after`. Costs the attempt.
    Retry {
        error: JobError,
        after: Option<Duration>,
    },
    /// Dead now.
    Reject {
        error: JobError,
    },
    /// Again at `until`; costs nothing.
    Snooze {
        until: Timestamp,
    },
    /// Waits for something outside, until `until` or the kind's park time; costs nothing.
    Park {
        reason: String,
        until: Option<Timestamp>,
        token: Option<String>,
        error: Option<JobError>,
    },
    Cancel {
        reason: String,
    },
}

/// The attempt that a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub job: JobId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    pub max_attempts: u32,
}

impl Verdict {
    /// Where the job of `run`, which is of `kind`, goes.
    #[must_use]
    pub fn transition(self, run: Run, kind: &KindSettings, now: Timestamp) -> Transition {
        match self {
            Self::Complete => Transition::Complete,
            Self::Retry { error, .. } if run.attempt >= run.max_attempts => Transition::Dead { reason: "attempts_spent", error },
            Self::Retry { error, after } => {
                let wait = kind.retry.delay(run.attempt, after, jitter_seed(run.job, run.attempt));
                Transition::Retry { at: now.plus(wait), error }
            }
            Self::Reject { error } => Transition::Dead { reason: "rejected", error },
            Self::Snooze { until } => Transition::Snooze { until },
            Self::Park { reason, until, token, error } => {
                let latest = now.plus_ms(kind.park_for_ms);
                Transition::Park { reason, until: until.unwrap_or(latest), token, error }
            }
            Self::Cancel { reason } => Transition::Cancel { reason },
        }
    }
}
