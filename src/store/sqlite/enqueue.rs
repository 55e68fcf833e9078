//! Jobs come in: ids, idempotency, unique keys, dependencies, and the place where each begins to wait.

use super::{
    error,
    limits::Waiter,
    tx::{Tx, sql},
};
use crate::{
    job::{Extra, JobId, KindSettings, Name, NewJob, OnDuplicate, State, Timestamp, Unique},
    store::{
        Enqueued, Error, Result,
        words::{extra_text, extra_with_children_of, fingerprint, held_until, held_word, ms},
    },
};
use rusqlite::{CachedStatement, OptionalExtension as _, params};
use std::{collections::BTreeSet, sync::Arc};

/// Why a job with dependencies is parked.
pub(super) const OPEN: &str = "dependency";
pub(super) const DEAD: &str = "dependency_dead";
pub(super) const MISSING: &str = "dependency_missing";

/// What the envelope left open, filled in from the kind's settings.
#[derive(Clone)]
struct Resolved {
    kind: Arc<KindSettings>,
    queue: Name,
    priority: u8,
    due: Timestamp,
}

/// The statements that every job needs, held open for the whole call.
struct Held<'c> {
    known: CachedStatement<'c>,
    put: CachedStatement<'c>,
}

impl<'c> Tx<'c> {
    pub(super) fn enqueue(&mut self, jobs: &[NewJob], now: Timestamp) -> Result<Vec<Enqueued>> {
        let first = self.positions(jobs.len())?;
        let mut answers = Vec::with_capacity(jobs.len());
        let mut held = Held { known: self.prepare(sql!("job_known"))?, put: self.prepare(sql!("job_put"))? };
        for (index, job) in jobs.iter().enumerate() {
            let seq = first + i64::try_from(index).unwrap_or(0);
            answers.push(self.enqueue_one(&mut held, index, job, seq, now)?);
        }
        drop(held);
        // Dependencies last, so that a job may wait for one that stands behind it in the same call.
        for (index, job) in jobs.iter().enumerate().filter(|(_, job)| !job.extra.after.is_empty()) {
            let seq = first + i64::try_from(index).unwrap_or(0);
            if let Some(answer) = answers.get_mut(index)
                && answer.status == State::Parked
                && answer.id == job.id
                && !answer.duplicate
                // An id that was known before has no row of this number, and its dependencies were looked at then.
                && self.waiting_seq(seq)?.is_some()
            {
                answer.status = self.look_at_dependencies(seq, now)?;
            }
        }
        Ok(answers)
    }

    /// A follow-up made by a settlement: it must not fail the settlement, so a held key means there is nothing to do.
    /// Answers what stands for it: itself, or the job that its id or key belongs to.
    pub(super) fn enqueue_follow_up(&mut self, job: &NewJob, parent: JobId, tenant: Option<&Name>, now: Timestamp) -> Result<JobId> {
        let mut job = job.clone();
        job.tenant = tenant.cloned();
        job.extra.parent = Some(parent);
        if let Some(unique) = &mut job.unique
            && unique.on_duplicate == OnDuplicate::Reject
        {
            unique.on_duplicate = OnDuplicate::Return;
        }
        match self.enqueue(std::slice::from_ref(&job), now) {
            Err(Error::Conflict { id, .. }) => Ok(id),
            other => other.map(|answers| answers.first().map_or(job.id, |answer| answer.id)),
        }
    }

    fn enqueue_one(&mut self, held: &mut Held<'c>, index: usize, job: &NewJob, seq: i64, now: Timestamp) -> Result<Enqueued> {
        let fingerprint = (job.id_is_producers || job.idempotency_key.is_some()).then(|| fingerprint(job));
        if let Some(answer) = self.asked_before(&mut held.known, index, job, fingerprint.as_ref(), now)? {
            return Ok(answer);
        }
        let resolved = self.resolve(job, now)?;
        if let Some(unique) = &job.unique
            && let Some(answer) = self.take_key(index, job, unique, &resolved, now)?
        {
            return Ok(answer);
        }
        let gate = match &job.concurrency_key {
            Some(key) => Some(self.gate_id(&resolved.queue, job.tenant.as_ref(), key)?),
            None => None,
        };
        let waits = !job.extra.after.is_empty();
        let state = first_state(waits, &resolved, now);
        let line = match state {
            State::Queued => Some(self.line(&resolved.queue, resolved.priority, job.tenant.as_ref())?),
            _ => None,
        };
        let park_until = waits.then(|| now.plus_ms(resolved.kind.park_for_ms).0);
        held.put
            .execute(params![
                seq,
                job.id.0.as_bytes(),
                job.kind.as_str(),
                resolved.queue.as_str(),
                job.tenant.as_deref(),
                resolved.priority,
                state.as_str(),
                job.max_attempts.unwrap_or(resolved.kind.max_attempts),
                ms(job.timeout_ms.unwrap_or(resolved.kind.timeout_ms)),
                now.0,
                resolved.due.0,
                job.expires_at.map(|t| t.0),
                line.map(|_| seq),
                line,
                gate,
                job.concurrency_key.as_deref(),
                job.ordered,
                job.unique.as_ref().map(|u| u.key.as_str()),
                job.unique.as_ref().map(|u| held_word(&u.held)),
                fingerprint.as_ref().filter(|_| job.id_is_producers),
                park_until,
                waits.then_some(OPEN),
                job.payload.as_str(),
                extra_text(&job.extra),
            ])
            .map_err(error::before_commit)?;
        self.count(&resolved.queue, state, 1);
        if let Some(expires_at) = job.expires_at {
            self.run(sql!("expiry_put"), (expires_at.0, seq))?;
        }
        if let (Some(key), Some(fingerprint)) = (&job.idempotency_key, &fingerprint) {
            let tenant = job.tenant.as_deref().unwrap_or("");
            self.run(sql!("idempotency_put"), params![tenant, key, job.id.0.as_bytes(), fingerprint, now.plus_ms(job.idempotency_ms).0])?;
        }
        self.put_dependencies(seq, &job.extra)?;
        match line {
            Some(line) => self.place(&Waiter { seq, pos: seq, line, priority: resolved.priority, gate, ordered: job.ordered })?,
            // A poller that sleeps until the next due instant must hear of an earlier one.
            None => self.hint_work(),
        }
        Ok(Enqueued { id: job.id, status: state, duplicate: false })
    }

    fn put_dependencies(&self, seq: i64, extra: &Extra) -> Result<()> {
        for parent in extra.after.iter().collect::<BTreeSet<_>>() {
            self.run(sql!("dependency_put"), params![parent.0.as_bytes(), seq])?;
        }
        Ok(())
    }

    fn resolve(&mut self, job: &NewJob, now: Timestamp) -> Result<Resolved> {
        let kind = self.kind(&job.kind)?;
        let queue = job.queue.clone().unwrap_or_else(|| kind.queue.clone());
        let priority = job.priority.unwrap_or(kind.priority);
        let due = job.run_at.unwrap_or_else(|| now.plus_ms(job.delay_ms));
        // A time in the past is due now; the wait is measured from here, not from what the producer's clock thought.
        Ok(Resolved { kind, queue, priority, due: due.max(now) })
    }

    /// The same id, or the same idempotency key: the same question again, or another one under a used name.
    fn asked_before(
        &mut self,
        known: &mut CachedStatement<'_>,
        index: usize,
        job: &NewJob,
        fingerprint: Option<&[u8; 16]>,
        now: Timestamp,
    ) -> Result<Option<Enqueued>> {
        let known: Option<(String, Option<Vec<u8>>)> =
            known.query_row([job.id.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(error::before_commit)?;
        if let Some((state, stored)) = known {
            let same = match (&stored, fingerprint) {
                (Some(stored), Some(given)) => stored.as_slice() == given,
                // Minted by a door: nobody else can have it, so it is the door asking again.
                (None, _) => !job.id_is_producers,
                (Some(_), None) => false,
            };
            if !same {
                return Err(Error::Conflict { index, id: job.id });
            }
            let state = State::parse(&state).unwrap_or(State::Queued);
            let status = if matches!(state, State::Scheduled | State::Parked) { state } else { State::Queued };
            return Ok(Some(Enqueued { id: job.id, status, duplicate: false }));
        }
        let Some(key) = &job.idempotency_key else { return Ok(None) };
        let tenant = job.tenant.as_deref().unwrap_or("");
        let used: Option<([u8; 16], Vec<u8>)> =
            self.one(sql!("idempotency_get"), params![tenant, key, now.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((id, stored)) = used else { return Ok(None) };
        let id = JobId(uuid::Uuid::from_bytes(id));
        if fingerprint.is_some_and(|given| stored.as_slice() == given) {
            let status = self.state_of(id)?.unwrap_or(State::Completed);
            return Ok(Some(Enqueued { id, status, duplicate: true }));
        }
        Err(Error::Conflict { index, id })
    }

    pub(super) fn state_of(&self, id: JobId) -> Result<Option<State>> {
        let state: Option<String> = self.one(sql!("job_known"), [id.0.as_bytes()], |row| row.get(0))?;
        Ok(state.and_then(|text| State::parse(&text)))
    }

    // ------------------------------------------------------------------ unique keys

    /// Takes the key for `job`, or answers what the holder's presence means. `None`: the key is ours.
    fn take_key(&mut self, index: usize, job: &NewJob, unique: &Unique, resolved: &Resolved, now: Timestamp) -> Result<Option<Enqueued>> {
        let tenant = job.tenant.as_deref().unwrap_or("");
        let holder: Option<([u8; 16], String, i64, bool, i64)> = self
            .one(sql!("unique_get"), (tenant, resolved.queue.as_str(), unique.key.as_str()), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })?
            .filter(|(_, held, until, live, _): &([u8; 16], String, i64, bool, i64)| *live || (held == "window" && *until > now.0));
        let Some((holder, held, _, live, first_at)) = holder else {
            self.put_key(tenant, resolved, unique, job.id, now)?;
            return Ok(None);
        };
        let holder = JobId(uuid::Uuid::from_bytes(holder));
        if unique.on_duplicate == OnDuplicate::Reject {
            return Err(Error::Duplicate { index, holder });
        }
        let swaps = matches!(unique.on_duplicate, OnDuplicate::Replace | OnDuplicate::Debounce);
        if swaps && live && held == "started" {
            let mut due = resolved.due;
            if unique.on_duplicate == OnDuplicate::Debounce {
                due = due.min(Timestamp(first_at).plus_ms(unique.debounce_max_ms)).max(now);
            }
            if let Some(status) = self.swap(holder, job, resolved, due, now)? {
                return Ok(Some(Enqueued { id: holder, status, duplicate: true }));
            }
        }
        let status = self.state_of(holder)?.unwrap_or(State::Completed);
        Ok(Some(Enqueued { id: holder, status, duplicate: true }))
    }

    fn put_key(&mut self, tenant: &str, resolved: &Resolved, unique: &Unique, id: JobId, now: Timestamp) -> Result<()> {
        let held = held_word(&unique.held);
        let until = held_until(&unique.held, now);
        self.run(sql!("unique_put"), params![tenant, resolved.queue.as_str(), unique.key.as_str(), id.0.as_bytes(), held, until, now.0])?;
        Ok(())
    }

    /// Gives a job that has not started another payload and other options; it keeps its id, and its position if it stays due.
    fn swap(&mut self, holder: JobId, job: &NewJob, resolved: &Resolved, due: Timestamp, now: Timestamp) -> Result<Option<State>> {
        let Some(old) = self.waiting_job(holder)? else { return Ok(None) };
        self.displace(&old, now)?;
        self.run(sql!("dependencies_drop"), [old.seq])?;
        let gate = match &job.concurrency_key {
            Some(key) => Some(self.gate_id(&old.queue, job.tenant.as_ref(), key)?),
            None => None,
        };
        let waits = !job.extra.after.is_empty();
        let state = first_state(waits, &Resolved { due, ..resolved.clone() }, now);
        let place = match state {
            State::Queued => {
                let kept = old.pos.filter(|_| old.state == State::Queued);
                let pos = kept.map_or_else(|| self.positions(1), Ok)?;
                Some((pos, self.line(&old.queue, resolved.priority, job.tenant.as_ref())?))
            }
            _ => None,
        };
        self.run(
            sql!("job_swap"),
            params![
                old.seq,
                job.kind.as_str(),
                resolved.priority,
                state.as_str(),
                job.max_attempts.unwrap_or(resolved.kind.max_attempts),
                ms(job.timeout_ms.unwrap_or(resolved.kind.timeout_ms)),
                due.0,
                job.expires_at.map(|t| t.0),
                place.map(|(pos, _)| pos),
                place.map(|(_, line)| line),
                gate,
                job.concurrency_key.as_deref(),
                job.ordered,
                waits.then(|| now.plus_ms(resolved.kind.park_for_ms).0),
                waits.then_some(OPEN),
                job.payload.as_str(),
                extra_with_children_of(old.extra.as_deref(), &job.extra),
            ],
        )?;
        self.moved(&old.queue, old.state, state);
        if let Some(expires_at) = job.expires_at {
            self.run(sql!("expiry_put"), (expires_at.0, old.seq))?;
        }
        if let Some((pos, line)) = place {
            self.place(&Waiter { seq: old.seq, pos, line, priority: resolved.priority, gate, ordered: job.ordered })?;
        }
        self.hint_work();
        if !waits {
            return Ok(Some(state));
        }
        self.put_dependencies(old.seq, &job.extra)?;
        self.look_at_dependencies(old.seq, now).map(Some)
    }

    // ------------------------------------------------------------------ dependencies

    /// Drops what is fulfilled, and lets the job go if nothing is open. A parent of another tenant reads as missing.
    pub(super) fn look_at_dependencies(&mut self, seq: i64, now: Timestamp) -> Result<State> {
        let parents: Vec<([u8; 16], Option<String>)> = self.all(sql!("dependency_parents"), [seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut reason = None;
        for (parent, state) in parents {
            match state.as_deref().and_then(State::parse) {
                Some(State::Completed) => {
                    self.run(sql!("dependency_drop"), params![parent, seq])?;
                }
                Some(State::Dead | State::Cancelled) => reason = Some(DEAD),
                Some(_) => reason = reason.or(Some(OPEN)),
                None => reason = reason.or(Some(MISSING)),
            }
        }
        match reason {
            Some(reason) => {
                self.run(sql!("job_reason"), (seq, reason))?;
                Ok(State::Parked)
            }
            // A row that turned out to be damaged is out of the way, and nobody waits for it.
            None => Ok(self.unpark_seq(seq, now)?.unwrap_or(State::Parked)),
        }
    }

    /// A parent ended: its children look again.
    pub(super) fn tell_children(&mut self, parent: JobId, now: Timestamp) -> Result<()> {
        let children: Vec<i64> = self.all(sql!("dependency_children"), [parent.0.as_bytes()], |row| row.get(0))?;
        for child in children {
            self.look_at_dependencies(child, now)?;
        }
        Ok(())
    }
}

fn first_state(waits: bool, resolved: &Resolved, now: Timestamp) -> State {
    match (waits, resolved.due > now) {
        (true, _) => State::Parked,
        (false, true) => State::Scheduled,
        (false, false) => State::Queued,
    }
}
