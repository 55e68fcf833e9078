//! Says, beat after beat, who this daemon is and how it does, until the drain is over. Nothing depends on it but what people see.

use super::shared::Shared;
use crate::job::{Daemon, Name, QueueWork, Timestamp};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

pub(super) async fn announce(shared: Arc<Shared>, end: CancellationToken) {
    let started_at = shared.clock.now();
    let mut pace = Pace::default();
    loop {
        let daemon = describe(&shared, started_at, &mut pace);
        if let Err(error) = shared.store.announce(&daemon, shared.config().lease(), None).await {
            tracing::debug!(%error, "the store does not hear how this daemon does");
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = shared.stop.cancelled(), if !daemon.draining => {}
            () = tokio::time::sleep(shared.config().beat()) => {}
        }
    }
}

fn describe(shared: &Shared, started_at: Timestamp, pace: &mut Pace) -> Daemon {
    let in_minute = pace.look(shared.clock.now(), shared.ended_so_far());
    let work = |(queue, slots, running): (Name, usize, usize)| {
        let ended_in_minute = in_minute.get(&queue).copied().unwrap_or(0);
        (queue, QueueWork { slots, running, ended_in_minute })
    };
    Daemon {
        holder: shared.holder,
        node: crate::store::hostname(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        started_at,
        draining: shared.stop.is_cancelled(),
        queues: shared.holding.usage().into_iter().map(work).collect(),
        kinds: shared.register.kinds(),
        remote: false,
        token: None,
    }
}

/// Attempts that ended, by queue, since the start.
type Ended = BTreeMap<Name, u64>;

/// What was counted at the looks of the last minute, oldest first.
#[derive(Default)]
struct Pace(VecDeque<(Timestamp, Ended)>);

impl Pace {
    const WINDOW: Duration = Duration::from_secs(60);

    /// How many ended within the window that ends now.
    fn look(&mut self, now: Timestamp, ended: Ended) -> Ended {
        while self.0.len() > 1 && self.0[1].0 <= now.minus(Self::WINDOW) {
            self.0.pop_front();
        }
        let before = self.0.front().map(|(_, then)| then);
        let since = |queue: &Name, n: u64| n - before.and_then(|then| then.get(queue)).copied().unwrap_or(0).min(n);
        let within = ended.iter().map(|(queue, n)| (queue.clone(), since(queue, *n))).collect();
        self.0.push_back((now, ended));
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(n: u64) -> Ended {
        [(Name::literal("ai"), n)].into()
    }

    #[test]
    fn pace_counts_what_ended_in_the_last_minute() {
        let mut pace = Pace::default();
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let seen: Vec<u64> = [(0, 5), (30, 8), (60, 20), (90, 21), (150, 21)]
            .map(|(seconds, n)| pace.look(at(seconds), ended(n))[&Name::literal("ai")])
            .into();
        assert_eq!(seen, [5, 3, 15, 13, 0]);
    }
}
