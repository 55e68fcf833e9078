//! Brings work: permits first, then a lease call for at most that many. Wake-ups are hints; a jittered poll is the truth.

use super::{held::Grant, outage::Outage, shared::Shared};
use crate::{
    job::{Name, Nonce, Timestamp},
    store::{self, LeaseReply, LeaseRequest},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::mpsc;

/// Leases until told to stop, and hands on whole replies. The channel is bounded: a reply waits in hand while the runner
/// is busy, its jobs held and beaten for all the same.
pub(super) async fn poll(shared: Arc<Shared>, runner: mpsc::Sender<Vec<Grant>>) {
    let kinds = Arc::new(shared.register.kinds());
    let mut wakes = shared.store.wakes();
    let mut outage = Outage::new(&shared.outage, "lease");
    while !shared.stop.is_cancelled() {
        shared.polled();
        let config = shared.config();
        let free = shared.holding.free(config.lease_batch, config.flight_bytes);
        if free.is_empty() {
            tokio::select! {
                () = shared.holding.freed.notified() => {}
                () = shared.stop.cancelled() => break,
                () = tokio::time::sleep(Duration::from_millis(config.poll_ms)) => {}
            }
            continue;
        }
        let some_full = shared.holding.any_full();
        // Marked as seen before the store is asked: a wake-up that comes during the call is not lost.
        wakes.borrow_and_update();
        shared.leasing.store(true, Ordering::SeqCst);
        let reply = lease(&shared, free, &kinds).await;
        let taken =
            reply.map(|reply| (reply.next_due, !reply.more && (reply.drained || reply.jobs.is_empty()), shared.holding.take(reply.jobs)));
        shared.leased.fetch_add(1, Ordering::SeqCst);
        shared.leasing.store(false, Ordering::SeqCst);
        let (next_due, idle, grants) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tokio::select! { () = outage.wait(&error) => {}, () = shared.stop.cancelled() => break }
                continue;
            }
        };
        outage.over();
        if !grants.is_empty() {
            // A closed channel means the runner is gone, and dropped grants come back by their lease's end.
            if runner.send(grants).await.is_err() {
                break;
            }
        }
        if idle {
            tokio::select! {
                _ = wakes.changed() => {}
                () = shared.holding.freed.notified(), if some_full => {}
                () = shared.stop.cancelled() => break,
                () = tokio::time::sleep(nap(&shared, next_due, config.poll_ms)) => {}
            }
        }
    }
}

/// Until the next due instant, or the poll interval ± a quarter, so that daemons do not poll in step.
fn nap(shared: &Shared, next_due: Option<Timestamp>, poll_ms: u64) -> Duration {
    let now = shared.clock.now();
    let spread = now.0.unsigned_abs() % (poll_ms / 2 + 1);
    let poll = Duration::from_millis(poll_ms - poll_ms / 4 + spread);
    // Past the instant, for the store's clock must have passed it too; and a store that is asked in vain is not asked at once.
    next_due.map_or(poll, |due| poll.min(due.since(now) + Duration::from_micros(1)).max(Duration::from_millis(1)))
}

async fn lease(shared: &Arc<Shared>, queues: Vec<(Name, usize)>, kinds: &Arc<BTreeSet<Name>>) -> store::Result<LeaseReply> {
    let config = shared.config();
    let nonce = Nonce::mint();
    let request =
        LeaseRequest { holder: shared.holder, nonce, queues, kinds: kinds.clone(), max_bytes: config.lease_bytes, lease: config.lease() };
    match shared.store.lease(request, None).await {
        // The answer was lost, the jobs may be ours: ask by the call's own name until the store knows.
        Err(store::Error::Unknown(_)) => {
            let mut outage = Outage::new(&shared.outage, "lease");
            loop {
                match shared.store.leased_by(nonce).await {
                    Ok(jobs) => return Ok(LeaseReply { jobs, more: true, ..LeaseReply::default() }),
                    Err(error) if shared.stop.is_cancelled() => return Err(error),
                    Err(error) => outage.wait(&error).await,
                }
            }
        }
        other => other,
    }
}
