//! One run of one job: its worker under a deadline, stoppable from outside, panics caught. Whatever happens becomes an
//! [`Ended`] before anyone looks at it.

use super::{
    held::{Grant, Held, Stop},
    settle::{self, Ended},
    shared::{Instruments, Shared},
    worker::{Context, Outcome, Worker},
};
use crate::job::{LeasedJob, Timestamp};
use futures_util::FutureExt as _;
use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio_util::task::TaskTracker;

/// Runs `grant` as a task of its own, so that a worker that computes before its first wait holds up nobody behind it; here,
/// up to that wait, only where the last run of its kind was over before a task would have paid.
pub(super) async fn start(shared: &Arc<Shared>, grant: Grant, tasks: &TaskTracker) {
    let instruments = shared.instruments(&grant.leased.job.queue, &grant.leased.job.kind);
    let is_quick = instruments.is_quick();
    let mut attempt = run(shared.clone(), instruments, grant).boxed();
    if !is_quick || futures_util::poll!(&mut attempt).is_pending() {
        tasks.spawn(attempt);
    }
}

/// Runs `grant` and hands its settlement on. Never fails and never panics.
async fn run(shared: Arc<Shared>, instruments: Arc<Instruments>, grant: Grant) {
    let Grant { leased, held, slot } = grant;
    let started_at = shared.clock.now();
    let job = &leased.job;
    instruments.wait.observe(started_at.since(job.due_at).as_secs_f64());
    let timeout = timeout(job);
    let context = Context::new(held.stopped.clone(), started_at, started_at.plus(timeout), held.progress.clone());
    // A drain that began since the grant, or a cancel: a job that has not started is not started now.
    let too_late = held.stopped.is_cancelled() || shared.stop.is_cancelled();
    let ended = match shared.register.get(&job.kind).filter(|_| !too_late) {
        None => Ended::Stopped(held.why()),
        Some(worker) => tokio::select! {
            biased;
            ended = call(worker.as_ref(), job, &context, timeout) => ended,
            () = held.stopped.cancelled() => Ended::Stopped(held.why()),
        },
    };
    let now = shared.clock.now();
    instruments.ran(now.since(started_at));
    finish(&shared, &held, job, ended, started_at, now);
    drop(slot);
}

/// What the store gave it from its envelope or its kind.
pub(super) fn timeout(job: &LeasedJob) -> Duration {
    Duration::from_millis(job.timeout_ms.unwrap_or(300_000))
}

async fn call(worker: &dyn Worker, job: &LeasedJob, context: &Context, timeout: Duration) -> Ended {
    let mut run = AssertUnwindSafe(worker.run(job, context)).catch_unwind();
    // Most of the time a timer costs more than a job that answers at once.
    let first = futures_util::poll!(&mut run);
    let outcome = match first {
        std::task::Poll::Ready(outcome) => Ok(outcome),
        std::task::Poll::Pending => tokio::time::timeout(timeout, run).await,
    };
    match outcome {
        Ok(Ok(outcome)) => Ended::Returned(Box::new(outcome)),
        Ok(Err(panic)) => Ended::Panicked(panic_text(panic.as_ref())),
        Err(_elapsed) => Ended::TimedOut { timeout },
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".into())
}

/// Decides where the job goes and queues the settlement. A run whose lease is lost has nothing left to say.
pub(super) fn finish(shared: &Shared, held: &Held, job: &LeasedJob, ended: Ended, started_at: Timestamp, now: Timestamp) {
    if let Ended::Stopped(Stop::LeaseLost) = ended {
        shared.holding.settled(std::iter::once(held.lease));
        return;
    }
    held.hand_on();
    let kind = shared.kind(&job.kind);
    let settlement = settle::decide(held.lease, job, ended, &kind, started_at, now);
    shared.instruments(&job.queue, &job.kind).ended(settlement.transition.outcome());
    shared.settle(settlement, job.queue.clone());
}

/// For programs that run handlers of their own: the same end, from a plain outcome.
pub(super) fn finish_with(shared: &Shared, grant: &Grant, outcome: Outcome, started_at: Timestamp) {
    let now = shared.clock.now();
    finish(shared, &grant.held, &grant.leased.job, Ended::Returned(Box::new(outcome)), started_at, now);
}
