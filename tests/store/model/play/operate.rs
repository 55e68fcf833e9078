//! What an operator does to jobs and queues.

use super::{Player, QUEUES, Verdict, actor, agree, pick, same, works};
use crate::{
    store::model::{
        history::Nth,
        reference::{RefJob, Refusal},
    },
    support::{name, operator},
};
use std::collections::HashSet;
use windlass::{
    job::{JobId, Name, State},
    store::{Cancelled, Retention},
};

impl Player {
    /// Mostly one of those that the act is for, else any.
    fn target(&self, which: Nth, fits: impl Fn(&RefJob) -> bool) -> Option<JobId> {
        let fitting = self.reference.ids(|job| fits(job) && job.queue != "anchor");
        if which.is_multiple_of(5) || fitting.is_empty() { pick(&self.known[1..], which / 5) } else { pick(&fitting, which / 5) }
    }

    pub(super) async fn cancel(&mut self, which: Nth) -> Verdict {
        let Some(id) = self.target(which, RefJob::is_live) else { return Ok(()) };
        self.tell("target", &id);
        let answer = self.store.cancel(id, "asked", &actor(), self.now()).await;
        let expected: Result<Cancelled, Refusal> = self.reference.cancel(id, "asked");
        agree("cancel", answer, expected)
    }

    pub(super) async fn run_now(&mut self, which: Nth) -> Verdict {
        let Some(id) = self.target(which, |job| matches!(job.state, State::Scheduled | State::Parked)) else { return Ok(()) };
        self.tell("target", &id);
        agree("run_now", self.store.run_now(id, &actor(), self.now()).await, self.reference.run_now(id))
    }

    pub(super) async fn redrive(&mut self, which: Nth) -> Verdict {
        let Some(id) = self.target(which, |job| job.state == State::Dead) else { return Ok(()) };
        // Since when a redriven job is debounced is nobody's promise.
        let debounced = self.reference.find(id).and_then(|job| job.unique.as_ref()).is_some_and(|(key, _)| key.starts_with(['d', 's']));
        if debounced {
            return Ok(());
        }
        self.tell("target", &id);
        agree("redrive", self.store.redrive(id, &actor(), self.now()).await, self.reference.redrive(id))
    }

    pub(super) async fn purge(&mut self, which: Nth) -> Verdict {
        let Some(id) = self.target(which, |job| job.state == State::Dead) else { return Ok(()) };
        self.tell("target", &id);
        agree("purge", self.store.purge(id, &actor(), self.now()).await, self.reference.purge(id))
    }

    pub(super) async fn unpark(&mut self, which: Nth) -> Verdict {
        let Some(token) = pick(&self.tokens, which) else { return Ok(()) };
        agree("unpark", self.store.unpark(&token, None, &operator(), self.now()).await, self.reference.unpark(&token))
    }

    pub(super) async fn learn_kind(&mut self) -> Verdict {
        self.reference.kinds.insert(name("strange"));
        let kinds: Vec<Name> = self.reference.kinds.iter().cloned().collect();
        let woken = works("unpark_kinds", self.store.unpark_kinds(&kinds, self.now()).await)?;
        same("woken", woken, self.reference.unpark_kinds(&kinds))
    }

    pub(super) async fn pause(&mut self, queue: u8, pause: bool) -> Verdict {
        let queue = name(QUEUES[usize::from(queue)]);
        if pause {
            self.reference.paused.insert(queue.clone());
            works("pause", self.store.pause(&queue, "maintenance", None, &actor(), self.now()).await)
        } else {
            self.reference.paused.remove(&queue);
            works("resume", self.store.resume(&queue, &actor(), self.now()).await)
        }
    }

    pub(super) async fn prune(&mut self, dead: bool) -> Verdict {
        let retention = Retention { finished_hours: 1, dead_hours: u64::from(dead), ..Retention::default() };
        let pruned = works("prune", self.store.prune(retention, 1000, self.now()).await)?;
        let mut kept = HashSet::new();
        if self.store.name() == "postgres" {
            // It forgets a whole partition at a time, and so keeps some longer.
            for id in self.reference.finished_before(retention) {
                if works("get", self.store.get(id).await)?.is_some() {
                    kept.insert(id);
                }
            }
        }
        same("pruned", pruned.jobs, self.reference.prune(retention, &kept))
    }
}
