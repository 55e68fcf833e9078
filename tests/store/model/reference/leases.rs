//! The life of a lease: granted, kept by heartbeats, ended by a settlement or taken back.

use super::{RefLease, Reference, same};
use std::collections::BTreeSet;
use windlass::job::{Applied, AttemptOutcome, HolderId, JobId, Lease, OnHead, Settlement, State, Transition};

impl Reference {
    pub fn beat(&mut self, holder: HolderId, lease: std::time::Duration) {
        self.holders.insert(holder, self.now.plus(lease));
    }

    /// Which of `held` are lost, and which somebody asked to cancel.
    pub fn heartbeat(&self, held: &[Lease]) -> (Vec<Lease>, Vec<Lease>) {
        let live = |lease: &Lease| self.jobs.iter().filter_map(|job| job.lease.as_ref()).find(|own| same(&own.lease, lease));
        let lost = held.iter().filter(|lease| live(lease).is_none()).copied().collect();
        let cancel = held.iter().filter(|lease| live(lease).is_some_and(|own| own.cancel.is_some())).copied().collect();
        (lost, cancel)
    }

    /// Answers how many jobs went back to their lines.
    pub fn reap(&mut self) -> u64 {
        self.begin();
        let now = self.now;
        let gone: BTreeSet<HolderId> = self.holders.iter().filter(|(_, until)| **until <= now).map(|(holder, _)| *holder).collect();
        let beaten = |own: &RefLease| self.holders.get(&own.holder).is_some_and(|until| *until > now);
        let lost = self.ids(|job| job.lease.as_ref().is_some_and(|own| own.until <= now && !beaten(own)));
        let requeued = lost.into_iter().filter(|id| self.take_back(*id, false)).count();
        self.holders.retain(|holder, _| !gone.contains(holder));
        requeued as u64
    }

    /// Every process is dead. Answers nothing: nobody asked.
    pub fn crash(&mut self) {
        self.begin();
        for id in self.ids(|job| job.lease.is_some()) {
            self.take_back(id, true);
        }
        self.holders.clear();
    }

    /// `false`: it did not go back to its line.
    fn take_back(&mut self, id: JobId, process_died: bool) -> bool {
        let job = self.job_mut(id);
        let own = job.lease.take().expect("the caller saw it");
        job.record(Some(AttemptOutcome::Lost));
        job.deaths += u32::from(process_died && own.as_suspect);
        job.state = State::Queued;
        job.suspect = process_died;
        if job.deaths >= 3 && own.as_suspect && process_died {
            self.end(id, State::Dead, "poison");
            return false;
        }
        if let Some(reason) = own.cancel {
            self.end(id, State::Cancelled, &reason);
            return false;
        }
        true
    }

    pub fn grant(&mut self, id: JobId, lease: Lease, holder: HolderId, lasts: std::time::Duration) {
        let now = self.now;
        let until = now.plus(lasts);
        let job = self.job_mut(id);
        job.state = State::Running;
        job.lease = Some(RefLease { lease, holder, until, as_suspect: job.suspect, cancel: None });
        (job.started, job.key_started, job.suspect) = (true, true, false);
        job.turn |= job.ordered;
        let start = (job.queue.clone(), job.key_of_its_tenant(), now);
        self.starts.push(start);
    }

    pub fn park_unknown(&mut self, id: JobId) {
        let kind = self.job_mut(id).kind.clone();
        let until = self.now.plus_ms(self.settings.kind(&kind).park_for_ms);
        let job = self.job_mut(id);
        (job.state, job.reasons, job.park_until) = (State::Parked, vec!["unknown_kind".into()], until);
    }

    /// The answers that are right for each settlement.
    pub fn settle(&mut self, batch: &[Settlement]) -> Vec<Vec<Applied>> {
        self.begin();
        batch.iter().map(|settlement| self.settle_one(settlement)).collect()
    }

    fn settle_one(&mut self, settlement: &Settlement) -> Vec<Applied> {
        let lease = settlement.lease;
        let Some(job) = self.find(lease.job) else {
            // Forgotten with its job; a store may remember for longer.
            return vec![Applied::LeaseLost, Applied::AlreadyApplied];
        };
        if !job.lease.as_ref().is_some_and(|own| same(&own.lease, &lease)) {
            return match job.last_settled {
                Some(last) if same(&last, &lease) => vec![Applied::AlreadyApplied],
                _ if job.settled_before.iter().any(|old| same(old, &lease)) => vec![Applied::LeaseLost, Applied::AlreadyApplied],
                _ => vec![Applied::LeaseLost],
            };
        }
        self.apply(settlement);
        vec![Applied::Applied]
    }

    fn apply(&mut self, settlement: &Settlement) {
        let id = settlement.lease.job;
        let queue = self.job_mut(id).queue.clone();
        let on_head = self.settings.queue(&queue).on_head;
        let job = self.job_mut(id);
        let own = job.lease.take().expect("the caller saw it");
        let stops = matches!(settlement.transition, Transition::Cancel { .. }) || !settlement.transition.to_state().is_final();
        let cancelled = own.cancel.filter(|_| stops);
        job.record(cancelled.is_none().then(|| settlement.transition.outcome()));
        job.attempt += u32::from(cancelled.is_none() && settlement.transition.charges_attempt());
        job.settled_before.extend(job.last_settled.replace(settlement.lease));
        job.checkpoint = settlement.checkpoint.clone().or(job.checkpoint.take());
        job.result = settlement.result.clone();
        if on_head == OnHead::Skip && !matches!(settlement.transition, Transition::Release) {
            job.turn = false;
        }
        for next in &settlement.follow_ups {
            self.make(id, next, Some((self.order, 0)));
        }
        let job = self.job_mut(id);
        match (&settlement.transition, cancelled) {
            (_, Some(reason)) => self.end(id, State::Cancelled, &reason),
            (Transition::Complete, _) => self.end(id, State::Completed, ""),
            (Transition::Dead { reason, .. }, _) => self.end(id, State::Dead, reason),
            (Transition::Cancel { reason }, _) => self.end(id, State::Cancelled, reason),
            (Transition::Retry { at, .. } | Transition::Snooze { until: at }, _) => {
                (job.state, job.run_at) = (State::Scheduled, *at);
            }
            (Transition::Park { reason, until, token, .. }, _) => {
                (job.state, job.reasons, job.park_until) = (State::Parked, vec![reason.clone()], *until);
                job.token.clone_from(token);
            }
            (Transition::Release, _) => job.state = State::Queued,
        }
    }

    pub fn leased_by(&self, nonce: windlass::job::Nonce) -> BTreeSet<JobId> {
        self.jobs.iter().filter(|job| job.lease.as_ref().is_some_and(|own| own.lease.nonce == nonce)).map(|job| job.id).collect()
    }
}
