//! Keeps the leases alive, one statement per beat for all of them, from the first grant until the last settlement: it
//! outlives the drain. What it learns, it acts on: lost leases and requests to cancel stop their runs.

use super::{held::Stop, shared::Shared};
use crate::store::Progress;
use std::{sync::Arc, sync::PoisonError, time::Duration};
use tokio_util::sync::CancellationToken;

pub(super) async fn beat(shared: Arc<Shared>, end: CancellationToken) {
    let mut cancels = shared.store.cancels();
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = cancels.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = match once(&shared).await {
            Ok(()) => shared.config().beat(),
            // A missed beat is made up soon: the lease bears two, not three.
            Err(error) => {
                tracing::warn!(%error, "heartbeat failed");
                Duration::from_millis(500).min(shared.config().beat())
            }
        };
    }
}

async fn once(shared: &Shared) -> crate::store::Result<()> {
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
    Ok(())
}
