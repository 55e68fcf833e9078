//! How the counters grow: what ends a second, in all and by queue, and how many more dead letters there are.

use crate::{
    job::{State, Timestamp},
    store::QueueStatus,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// As wide as a line over them can be on any screen: ten minutes at one a second.
const KEPT: usize = 600;
/// A rate is the mean over so many, so that single figures can be read.
const MEAN: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The counters as they were last seen, the newest at the back.
    seen: VecDeque<(Timestamp, BTreeMap<String, Ended>)>,
    grown: VecDeque<Grown>,
    /// Since when nothing was missed.
    since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    all: u64,
    dead: u64,
}

#[derive(Clone, Copy, Debug)]
struct Grown {
    at: Timestamp,
    seconds: f64,
    ended: u64,
    dead: u64,
}

impl Samples {
    pub fn take(&mut self, at: Timestamp, queues: &[QueueStatus]) {
        let now: BTreeMap<String, Ended> = queues.iter().map(|queue| (queue.name.clone(), Ended::of(queue))).collect();
        if let Some((before, was)) = self.seen.back() {
            let (ended, dead) = growth(was, &now);
            self.grown.push_back(Grown { at, seconds: seconds(at, *before), ended, dead });
        }
        self.since.get_or_insert(at);
        self.seen.push_back((at, now));
        self.seen.drain(..self.seen.len().saturating_sub(MEAN + 1));
        self.grown.drain(..self.grown.len().saturating_sub(KEPT));
    }

    /// Nobody answered for a while: what grew meanwhile belongs to no second.
    pub fn miss(&mut self) {
        self.seen.clear();
        self.since = None;
    }

    /// Jobs that ended a second, each time it was looked at; the newest last.
    #[must_use]
    pub fn rates(&self) -> Vec<f64> {
        self.grown.iter().map(|grown| grown.ended as f64 / grown.seconds).collect()
    }

    /// Jobs that end a second. None: it was looked at once.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let newest = self.grown.iter().rev().take(MEAN.min(self.seen.len().saturating_sub(1)));
        let (ended, seconds) = newest.fold((0, 0.0), |(ended, seconds), grown| (ended + grown.ended, seconds + grown.seconds));
        (seconds > 0.0).then(|| ended as f64 / seconds)
    }

    /// The same of one queue.
    #[must_use]
    pub fn rate_of(&self, queue: &str) -> Option<f64> {
        let ((first, was), (last, is)) = (self.seen.front()?, self.seen.back()?);
        let ended = is.get(queue)?.all.saturating_sub(was.get(queue).map_or(0, |was| was.all));
        (last > first).then(|| ended as f64 / seconds(*last, *first))
    }

    /// Dead letters that came in the last minute, or since it is looked at; and how long that is.
    #[must_use]
    pub fn newly_dead(&self) -> Option<(u64, Duration)> {
        let (now, since) = (self.seen.back()?.0, self.since?);
        let span = now.since(since).min(MINUTE);
        let from = now.minus(span);
        let dead = self.grown.iter().filter(|grown| grown.at > from && grown.at > since).map(|grown| grown.dead).sum();
        (!span.is_zero()).then_some((dead, span))
    }
}

impl Ended {
    fn of(queue: &QueueStatus) -> Self {
        let count = |state| queue.jobs.get(&state).copied().unwrap_or(0);
        let dead = count(State::Dead);
        Self { all: count(State::Completed) + count(State::Cancelled) + dead, dead }
    }
}

/// What retention takes away is no growth.
fn growth(was: &BTreeMap<String, Ended>, now: &BTreeMap<String, Ended>) -> (u64, u64) {
    now.iter().fold((0, 0), |(ended, dead), (name, now)| {
        let was = was.get(name).copied().unwrap_or_default();
        (ended + now.all.saturating_sub(was.all), dead + now.dead.saturating_sub(was.dead))
    })
}

/// Never nothing: a clock that is set back must not make a rate of it.
fn seconds(now: Timestamp, before: Timestamp) -> f64 {
    now.since(before).as_secs_f64().max(0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str, completed: u64, dead: u64) -> QueueStatus {
        QueueStatus { name: name.into(), jobs: [(State::Completed, completed), (State::Dead, dead)].into(), ..QueueStatus::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + second)
    }

    #[test]
    fn one_look_says_nothing_of_growth() {
        let mut samples = Samples::default();
        samples.take(at(0), &[queue("a", 10, 1)]);
        assert_eq!((samples.rate(), samples.rate_of("a"), samples.newly_dead()), (None, None, None));
    }

    #[test]
    fn rates_are_what_ends_by_the_time_that_passes() {
        let mut samples = Samples::default();
        samples.take(at(0), &[queue("a", 10, 0), queue("b", 5, 0)]);
        samples.take(at(2), &[queue("a", 16, 1), queue("b", 5, 0)]);
        assert_eq!((samples.rate(), samples.rates()), (Some(3.5), vec![3.5]));
        assert_eq!((samples.rate_of("a"), samples.rate_of("b"), samples.rate_of("c")), (Some(3.5), Some(0.0), None));
        assert_eq!(samples.newly_dead(), Some((1, Duration::from_secs(2))));
    }

    #[test]
    fn what_retention_takes_away_is_no_growth() {
        let mut samples = Samples::default();
        samples.take(at(0), &[queue("a", 100, 9), queue("b", 0, 0)]);
        samples.take(at(1), &[queue("a", 50, 0), queue("b", 4, 0)]);
        assert_eq!((samples.rate(), samples.newly_dead().map(|(dead, _)| dead)), (Some(4.0), Some(0)));
    }

    #[test]
    fn only_the_last_minute_of_dead_letters_counts() {
        let mut samples = Samples::default();
        for second in 0..100_i64 {
            samples.take(at(second), &[queue("a", 0, second.cast_unsigned())]);
        }
        assert_eq!(samples.newly_dead(), Some((60, MINUTE)));
    }

    #[test]
    fn what_grew_while_nobody_answered_belongs_to_no_second() {
        let mut samples = Samples::default();
        samples.take(at(0), &[queue("a", 0, 0)]);
        samples.take(at(1), &[queue("a", 1, 0)]);
        samples.miss();
        samples.take(at(100), &[queue("a", 90_000, 500)]);
        assert_eq!((samples.rate(), samples.newly_dead(), samples.rates()), (None, None, vec![1.0]));
        samples.take(at(101), &[queue("a", 90_002, 500)]);
        assert_eq!((samples.rate(), samples.newly_dead()), (Some(2.0), Some((0, Duration::from_secs(1)))));
    }
}
