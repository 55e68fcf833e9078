//! Callers at one time share a call. Most of what a call costs the server is the call, not its jobs; so whoever comes while others are on their
//! way waits for one of these to come back, and then goes with all who came meanwhile. A lone caller waits for nobody.

use super::RedisStore;
use crate::{
    job::{NewJob, Timestamp},
    store::{Enqueued, Result},
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, oneshot};

/// Calls on their way: the server works on one while the other travels.
const ON_THEIR_WAY: usize = 2;
/// Jobs that go together: a millisecond or two of the server's time.
const TOGETHER: usize = 500;
const TOGETHER_BYTES: usize = 4 << 20;

pub(super) struct Gathering {
    waiting: Mutex<Vec<Waiting>>,
    calls: Semaphore,
}

/// One caller's jobs, and where their answers go.
struct Waiting {
    jobs: Arc<Vec<NewJob>>,
    answers: oneshot::Sender<Answered>,
}

enum Answered {
    Together(Vec<Enqueued>),
    /// The call failed.
    Alone,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { waiting: Mutex::default(), calls: Semaphore::new(ON_THEIR_WAY) }
    }
}

impl Gathering {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who came first.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        // Who has gone does not want it any more.
        waiting.retain(|one| !one.answers.is_closed());
        let (mut jobs, mut bytes) = (0, 0);
        let fit = waiting.iter().take_while(|one| {
            let is_first = jobs == 0;
            jobs += one.jobs.len();
            bytes += one.jobs.iter().map(|job| job.payload.as_str().len()).sum::<usize>();
            is_first || jobs <= TOGETHER && bytes <= TOGETHER_BYTES
        });
        let n = fit.count();
        waiting.drain(..n).collect()
    }
}

/// Nothing that is there already can be a reason to refuse it, so that no caller's jobs fail another's.
fn is_plain(job: &NewJob) -> bool {
    !job.id_is_producers && job.unique.is_none() && job.idempotency_key.is_none() && job.extra.after.is_empty()
}

impl RedisStore {
    pub(super) async fn enqueue_together(&self, jobs: Vec<NewJob>, now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        if now.is_some() || jobs.len() > TOGETHER || !jobs.iter().all(is_plain) {
            return self.enqueue_jobs(&jobs, now).await;
        }
        let (answers, mut told) = oneshot::channel();
        let jobs = Arc::new(jobs);
        self.gathering.waiting().push(Waiting { jobs: jobs.clone(), answers });
        loop {
            let is_taken = tokio::select! {
                biased;
                answered = &mut told => return self.understood(answered, &jobs).await,
                call = self.gathering.calls.acquire() => {
                    let gathered = self.gathering.take();
                    let is_taken = gathered.is_empty();
                    self.enqueue_gathered(gathered).await;
                    drop(call);
                    is_taken
                }
            };
            if is_taken {
                return self.understood(told.await, &jobs).await;
            }
        }
    }

    async fn understood(
        &self,
        answered: std::result::Result<Answered, oneshot::error::RecvError>,
        jobs: &[NewJob],
    ) -> Result<Vec<Enqueued>> {
        match answered {
            Ok(Answered::Together(answers)) => Ok(answers),
            // Or who made it has gone. By their ids it is known which of them are there already.
            Ok(Answered::Alone) | Err(_) => self.enqueue_jobs(jobs, None).await,
        }
    }

    /// One call for all of them.
    async fn enqueue_gathered(&self, gathered: Vec<Waiting>) {
        let jobs: Vec<NewJob> = gathered.iter().flat_map(|one| one.jobs.iter().cloned()).collect();
        if jobs.is_empty() {
            return;
        }
        let mut answers = self.enqueue_jobs(&jobs, None).await.map(Vec::into_iter);
        for one in gathered {
            let answered = match &mut answers {
                Ok(answers) => Answered::Together(answers.by_ref().take(one.jobs.len()).collect()),
                Err(_) => Answered::Alone,
            };
            // Who has gone asks no more.
            let _ = one.answers.send(answered);
        }
    }
}
