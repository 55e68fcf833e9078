//! Waiting out a store that is down: jittered, growing to a second. Of all that wait for it one speaks, and says one line a
//! minute.

use crate::{
    job::{Curve, HolderId, Jitter, RetryPolicy},
    store,
};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(60);

/// What an engine's log says about its store.
pub(super) struct Voice {
    said: Mutex<Said>,
    /// The engine's own, so that daemons do not try in step.
    seed: u64,
}

#[derive(Default)]
struct Said {
    /// So many wait for the store.
    waiting: usize,
    began: Option<Instant>,
    last: Option<Instant>,
    /// Whether this outage was spoken of.
    told: bool,
}

impl Voice {
    pub(super) fn new(holder: HolderId) -> Self {
        Self { said: Mutex::default(), seed: holder.0.as_u64_pair().1 }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Said) -> T) -> T {
        act(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Said {
    fn enter(&mut self, now: Instant) {
        self.waiting += 1;
        self.began.get_or_insert(now);
    }

    /// Whether a line is due.
    fn speaks(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|last| now.duration_since(last) >= EVERY);
        if is_due {
            (self.last, self.told) = (Some(now), true);
        }
        is_due
    }

    /// One waits no more. Where it was the last: how long the outage lasted, if it was spoken of.
    fn leave(&mut self, now: Instant) -> Option<Duration> {
        self.waiting -= 1;
        let began = self.began.take_if(|_| self.waiting == 0)?;
        std::mem::take(&mut self.told).then(|| now.duration_since(began))
    }
}

/// One that calls the store again and again.
pub(super) struct Outage<'a> {
    voice: &'a Voice,
    what: &'static str,
    tries: u32,
}

impl<'a> Outage<'a> {
    pub(super) const fn new(voice: &'a Voice, what: &'static str) -> Self {
        Self { voice, what, tries: 0 }
    }

    /// After a call that failed, before the next.
    pub(super) async fn wait(&mut self, error: &store::Error) {
        self.failed(error);
        let curve = Curve::Exponential { base_ms: 50, factor: 2.0, cap_ms: 1000 };
        let pauses = RetryPolicy { curve, jitter: Jitter::Equal, ..RetryPolicy::default() };
        tokio::time::sleep(pauses.delay(self.tries, None, self.voice.seed.wrapping_add(self.tries.into()))).await;
    }

    /// The same for one that has its own pace.
    pub(super) fn failed(&mut self, error: &store::Error) {
        let now = Instant::now();
        let is_first = self.tries == 0;
        let speaks = self.voice.with(|said| {
            if is_first {
                said.enter(now);
            }
            said.speaks(now)
        });
        if speaks {
            tracing::error!(%error, what = self.what, "the store does not answer; trying on");
        }
        self.tries = self.tries.saturating_add(1);
    }

    /// After a call that was answered.
    pub(super) fn over(&mut self) {
        if std::mem::take(&mut self.tries) > 0
            && let Some(lasted) = self.voice.with(|said| said.leave(Instant::now()))
        {
            tracing::info!(seconds = lasted.as_secs(), "the store answers again");
        }
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if self.tries > 0 {
            self.voice.with(|said| said.leave(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_one_line_a_minute_however_many_wait() {
        let (mut said, mut now) = (Said::default(), Instant::now());
        for _ in 0..3 {
            said.enter(now);
        }
        let mut lines = 0;
        for _ in 0..150 {
            lines += (0..3).filter(|_| said.speaks(now)).count();
            now += Duration::from_secs(1);
        }
        assert_eq!(lines, 3);
        assert_eq!((said.leave(now), said.leave(now)), (None, None), "one waits still");
        assert_eq!(said.leave(now), Some(Duration::from_secs(150)));
    }

    #[test]
    fn a_store_that_comes_and_goes_fills_no_log() {
        let (mut said, mut now) = (Said::default(), Instant::now());
        let mut lines = 0;
        for _ in 0..300 {
            said.enter(now);
            lines += usize::from(said.speaks(now));
            now += Duration::from_millis(100);
            lines += usize::from(said.leave(now).is_some());
            now += Duration::from_millis(100);
        }
        assert_eq!(lines, 2, "it went, it came; the rest of the minute was silent");
    }
}
