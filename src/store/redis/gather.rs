//! Callers at one time share a call. Most of what a call costs the server is the call, not its jobs; so whoever comes while others are on their
//! way waits for one of these to come back, and then goes with all who came meanwhile. A lone caller waits for nobody.

use super::RedisStore;
use crate::{
    job::{NewJob, Timestamp},
    store::{Enqueued, Error, Result},
};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Semaphore, oneshot};

/// Calls on their way: the server works on one while the other travels.
const ON_THEIR_WAY: usize = 2;
/// Jobs that go together: a millisecond or two of the server's time.
const TOGETHER: usize = 500;

pub(super) struct Gathering {
    waiting: Mutex<Vec<Waiting>>,
    calls: Semaphore,
}

/// One caller's jobs, and where their answers go.
struct Waiting {
    jobs: Vec<NewJob>,
    answers: oneshot::Sender<Answered>,
}

enum Answered {
    Together(Vec<Enqueued>),
    /// The call failed: here they are again.
    Alone(Vec<NewJob>),
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
        let mut jobs = 0;
        let fit = waiting.iter().take_while(|one| {
            jobs += one.jobs.len();
            jobs <= TOGETHER
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
        if now.is_some() || jobs.len() > TOGETHER || !jobs.iter().all(is_plain) {
            return self.enqueue_jobs(&jobs, now).await;
        }
        let (answers, mut told) = oneshot::channel();
        self.gathering.waiting().push(Waiting { jobs, answers });
        loop {
            let is_taken = tokio::select! {
                biased;
                answered = &mut told => return self.understood(answered).await,
                call = self.gathering.calls.acquire() => {
                    let gathered = self.gathering.take();
                    let is_taken = gathered.is_empty();
                    self.enqueue_gathered(gathered).await;
                    drop(call);
                    is_taken
                }
            };
            if is_taken {
                return self.understood(told.await).await;
            }
        }
    }

    async fn understood(&self, answered: std::result::Result<Answered, oneshot::error::RecvError>) -> Result<Vec<Enqueued>> {
        match answered {
            Ok(Answered::Together(answers)) => Ok(answers),
            // By their ids it is known which of them are there already.
            Ok(Answered::Alone(jobs)) => self.enqueue_jobs(&jobs, None).await,
            Err(_) => Err(Error::Unknown("who made the call for several callers gave it up".into())),
        }
    }

    /// One call for all of them.
    async fn enqueue_gathered(&self, gathered: Vec<Waiting>) {
        let (jobs, callers): (Vec<Vec<NewJob>>, Vec<_>) = gathered.into_iter().map(|one| (one.jobs, one.answers)).unzip();
        let counts: Vec<usize> = jobs.iter().map(Vec::len).collect();
        let jobs: Vec<NewJob> = jobs.into_iter().flatten().collect();
        if jobs.is_empty() {
            return;
        }
        let mut answers = self.enqueue_jobs(&jobs, None).await.map(Vec::into_iter);
        let mut jobs = jobs.into_iter();
        for (caller, count) in callers.into_iter().zip(counts) {
            let answered = match &mut answers {
                Ok(answers) => Answered::Together(answers.by_ref().take(count).collect()),
                Err(_) => Answered::Alone(jobs.by_ref().take(count).collect()),
            };
            // Who has gone asks no more.
            let _ = caller.send(answered);
        }
    }
}
