//! In which order queues are shown.

use super::Samples;
use crate::{job::State, store::QueueStatus};
use std::cmp::Ordering;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    #[default]
    Name,
    Waiting,
    Running,
    Rate,
    Scheduled,
    Parked,
    Dead,
    Oldest,
}

impl By {
    const ALL: [Self; 8] = [Self::Name, Self::Waiting, Self::Running, Self::Rate, Self::Scheduled, Self::Parked, Self::Dead, Self::Oldest];

    /// The state that is counted.
    #[must_use]
    pub const fn state(self) -> Option<State> {
        match self {
            Self::Waiting => Some(State::Queued),
            Self::Running => Some(State::Running),
            Self::Scheduled => Some(State::Scheduled),
            Self::Parked => Some(State::Parked),
            Self::Dead => Some(State::Dead),
            Self::Name | Self::Rate | Self::Oldest => None,
        }
    }
}

/// Names from the first, figures from the largest, unless it is turned round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub by: By,
    pub is_reversed: bool,
}

impl Order {
    pub fn next(&mut self) {
        let place = By::ALL.iter().position(|by| *by == self.by).unwrap_or(0);
        *self = Self { by: By::ALL[(place + 1) % By::ALL.len()], is_reversed: false };
    }

    #[must_use]
    pub fn is_from_small_to_large(self) -> bool {
        (self.by == By::Name) != self.is_reversed
    }

    pub fn sort(self, rows: &mut [&QueueStatus], samples: &Samples) {
        rows.sort_by(|one, other| {
            let ordering = match self.by {
                By::Name => Ordering::Equal,
                By::Rate => rate(other, samples).total_cmp(&rate(one, samples)),
                By::Oldest => other.oldest_queued_ms.cmp(&one.oldest_queued_ms),
                by => count(other, by).cmp(&count(one, by)),
            };
            let ordering = ordering.then_with(|| one.name.cmp(&other.name));
            if self.is_reversed { ordering.reverse() } else { ordering }
        });
    }
}

fn rate(queue: &QueueStatus, samples: &Samples) -> f64 {
    samples.rate_of(&queue.name).unwrap_or(0.0)
}

fn count(queue: &QueueStatus, by: By) -> u64 {
    by.state().and_then(|state| queue.jobs.get(&state)).copied().unwrap_or(0)
}
