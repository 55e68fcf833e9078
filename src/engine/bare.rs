//! Our own loop: grants in, attempts out. A job that answers at once costs no task; any other becomes its own.

use super::{attempt, held::Grant, shared::Shared};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Jobs of one reply that share a task until they first wait: bounds what a handler that computes before its first await
/// can hold up, and spreads a large reply over the cores.
const CHUNK: usize = 64;

pub(super) async fn run(shared: Arc<Shared>, mut grants: mpsc::Receiver<Vec<Grant>>, tasks: TaskTracker) {
    while let Some(batch) = grants.recv().await {
        let mut batch = batch.into_iter().peekable();
        while batch.peek().is_some() {
            let chunk: Vec<Grant> = batch.by_ref().take(CHUNK).collect();
            let (shared, tracker) = (shared.clone(), tasks.clone());
            tasks.spawn(async move {
                for grant in chunk {
                    attempt::start(&shared, grant, &tracker).await;
                }
            });
        }
    }
}
