//! The orderly end: lease no more, let running jobs finish within the grace period, hand back the rest, write what is left
//! to write, say goodbye. No job is lost and no attempt is charged.

use super::{Engine, held::Stop};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Jobs handed back because the grace period ended.
    pub handed_back: usize,
    /// Leases that could not be given up because the store did not answer; they run out by themselves.
    pub left: usize,
}

/// What follows the grace period must fit into a second (contract P10).
const LAST_SECOND: Duration = Duration::from_millis(900);

impl Engine {
    /// Ends the engine. `hurry` ends the grace period at once.
    pub async fn drain(self, hurry: CancellationToken) -> Drained {
        let shared = self.shared;
        shared.stop.cancel();
        let _ = self.poller.await;
        let grace = shared.config().grace();
        tokio::select! {
            () = shared.holding.empty() => {}
            () = hurry.cancelled() => {}
            () = tokio::time::sleep(grace) => {}
        }
        let rest = shared.holding.all();
        for held in &rest {
            held.stop(Stop::HandedBack);
        }
        let in_time = tokio::time::timeout(LAST_SECOND, shared.holding.empty()).await.is_ok();
        if !in_time {
            shared.gone.cancel();
        }
        shared.close_settlements();
        self.runner.abort();
        self.upkeep.iter().for_each(tokio::task::JoinHandle::abort);
        self.tasks.close();
        let left = shared.holding.len();
        if in_time {
            let _ = self.settler.await;
            self.beat_end.cancel();
            let _ = self.beat.await;
            let _ = tokio::time::timeout(LAST_SECOND, shared.store.goodbye(shared.holder)).await;
        } else {
            self.settler.abort();
            self.beat.abort();
        }
        Drained { handed_back: rest.len(), left }
    }
}
