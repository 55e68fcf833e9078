//! What the engine and the workers say to each other. A worker gets a job and a [`Context`], and returns data: it cannot
//! reach the store, and the engine knows no worker by name.

pub use crate::job::Verdict;

use crate::job::{Effect, ErrorClass, JobError, Json, LeasedJob, Limits, Name, NewJob, Timestamp, Usage};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// The code that runs one kind of job.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Runs one attempt. May be cut at any `await` when the attempt is cancelled, times out, or loses its lease; what it
    /// did outside by then must bear being done again.
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome;
}

/// What an attempt is given besides the job.
#[derive(Clone, Debug)]
pub struct Context {
    /// Fires when the attempt should end early; the engine drops the future soon after.
    pub cancelled: CancellationToken,
    /// When the engine will call time, by the store's clock.
    pub deadline: Timestamp,
    /// The start of this attempt, by the store's clock.
    pub now: Timestamp,
    progress: Arc<Mutex<Option<Json>>>,
}

impl Context {
    #[must_use]
    pub fn new(cancelled: CancellationToken, now: Timestamp, deadline: Timestamp, progress: Arc<Mutex<Option<Json>>>) -> Self {
        Self { cancelled, deadline, now, progress }
    }

    /// For tests of a worker by itself: nobody cancels, a minute to go.
    #[must_use]
    pub fn detached(now: Timestamp) -> Self {
        Self::new(CancellationToken::new(), now, now.plus(Duration::from_secs(60)), Arc::default())
    }

    /// Shows `value` as the job's progress from the next heartbeat on. Cheap; only the newest value is kept.
    pub fn progress(&self, value: &impl serde::Serialize) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(Json::of(value));
    }
}

/// Everything a worker can return (contract 3). Whatever the verdict, all of it is written in the one settle.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub result: Option<Json>,
    pub usage: Vec<Usage>,
    pub follow_ups: Vec<NewJob>,
    pub effects: Vec<Effect>,
    /// Handed to the next attempt; at most 64 KiB, a larger one is an error of the worker and dead-letters the job.
    pub checkpoint: Option<Json>,
}

impl Outcome {
    #[must_use]
    pub const fn new(verdict: Verdict) -> Self {
        Self { verdict, result: None, usage: Vec::new(), follow_ups: Vec::new(), effects: Vec::new(), checkpoint: None }
    }

    #[must_use]
    pub const fn complete() -> Self {
        Self::new(Verdict::Complete)
    }

    #[must_use]
    pub fn complete_with(result: &impl serde::Serialize) -> Self {
        Self { result: Some(Json::of(result)), ..Self::complete() }
    }

    pub fn retry(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Verdict::Retry { error: JobError::new(ErrorClass::Retry, code, message), after: None })
    }

    pub fn reject(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Verdict::Reject { error: JobError::new(ErrorClass::Permanent, code, message) })
    }

    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage.push(usage);
        self
    }

    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    #[must_use]
    pub fn with_result(mut self, result: &impl serde::Serialize) -> Self {
        self.result = Some(Json::of(result));
        self
    }

    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: &impl serde::Serialize) -> Self {
        self.checkpoint = Some(Json::of(checkpoint));
        self
    }

    /// The largest checkpoint that is taken, in bytes.
    pub const CHECKPOINT_BYTES: usize = Limits::CHECKPOINT_BYTES;
}

/// Which worker runs which kind. Filled once at start by `workers::register`, by an embedding program, or by a test.
#[derive(Clone, Default)]
pub struct Register {
    workers: BTreeMap<Name, Arc<dyn Worker>>,
}

impl Register {
    #[must_use]
    pub fn with(mut self, kind: &'static str, worker: impl Worker) -> Self {
        self.workers.insert(Name::literal(kind), Arc::new(worker));
        self
    }

    /// For programs that run handlers of their own (`engine::backend`): says which kinds they take.
    #[must_use]
    pub fn for_kinds(kinds: impl IntoIterator<Item = Name>) -> Self {
        struct Elsewhere;
        #[async_trait]
        impl Worker for Elsewhere {
            async fn run(&self, _: &LeasedJob, _: &Context) -> Outcome {
                Outcome::reject("no_worker", "this kind is run by a handler outside the engine")
            }
        }
        let elsewhere: Arc<dyn Worker> = Arc::new(Elsewhere);
        Self { workers: kinds.into_iter().map(|kind| (kind, elsewhere.clone())).collect() }
    }

    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Worker>> {
        self.workers.get(kind)
    }

    #[must_use]
    pub fn kinds(&self) -> std::collections::BTreeSet<Name> {
        self.workers.keys().cloned().collect()
    }
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.workers.keys()).finish()
    }
}
