//! The daemon's apalis runner: one apalis worker over the same pumps as the bare loop. The only file that names apalis'
//! worker types. apalis moves jobs and nothing else: attempts, panics, timeouts, cancellation, leases and settlements are
//! ours, because apalis' own do not wake, do not fence, or end the worker (README, "apalis").

use super::{
    attempt,
    backend::{Feed, Ticket},
    held::Grant,
    shared::Shared,
};
use crate::store;
use apalis::prelude::{BoxDynError, Data, WorkerBuilder};
use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::Identity,
    task::Task,
    worker::context::WorkerContext,
};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

struct GrantBackend(Feed);

impl Backend for GrantBackend {
    type Task = Task<()>;
    type Error = store::Error;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), store::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Task<()>, store::Error>>> {
        self.0.poll_task(cx, |_| ())
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), store::Error>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for GrantBackend {
    type Args = ();
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

pub(super) async fn run(shared: Arc<Shared>, grants: mpsc::Receiver<Vec<Grant>>, tasks: TaskTracker) {
    let worker = WorkerBuilder::new("windlass").backend(GrantBackend(Feed::new(grants))).data(shared).data(tasks).build(deliver);
    if let Err(error) = worker.run().await {
        tracing::error!(%error, "the apalis worker ended");
    }
}

/// A job that answers at once costs no task. Any other becomes its own: an apalis worker is a single task, and a
/// handler that computes between two waits would hold up all the others.
async fn deliver(_: (), ticket: Data<Ticket>, shared: Data<Arc<Shared>>, tasks: Data<TaskTracker>) -> Result<(), BoxDynError> {
    if let Some(grant) = ticket.take() {
        attempt::start(&shared, grant, &tasks).await;
    }
    Ok(())
}
