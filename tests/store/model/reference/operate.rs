//! What an operator does to jobs, and what is forgotten.

use super::{Held, RefJob, Reference, Refusal};
use std::collections::HashSet;
use windlass::{
    job::{JobId, Name, State},
    store::{Cancelled, Retention},
};

impl Reference {
    pub fn cancel(&mut self, id: JobId, reason: &str) -> Result<Cancelled, Refusal> {
        self.begin();
        let job = self.find_mut(id).ok_or(Refusal::NotFound)?;
        if let Some(own) = &mut job.lease {
            own.cancel = Some(reason.to_owned());
            return Ok(Cancelled::Asked);
        }
        if job.state.is_final() {
            return Ok(Cancelled::AlreadyFinal);
        }
        self.end(id, State::Cancelled, reason);
        Ok(Cancelled::Now)
    }

    pub fn run_now(&mut self, id: JobId) -> Result<(), Refusal> {
        self.begin();
        let now = self.now;
        let job = self.find_mut(id).ok_or(Refusal::NotFound)?;
        if !matches!(job.state, State::Scheduled | State::Parked) {
            return Err(Refusal::NotAllowed);
        }
        job.run_at = now;
        self.wake(id, Some(0));
        Ok(())
    }

    pub fn unpark(&mut self, token: &str) -> Result<JobId, Refusal> {
        self.begin();
        let id = self.jobs.iter().find(|job| job.token.as_deref() == Some(token)).map(|job| job.id).ok_or(Refusal::NotFound)?;
        self.wake(id, Some(0));
        Ok(id)
    }

    pub fn unpark_kinds(&mut self, kinds: &[Name]) -> u64 {
        self.begin();
        let woken = self.ids(|job| job.state == State::Parked && job.reasons == ["unknown_kind"] && kinds.contains(&job.kind));
        for id in &woken {
            self.wake(*id, Some(0));
        }
        woken.len() as u64
    }

    pub fn redrive(&mut self, id: JobId) -> Result<(), Refusal> {
        self.begin();
        let (now, order) = (self.now, self.order);
        let job = self.find(id).ok_or(Refusal::NotFound)?;
        if job.state != State::Dead {
            return Err(Refusal::NotAllowed);
        }
        if let Some((key, mode)) = job.unique.clone() {
            let place = (job.tenant.clone(), job.queue.clone(), key);
            let held = self.uniques.get(&place).cloned();
            if let Some(held) = held.as_ref().filter(|held| held.id != id && self.is_held(held)) {
                return Err(Refusal::Duplicate { index: 0, holder: held.id });
            }
            let until = held.filter(|held| held.id == id).map_or(now, |held| held.until);
            self.uniques.insert(place, Held { id, mode, until, first_at: None });
        }
        let job = self.job_mut(id);
        (job.state, job.attempt, job.deaths, job.run_at) = (State::Queued, 0, 0, now);
        (job.finished_at, job.expires_at, job.result) = (None, None, None);
        (job.key_started, job.turn) = (false, false);
        job.reasons.clear();
        job.after.clear();
        job.position = Some((order, 0));
        job.placed = true;
        Ok(())
    }

    pub fn purge(&mut self, id: JobId) -> Result<(), Refusal> {
        self.begin();
        let job = self.find(id).ok_or(Refusal::NotFound)?;
        if job.state != State::Dead {
            return Err(Refusal::NotAllowed);
        }
        self.jobs.retain(|job| job.id != id);
        Ok(())
    }

    /// Those that need not be kept any more.
    pub fn finished_before(&self, retention: Retention) -> Vec<JobId> {
        let until = self.now.minus(std::time::Duration::from_secs(retention.finished_hours * 3600));
        let over = |job: &&RefJob| matches!(job.state, State::Completed | State::Cancelled) && job.finished_at.is_some_and(|at| at < until);
        self.jobs.iter().filter(over).map(|job| job.id).collect()
    }

    /// Forgets what is past its retention, but for those that the store may keep longer.
    pub fn prune(&mut self, retention: Retention, kept: &HashSet<JobId>) -> u64 {
        self.begin();
        let hours = |hours: u64| self.now.minus(std::time::Duration::from_secs(hours * 3600));
        let (finished, dead) = (hours(retention.finished_hours), hours(retention.dead_hours));
        let before = self.jobs.len();
        self.jobs.retain(|job| match (job.state, job.finished_at) {
            (State::Completed | State::Cancelled, Some(at)) => at >= finished || kept.contains(&job.id),
            (State::Dead, Some(at)) => retention.dead_hours == 0 || at >= dead,
            _ => true,
        });
        (before - self.jobs.len()) as u64
    }
}
