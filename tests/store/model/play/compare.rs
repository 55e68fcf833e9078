//! What both sides say of every job and every queue.

use super::{Player, Verdict, same, works};
use crate::{store::model::reference::RefJob, support::name};
use std::collections::{BTreeMap, BTreeSet};
use windlass::{
    job::{HolderId, Job, JobId, Json, Name, State, Timestamp},
    store::Filter,
};

impl Player {
    pub(super) async fn compare(&self) -> Verdict {
        let page = works("list", self.store.list(&Filter::default(), None, 1000).await)?;
        same("one page holds all", page.next.is_none(), true)?;
        let ids: BTreeSet<JobId> = page.items.iter().map(|job| job.id).collect();
        same("jobs", ids, self.reference.jobs.iter().map(|job| job.id).collect())?;
        for job in &page.items {
            let expected = self.reference.find(job.id).ok_or("a job came out of nowhere")?;
            self.compare_job(job, expected)?;
        }
        self.compare_queues().await
    }

    fn compare_job(&self, job: &Job, expected: &RefJob) -> Verdict {
        let mut shown = Shown::of_store(job);
        if shown.parent.is_some_and(|parent| expected.asked_too.contains(&parent)) {
            shown.parent = expected.parent;
        }
        same(&format!("job {}", job.id), shown, Shown::of_reference(expected))?;
        let any_outcome = |n: usize| expected.attempts.get(n).is_some_and(|(_, outcome)| outcome.is_none());
        let outcomes: Vec<_> = job.attempts.iter().enumerate().map(|(n, a)| (a.number, (!any_outcome(n)).then_some(a.outcome))).collect();
        same(&format!("attempts of {}", job.id), outcomes, expected.attempts.clone())?;
        let reason_is_right = match &job.reason {
            None => expected.reasons.is_empty(),
            Some(reason) => self.reference.may_say(expected, reason),
        };
        if reason_is_right {
            Ok(())
        } else {
            Err(format!("reason of {}: {:?} is none of {:?}; waits for {:?}", job.id, job.reason, expected.reasons, expected.after))
        }
    }

    async fn compare_queues(&self) -> Verdict {
        let mut expected: BTreeMap<(String, State), u64> = BTreeMap::new();
        for job in &self.reference.jobs {
            *expected.entry((job.queue.to_string(), job.state)).or_default() += 1;
        }
        let (mut counted, mut paused) = (BTreeMap::new(), BTreeSet::new());
        for status in works("queues", self.store.queues(self.now()).await)? {
            counted.extend(status.jobs.iter().filter(|(_, n)| **n > 0).map(|(state, n)| ((status.name.clone(), *state), *n)));
            if status.paused.is_some() {
                paused.insert(name(&status.name));
            }
        }
        same("jobs per queue and state", counted, expected)?;
        same("paused queues", paused, self.reference.paused.clone())
    }
}

/// What both sides must say of a job, word for word.
#[derive(Debug, PartialEq)]
struct Shown {
    place: (Name, Option<Name>, Name, u8),
    state: State,
    attempt: (u32, u32),
    /// When due; of a parked job the end of the park. What it was for a final job nobody asks.
    run_at: Option<Timestamp>,
    times: (Timestamp, Option<Timestamp>, Option<Timestamp>),
    key: (Option<Name>, bool, Option<Name>),
    deaths: u32,
    holder: Option<HolderId>,
    payload: Json,
    result: Option<Json>,
    checkpoint: Option<Json>,
    parent: Option<JobId>,
    children: Vec<JobId>,
}

impl Shown {
    fn of_store(job: &Job) -> Self {
        Self {
            place: (job.queue.clone(), job.tenant.clone(), job.kind.clone(), job.priority),
            state: job.state,
            attempt: (job.attempt, job.max_attempts),
            run_at: (!job.state.is_final()).then_some(job.run_at),
            times: (job.created_at, job.expires_at, job.finished_at),
            key: (job.concurrency_key.clone(), job.ordered, job.unique_key.clone()),
            deaths: job.deaths,
            holder: job.holder,
            payload: job.payload.clone(),
            result: job.result.clone(),
            checkpoint: job.checkpoint.clone().filter(|_| !job.state.is_final()),
            parent: job.extra.parent,
            children: job.extra.children.clone(),
        }
    }

    fn of_reference(job: &RefJob) -> Self {
        let running = u32::from(job.state == State::Running);
        Self {
            place: (job.queue.clone(), job.tenant.clone(), job.kind.clone(), job.priority),
            state: job.state,
            attempt: (job.attempt + running, job.max_attempts),
            run_at: match job.state {
                State::Parked => Some(job.park_until),
                state => (!state.is_final()).then_some(job.run_at),
            },
            times: (job.created_at, job.expires_at, job.finished_at),
            key: (job.key.clone(), job.ordered, job.unique.as_ref().map(|(key, _)| key.clone())),
            deaths: job.deaths,
            holder: job.lease.as_ref().map(|own| own.holder),
            payload: job.payload.clone(),
            result: job.result.clone(),
            checkpoint: job.checkpoint.clone().filter(|_| job.is_live()),
            parent: job.parent,
            children: job.children.clone(),
        }
    }
}
