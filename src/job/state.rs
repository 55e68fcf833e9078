//! The states of a job and the moves between them.
//!
//! ```text
//!  enqueue ─► scheduled ─(due)─► queued ─lease─► running ─complete─► completed
//!                 ▲                ▲  ▲            │ │ │ └─reject / attempts spent / poison─► dead ─redrive─► queued
//!                 │ snooze, retry  │  └──release───┘ │ └─cancel─► cancelled
//!                 └────────────────┼─────────────────┘
//!                                  └─ unpark ─ parked ◄─park
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for an instant; a retry or a snooze is `scheduled` with attempts behind it.
    Scheduled,
    /// Due; waits for a worker, for its key, or for a rate.
    Queued,
    /// Leased by a holder.
    Running,
    /// Waits for something other than time: a dependency, an outside answer, a provider, a known kind.
    Parked,
    Completed,
    Cancelled,
    /// Gave up; stays until redriven, or until a retention rule or an audited call removes it.
    Dead,
}

impl State {
    pub const ALL: [Self; 7] = [Self::Scheduled, Self::Queued, Self::Running, Self::Parked, Self::Completed, Self::Cancelled, Self::Dead];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Dead)
    }

    /// Whether a job may go from this state to `next` in one step.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use State::{Cancelled, Completed, Dead, Parked, Queued, Running, Scheduled};
        match self {
            Scheduled => matches!(next, Queued | Cancelled | Dead),
            Queued => matches!(next, Running | Parked | Cancelled | Dead | Scheduled),
            Running => matches!(next, Completed | Cancelled | Dead | Scheduled | Queued | Parked),
            Parked => matches!(next, Queued | Scheduled | Cancelled | Dead),
            Dead => matches!(next, Queued),
            Completed | Cancelled => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
