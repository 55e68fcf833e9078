//! Forgets final jobs past their retention, in small pieces, so that it is never what others wait for.

use super::shared::Shared;
use std::{sync::Arc, time::Duration};

const EVERY: Duration = Duration::from_secs(60);
/// Rows a piece: some milliseconds of the writer's time.
const PIECE: usize = 500;

pub(super) async fn prune(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! { () = shared.stop.cancelled() => return, _ = ticks.tick() => {} }
        loop {
            match shared.store.prune(shared.config().retention, PIECE, None).await {
                Ok(pruned) if pruned.more && !shared.stop.is_cancelled() => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "pruning waits for the store");
                    break;
                }
            }
        }
    }
}
