//! Our own loop: grants in, attempts out. A job that answers at once costs no task; one that waits becomes its own.

use super::{attempt, held::Grant, shared::Shared};
use futures_util::FutureExt as _;
use std::{sync::Arc, task::Poll};
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
            tasks.spawn(async move { start(&shared, chunk, &tracker).await });
        }
    }
}

async fn start(shared: &Arc<Shared>, chunk: Vec<Grant>, tasks: &TaskTracker) {
    for grant in chunk {
        let mut attempt = attempt::run(shared.clone(), grant).boxed();
        if let Poll::Pending = futures_util::poll!(&mut attempt) {
            tasks.spawn(attempt);
        }
    }
}
