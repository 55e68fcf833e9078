//! Keeps the leases alive, one statement per beat for all of them, from the first grant until the last settlement: it
//! outlives the drain. What it learns, it acts on: lost leases and requests to cancel stop their runs.

use super::{held::Stop, outage::Outage, shared::Shared};
use crate::{job::Lease, store::Progress};
use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

pub(super) async fn beat(shared: Arc<Shared>, end: CancellationToken) {
    let mut cancels = shared.store.cancels();
    let mut pause = Duration::ZERO;
    let mut astray = Astray::default();
    // While all slots are taken nobody else may call the store for minutes.
    let mut outage = Outage::new(&shared.outage, "heartbeat");
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = cancels.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = match once(&shared, &mut astray).await {
            Ok(()) => {
                outage.over();
                shared.config().beat()
            }
            // A missed beat is made up soon: the lease bears two, not three.
            Err(error) => {
                outage.failed(&error);
                Duration::from_millis(500).min(shared.config().beat())
            }
        };
    }
}

async fn once(shared: &Shared, astray: &mut Astray) -> crate::store::Result<()> {
    let held = shared.holding.all();
    let progress = held.iter().filter_map(|held| {
        let value = held.progress.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Progress { lease: held.lease, value })
    });
    let progress: Vec<Progress> = progress.collect();
    let leases = held.iter().map(|held| held.lease).collect();
    let beat = shared.store.heartbeat(shared.holder, shared.config().lease(), leases, progress, None).await?;
    shared.beaten();
    for (leases, why) in [(beat.lost, Stop::LeaseLost), (beat.cancel, Stop::Cancelled)] {
        for lease in leases {
            if let Some(held) = shared.holding.get(lease) {
                held.stop(why);
            }
        }
    }
    for lease in astray.twice_seen(shared, beat.strays) {
        tracing::warn!(job = %lease.job, "a lease of ours that nobody works under is given back");
        super::settle::give_back(shared, lease).await;
    }
    Ok(())
}

/// Leases the store says are ours and nobody here knows of. One may only be on its way here in the answer of a lease call, so
/// a single sighting says nothing.
#[derive(Default)]
struct Astray {
    seen: HashSet<(i64, i64)>,
    /// Lease calls that had ended by then.
    leased: u64,
}

impl Astray {
    /// Those seen before, if every lease call that could have granted them has been taken over since.
    fn twice_seen(&mut self, shared: &Shared, strays: Vec<Lease>) -> Vec<Lease> {
        let leased = shared.leased.load(Ordering::SeqCst);
        let settled = leased > self.leased || !shared.leasing.load(Ordering::SeqCst);
        let unknown = |lease: &Lease| shared.holding.get(*lease).is_none();
        let now: HashSet<(i64, i64)> = strays.iter().map(|lease| (lease.row, lease.epoch)).collect();
        let before = std::mem::replace(&mut self.seen, now);
        self.leased = leased;
        if !settled {
            return Vec::new();
        }
        strays.into_iter().filter(|lease| before.contains(&(lease.row, lease.epoch)) && unknown(lease)).collect()
    }
}
