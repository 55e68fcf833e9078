//! Our stores as an apalis 1.0 backend: for programs that run their own apalis handlers over them, and for the daemon's
//! apalis runner. Leases, fencing, durable backoff and settling stay in our pumps; apalis is given one job after another.

use super::{Parts, Pumps, attempt, held::Grant, pumps, settle::Ended, shared::Shared, worker::Outcome};
use crate::{
    job::{ErrorClass, JobError, LeasedJob},
    store,
};
use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral, future::BoxSyncFuture},
    error::{AbortError, BoxDynError, RetryAfterError},
    task::{Task, builder::TaskBuilder, task_id::TaskId},
    worker::context::WorkerContext,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::sync::mpsc;
use tower::{Layer, Service};

/// What travels with a task through apalis; taken once, by the layer that settles it.
#[derive(Clone)]
pub(super) struct Ticket(Arc<Mutex<Option<Grant>>>);

impl Ticket {
    fn new(grant: Grant) -> Self {
        Self(Arc::new(Mutex::new(Some(grant))))
    }

    pub(super) fn take(&self) -> Option<Grant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Grants as a stream of tasks.
pub(super) struct Feed {
    grants: mpsc::Receiver<Vec<Grant>>,
    reply: std::vec::IntoIter<Grant>,
}

impl Feed {
    pub(super) fn new(grants: mpsc::Receiver<Vec<Grant>>) -> Self {
        Self { grants, reply: Vec::new().into_iter() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Grant>> {
        loop {
            if let Some(grant) = self.reply.next() {
                return Poll::Ready(Some(grant));
            }
            match self.grants.poll_recv(cx) {
                Poll::Ready(Some(reply)) => self.reply = reply.into_iter(),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next task: `args` made of the grant, the grant itself in the task's data. The id given to apalis has the epoch in
    /// it, because a redelivery while the former run still lingers must not collide in the worker's table of tasks.
    pub(super) fn poll_task<A: Send + 'static>(
        &mut self,
        cx: &mut Context<'_>,
        args: impl FnOnce(&Grant) -> A,
    ) -> Poll<Option<Result<Task<A>, store::Error>>> {
        self.poll(cx).map(|grant| {
            grant.map(|grant| {
                let id = TaskId::from_string(format!("{}-{}", grant.leased.lease.job, grant.leased.lease.epoch));
                let attempt = usize::try_from(grant.leased.job.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
                Ok(TaskBuilder::new(args(&grant)).task_id(id).attempt(attempt).data(Ticket::new(grant)).build())
            })
        })
    }
}

/// An apalis backend over one of our stores. Its tasks carry a [`LeasedJob`]; a handler's `Ok` completes the job, an
/// `AbortError` dead-letters it, a `RetryAfterError` retries after its time, any other error retries by the kind's curve.
///
/// The handler's kinds must be in `parts.register` with any worker: the register says which kinds this program takes.
/// Concurrency is `parts.config.slots`; leave apalis' own limit at or above it. The pumps run as tasks of the current
/// runtime, so make it inside one; panics belong to apalis' `catch_panic`, which aborts.
pub struct LeaseBackend {
    feed: Feed,
    pumps: Rest,
    closing: Option<BoxSyncFuture<()>>,
}

/// The pumps without their outlet.
struct Rest {
    shared: Arc<Shared>,
    engine: Option<super::Engine>,
}

impl LeaseBackend {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Pumps { shared, grants, beat_end, beat, poller, settler, upkeep } = pumps(parts);
        let tasks = tokio_util::task::TaskTracker::new();
        let runner = tokio::spawn(std::future::pending());
        let engine = super::Engine { shared: shared.clone(), beat_end, beat, poller, settler, runner, upkeep, tasks };
        Self { feed: Feed::new(grants), pumps: Rest { shared, engine: Some(engine) }, closing: None }
    }
}

impl Backend for LeaseBackend {
    type Task = Task<LeasedJob>;
    type Error = store::Error;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), store::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Task<LeasedJob>, store::Error>>> {
        self.feed.poll_task(cx, |grant| grant.leased.job.clone())
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), store::Error>> {
        let closing = self.closing.get_or_insert_with(|| {
            let engine = self.pumps.engine.take();
            let drain = async move {
                if let Some(engine) = engine {
                    engine.drain(tokio_util::sync::CancellationToken::new()).await;
                }
            };
            drain.boxed().into()
        });
        closing.poll_unpin(cx).map(Ok)
    }
}

impl BackendConfig for LeaseBackend {
    type Args = LeasedJob;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = SettleLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> SettleLayer {
        SettleLayer(self.pumps.shared.clone())
    }
}

/// Turns a handler's answer into the job's settlement, under the lease it was granted.
#[derive(Clone)]
pub struct SettleLayer(Arc<Shared>);

impl<S> Layer<S> for SettleLayer {
    type Service = SettleService<S>;
    fn layer(&self, inner: S) -> SettleService<S> {
        SettleService { inner, shared: self.0.clone() }
    }
}

#[derive(Clone)]
pub struct SettleService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, A> Service<Task<A>> for SettleService<S>
where
    S: Service<Task<A>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxDynError>,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<S::Response, BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<A>) -> Self::Future {
        let grant = task.ctx().data().get::<Ticket>().and_then(Ticket::take);
        let run = self.inner.call(task);
        let shared = self.shared.clone();
        async move {
            let Some(grant) = grant else { return Err("this task was delivered twice".into()) };
            let started_at = shared.clock.now();
            let timeout = attempt::timeout(&grant.leased.job);
            let ended = tokio::select! {
                biased;
                answer = tokio::time::timeout(timeout, run) => answer.map_err(|_elapsed| Ended::TimedOut { timeout }),
                () = grant.held.stopped.cancelled() => Err(Ended::Stopped(grant.held.why())),
            };
            let answer = match ended {
                Ok(answer) => answer.map_err(Into::into),
                Err(ended) => {
                    attempt::finish(&shared, &grant.held, &grant.leased.job, ended, started_at, shared.clock.now());
                    return Err("stopped from outside, or out of time".into());
                }
            };
            attempt::finish_with(&shared, &grant, outcome(&answer), started_at);
            answer
        }
        .boxed()
    }
}

fn outcome<T>(answer: &Result<T, BoxDynError>) -> Outcome {
    use super::worker::Verdict;
    match answer {
        Ok(_) => Outcome::complete(),
        Err(error) if error.is::<AbortError>() => Outcome::reject("aborted", error.to_string()),
        Err(error) => {
            let after = error.downcast_ref::<RetryAfterError>().map(RetryAfterError::get_duration);
            Outcome::new(Verdict::Retry { error: JobError::new(ErrorClass::Retry, "handler", error.to_string()), after })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        engine::{
            Config,
            worker::{self, Register, Worker},
        },
        job::{Json, Name, NewJob, Settings},
        store::{Options, Role},
        telemetry::Metrics,
    };

    struct Never;

    #[async_trait::async_trait]
    impl Worker for Never {
        async fn run(&self, _: &LeasedJob, _: &worker::Context) -> Outcome {
            Outcome::complete()
        }
    }

    /// A backend over a store that holds `job`, and beats often.
    async fn backend(folder: &std::path::Path, job: &NewJob) -> (LeaseBackend, Arc<dyn store::Store>) {
        let url = format!("sqlite:{}", folder.join("test.db").display());
        let store = store::open(&url, Role::Daemon { control: None }, Options::default()).await.unwrap();
        store.enqueue(vec![job.clone()], None).await.unwrap();
        let config = Config { beat_ms: 20, lease_ms: 3_600_000, ..Config::default() };
        let register = Register::default().with("work", Never);
        let (settings, metrics, clock) = (Settings::default(), Metrics::new(), Clock::System);
        (LeaseBackend::new(Parts { store: store.clone(), register, config, settings, metrics, clock }), store)
    }

    fn job() -> NewJob {
        NewJob::new(Name::literal("work"), Json::trusted("{}"))
    }

    #[tokio::test]
    async fn a_task_that_is_dropped_unrun_comes_again_without_waiting_for_its_lease() {
        let (folder, job) = (tempfile::tempdir().unwrap(), job());
        let (mut backend, _store) = backend(folder.path(), &job).await;
        for _ in 0..2 {
            let grant = std::future::poll_fn(|cx| backend.feed.poll(cx)).await.expect("the pumps go on");
            assert_eq!(grant.leased.job.id, job.id);
        }
    }

    /// A handler that never answers.
    #[derive(Clone)]
    struct Hangs;

    impl Service<Task<LeasedJob>> for Hangs {
        type Response = ();
        type Error = BoxDynError;
        type Future = std::future::Pending<Result<(), BoxDynError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Task<LeasedJob>) -> Self::Future {
            std::future::pending()
        }
    }

    #[tokio::test]
    async fn a_handler_that_hangs_is_ended_by_its_job_s_timeout() {
        let folder = tempfile::tempdir().unwrap();
        let job = NewJob { timeout_ms: Some(10), max_attempts: Some(1), ..job() };
        let (mut backend, store) = backend(folder.path(), &job).await;
        let task = std::future::poll_fn(|cx| backend.feed.poll_task(cx, |grant| grant.leased.job.clone())).await.unwrap().unwrap();
        let mut handler = SettleLayer(backend.pumps.shared.clone()).layer(Hangs);
        handler.call(task).await.expect_err("it was ended");
        backend.pumps.engine.take().unwrap().drain(tokio_util::sync::CancellationToken::new()).await;
        let ended = store.get(job.id).await.unwrap().unwrap();
        let code = ended.attempts[0].error.as_ref().map(|error| error.code.as_str());
        assert_eq!((ended.reason.as_deref(), code), (Some("attempts_spent"), Some("timeout")));
    }
}
