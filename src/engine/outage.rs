//! Waiting out a store that is down: jittered, growing to a second, one log line a minute.

use crate::store;
use std::time::{Duration, Instant};

pub(super) struct Outage {
    what: &'static str,
    began: Option<Instant>,
    logged: Option<Instant>,
    tries: u32,
}

impl Outage {
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what, began: None, logged: None, tries: 0 }
    }

    pub(super) async fn wait(&mut self, error: &store::Error) {
        let now = Instant::now();
        self.began.get_or_insert(now);
        if self.logged.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(60)) {
            self.logged = Some(now);
            tracing::error!(%error, what = self.what, "the store does not answer; trying on");
        }
        self.tries = (self.tries + 1).min(5);
        // Which process tries when differs by its own address space, which is all the jitter a handful of pumps needs.
        let jitter = u64::from(now.elapsed().subsec_nanos() % 30);
        tokio::time::sleep(Duration::from_millis((25 << self.tries) + jitter)).await;
    }

    pub(super) fn over(&mut self) {
        if let Some(began) = self.began.take() {
            tracing::info!(what = self.what, seconds = began.elapsed().as_secs(), "the store answers again");
        }
        self.logged = None;
        self.tries = 0;
    }
}
