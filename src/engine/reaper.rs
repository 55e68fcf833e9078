//! Looks after what time brings, once a second: jobs that become due while no slot is free, gates that open, parks and
//! patience that end, and leases whose holder died. Any daemon does it; there is no leader.

use super::shared::Shared;
use std::{sync::Arc, time::Duration};

/// Lease + 1 s is the promise for a rescue (contract P4): the second is this one.
const EVERY: Duration = Duration::from_millis(800);

/// Pieces of one sort a tick: some hundred milliseconds of the writer's time at most.
const PIECES: usize = 100;

pub(super) async fn reap(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let kinds: Vec<_> = shared.register.kinds().into_iter().collect();
    loop {
        tokio::select! { () = shared.stop.cancelled() => return, _ = ticks.tick() => {} }
        if !shared.beats() {
            continue;
        }
        if let Err(error) = once(&shared, &kinds).await {
            // The pumps tell of an outage; one voice is enough.
            tracing::debug!(%error, "reaping waits for the store");
        }
        for (queue, slots, busy) in shared.holding.usage() {
            let set = |gauge: &prometheus::IntGaugeVec, n: usize| {
                gauge.with_label_values(&[queue.as_str()]).set(i64::try_from(n).unwrap_or(i64::MAX))
            };
            set(&shared.metrics.workers, slots);
            set(&shared.metrics.workers_busy, busy);
            // A counter that exists only once something went wrong hides the first time from every `increase()`.
            shared.metrics.leases_lost.with_label_values(&[queue.as_str()]).inc_by(0);
        }
    }
}

async fn once(shared: &Shared, kinds: &[crate::job::Name]) -> crate::store::Result<()> {
    // Bounded, so that a flood of due jobs puts no rescue off.
    for _ in 0..PIECES {
        if !shared.store.advance(None).await?.more {
            break;
        }
    }
    for _ in 0..PIECES {
        if shared.store.unpark_kinds(kinds, None).await? == 0 {
            break;
        }
    }
    let reaped = shared.store.reap(None).await?;
    for (result, n) in [("requeued", reaped.requeued), ("suspect", reaped.suspects), ("poisoned", reaped.poisoned)] {
        shared.metrics.jobs_reaped.with_label_values(&[result]).inc_by(n);
    }
    if reaped.requeued > 0 {
        tracing::warn!(jobs = reaped.requeued, "took back leases of a holder that stopped beating");
    }
    Ok(())
}
