//! What people and programs ask for beside the flow: cancel, run now, redrive, purge, pause. Each act leaves one audit row
//! whose id is its `op_id`; the same act asked again changes nothing.

use super::{
    settle,
    tx::{Tx, sql},
    waiting::Waiting,
};
use crate::{
    job::{HolderId, JobId, Json, LimitsInForce, LiveLimits, Name, Settings, State, Timestamp, Turn, Unique},
    store::{
        Actor, Cancelled, Error, Exported, Result,
        words::{extra_text, held_until, held_word, limits_action, ms, over_stored},
    },
};
use rusqlite::params;

pub(super) fn missing(id: JobId) -> Error {
    Error::NotFound { what: format!("job {id}") }
}

impl Tx<'_> {
    pub(super) fn cancel(&mut self, id: JobId, reason: &str, actor: &Actor, now: Timestamp) -> Result<Cancelled> {
        let first = self.audit(actor, "cancel", &id.to_string(), Some(reason), now)?;
        match self.state_of(id)?.ok_or_else(|| missing(id))? {
            State::Cancelled if !first => Ok(Cancelled::Now),
            state if state.is_final() => Ok(Cancelled::AlreadyFinal),
            State::Running => {
                self.run(sql!("lease_cancel"), params![id.0.as_bytes(), reason])?;
                self.hint_cancel();
                Ok(Cancelled::Asked)
            }
            _ => {
                let job = self.waiting_job(id)?.ok_or_else(|| missing(id))?;
                self.displace(&job, now)?;
                self.end_waiting(&job, State::Cancelled, reason, now)?;
                Ok(Cancelled::Now)
            }
        }
    }

    pub(super) fn run_now(&mut self, id: JobId, actor: &Actor, now: Timestamp) -> Result<()> {
        if !self.audit(actor, "run_now", &id.to_string(), None, now)? {
            return Ok(());
        }
        let state = self.state_of(id)?.ok_or_else(|| missing(id))?;
        if !matches!(state, State::Scheduled | State::Parked) {
            return Err(Error::NotAllowed(format!("job {id} is {state}; only a scheduled or parked job can be made due")));
        }
        let job = self.waiting_job(id)?.ok_or_else(|| missing(id))?;
        self.run(sql!("dependencies_drop"), [job.seq])?;
        self.run(sql!("job_due"), (job.seq, now.0))?;
        self.let_go(&job)
    }

    pub(super) fn unpark(&mut self, token: &str, answer: Option<&Json>, actor: &Actor, now: Timestamp) -> Result<JobId> {
        let seq: Option<i64> = self.one(sql!("job_by_token"), [token], |row| row.get(0))?;
        let job = match seq {
            Some(seq) => self.waiting_seq(seq)?,
            None => None,
        };
        let Some(job) = job else { return Err(Error::NotFound { what: "a job parked with this token".into() }) };
        self.audit(actor, "unpark", &job.id.to_string(), None, now)?;
        if let Some(answer) = answer {
            self.run(sql!("job_answer"), (job.seq, answer.as_str()))?;
        }
        self.unpark_seq(job.seq, now)?;
        Ok(job.id)
    }

    pub(super) fn unpark_kinds(&mut self, kinds: &[Name], now: Timestamp) -> Result<u64> {
        const BATCH: usize = 1000;
        let mut woken = 0;
        for kind in kinds {
            let jobs: Vec<i64> = self.all(sql!("jobs_unknown_kind"), params![kind.as_str(), BATCH], |row| row.get(0))?;
            for seq in jobs {
                self.unpark_seq(seq, now)?;
                woken += 1;
            }
        }
        Ok(woken)
    }

    pub(super) fn redrive(&mut self, id: JobId, actor: &Actor, now: Timestamp) -> Result<()> {
        if !self.audit(actor, "redrive", &id.to_string(), None, now)? {
            return Ok(());
        }
        let state = self.state_of(id)?.ok_or_else(|| missing(id))?;
        if state != State::Dead {
            return Err(Error::NotAllowed(format!("job {id} is {state}; only a dead job can be redriven")));
        }
        let seq = self.positions(1)?;
        self.run(sql!("job_from_dead"), params![seq, id.0.as_bytes(), now.0])?;
        self.one(sql!("dead_drop"), [id.0.as_bytes()], |_| Ok(()))?;
        let Some(mut job) = self.waiting_seq(seq)? else { return Err(missing(id)) };
        self.take_key_again(&job, now)?;
        if let Some(key) = self.one(sql!("job_key"), [seq], |row| row.get::<_, Option<String>>(0))?.flatten() {
            job.gate = Some(self.gate_id(&job.queue, job.tenant.as_ref(), &key)?);
        }
        self.count(&job.queue, State::Dead, -1);
        self.count(&job.queue, State::Queued, 1);
        let line = self.line(&job.queue, job.priority, job.tenant.as_ref())?;
        self.run(sql!("job_stand"), (seq, job.gate, line))?;
        let waiter = super::limits::Waiter { seq, pos: seq, line, priority: job.priority, gate: job.gate, ordered: job.ordered };
        self.place(&waiter)
    }

    /// A redriven job needs its unique key back: no other job may hold it, nor another's window.
    fn take_key_again(&mut self, job: &Waiting, now: Timestamp) -> Result<()> {
        let held: Option<(Option<String>, Option<String>)> =
            self.one(sql!("job_unique_key"), [job.seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((Some(key), word)) = held else { return Ok(()) };
        let tenant = job.tenant.as_deref().unwrap_or("");
        let holder: Option<([u8; 16], bool)> = self.one(sql!("unique_get"), (tenant, job.queue.as_str(), &key), |row| {
            let in_window = row.get::<_, String>(1)? == "window" && row.get::<_, i64>(2)? > now.0;
            Ok((row.get(0)?, row.get::<_, bool>(3)? || in_window))
        })?;
        match holder {
            Some((holder, true)) if holder != *job.id.0.as_bytes() => {
                Err(Error::Duplicate { index: 0, holder: super::lease::job_id(holder) })
            }
            _ => {
                // A window that passed is not opened again; a key held until the start is free once the job starts again.
                let word = word.filter(|word| word == "started").unwrap_or_else(|| "finished".into());
                self.run(sql!("unique_again"), params![tenant, job.queue.as_str(), key, job.id.0.as_bytes(), word])?;
                Ok(())
            }
        }
    }

    pub(super) fn purge(&mut self, id: JobId, actor: &Actor, now: Timestamp) -> Result<()> {
        if !self.audit(actor, "purge", &id.to_string(), None, now)? {
            return Ok(());
        }
        let state = self.state_of(id)?.ok_or_else(|| missing(id))?;
        if state != State::Dead {
            return Err(Error::NotAllowed(format!("job {id} is {state}; only a dead job can be purged")));
        }
        let queue: Option<String> = self.one(sql!("dead_drop"), [id.0.as_bytes()], |row| row.get(0))?;
        if let Some(queue) = queue.and_then(|queue| self.name(&queue).ok()) {
            self.count(&queue, State::Dead, -1);
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, queue: &Name, reason: &str, until: Option<Timestamp>, actor: &Actor, now: Timestamp) -> Result<()> {
        if self.audit(actor, "pause", queue, Some(reason), now)? {
            self.run(sql!("pause_put"), params![queue.as_str(), now.0, actor.name, reason, until.map(|t| t.0)])?;
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, queue: &Name, actor: &Actor, now: Timestamp) -> Result<()> {
        if self.audit(actor, "resume", queue, None, now)? {
            self.run(sql!("pause_drop"), [queue.as_str()])?;
            self.hint_work();
        }
        Ok(())
    }

    pub(super) fn set_limits(
        &mut self,
        queue: &Name,
        limits: Option<&LiveLimits>,
        reason: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<LimitsInForce> {
        // Another process may have written since they were remembered.
        self.cache.forget();
        let turn = Turn { limits, at: now, by: &actor.name, reason };
        let before = self.settings()?;
        let (after, words) = before.turned(queue, turn).map_err(|error| Error::from((0, error)))?;
        if !self.audit(actor, limits_action(limits), queue, Some(&words), now)? {
            return Ok(before.limits(queue));
        }
        self.put_settings(&after, now)?;
        Ok(after.limits(queue))
    }

    pub(super) fn configure(&mut self, settings: &Settings, now: Timestamp) -> Result<()> {
        let stored: Option<String> = self.one(sql!("settings_get"), [], |row| row.get(0))?;
        self.put_settings(&over_stored(settings, stored.as_deref()), now)
    }

    fn put_settings(&mut self, settings: &Settings, now: Timestamp) -> Result<()> {
        self.run(sql!("settings_put"), [Json::of(settings).as_str()])?;
        // A cap or a rate may have been raised: closed lines look again, and so do gates that hold somebody back.
        self.run(sql!("lines_reopen"), [])?;
        self.run(sql!("gates_reopen"), [now.0])?;
        self.cache.forget();
        self.hint_work();
        Ok(())
    }

    // ------------------------------------------------------------------ import

    pub(super) fn import(&mut self, jobs: &[Exported], now: Timestamp) -> Result<u64> {
        let mut new = 0;
        for exported in jobs {
            let known = self.one(sql!("job_known"), [exported.job.id.0.as_bytes()], |_| Ok(()))?;
            if known.is_none() {
                self.import_one(exported, now)?;
                new += 1;
            }
        }
        Ok(new)
    }

    fn import_one(&mut self, exported: &Exported, now: Timestamp) -> Result<()> {
        let job = &exported.job;
        let seq = self.positions(1)?;
        // What ran when it was exported runs again here.
        let state = if job.state == State::Running { State::Queued } else { job.state };
        let mut attempts = job.attempts.clone();
        if job.state == State::Running {
            let holder = job.holder.unwrap_or(HolderId(uuid::Uuid::nil()));
            attempts.push(settle::lost(job.attempt, job.started_at.unwrap_or(now), now, holder));
        }
        let started = !attempts.is_empty();
        let attempts = started.then(|| Json::of(&attempts));
        let gate = match &job.concurrency_key {
            Some(key) if !state.is_final() => Some(self.gate_id(&job.queue, job.tenant.as_ref(), key)?),
            _ => None,
        };
        let attempt = if job.state == State::Running { job.attempt.saturating_sub(1) } else { job.attempt };
        self.run(
            sql!("job_import"),
            params![
                seq,
                job.id.0.as_bytes(),
                job.kind.as_str(),
                job.queue.as_str(),
                job.tenant.as_deref(),
                job.priority,
                state.as_str(),
                attempt,
                job.max_attempts,
                job.timeout_ms.map(ms),
                job.created_at.0,
                exported.due_at.0,
                job.expires_at.map(|t| t.0),
                gate,
                job.concurrency_key.as_deref(),
                job.ordered,
                job.unique_key.as_deref(),
                job.deaths,
                job.reason,
                job.payload.as_str(),
                extra_text(&job.extra),
                job.checkpoint.as_ref().map(Json::as_str),
                attempts.as_ref().map(Json::as_str),
                (state == State::Parked).then_some(job.run_at.0),
                exported.token,
                exported.fingerprint.as_deref().and_then(|hex| hex::decode(hex).ok()).filter(|bytes| !bytes.is_empty()),
                exported.unique.as_ref().map(|unique| held_word(&unique.held)),
            ],
        )?;
        if let Some(unique) = &exported.unique
            && !state.is_final()
        {
            self.import_key(job.tenant.as_ref(), &job.queue, unique, job.id, now)?;
        }
        self.count(&job.queue, state, 1);
        let Some(waiting) = self.waiting_seq(seq)? else { return Ok(()) };
        match state {
            State::Dead => {
                let none: Option<&[u8]> = None;
                let reason = job.reason.as_deref().unwrap_or("imported");
                let finished = job.finished_at.unwrap_or(now).0;
                self.run(sql!("dead_from_job"), params![seq, "dead", reason, job.started_at.map(|t| t.0), finished, none, None::<&str>])?;
                self.run(sql!("job_drop"), [seq])?;
            }
            State::Queued => {
                self.count(&job.queue, State::Queued, -1);
                self.count(&job.queue, waiting.state, 1);
                self.let_go(&waiting)?;
            }
            _ => self.hint_work(),
        }
        if let Some(expires_at) = job.expires_at
            && !state.is_final()
            && !started
        {
            self.run(sql!("expiry_put"), (expires_at.0, seq))?;
        }
        if state == State::Parked && !exported.waits_for.is_empty() {
            for parent in &exported.waits_for {
                self.run(sql!("dependency_put_again"), params![parent.0.as_bytes(), seq])?;
            }
            // One may have ended here before its child came.
            self.look_at_dependencies(seq, now)?;
        }
        // Children that came before it stop reading it as missing.
        self.tell_children(job.id, now)
    }

    fn import_key(&mut self, tenant: Option<&Name>, queue: &Name, unique: &Unique, id: JobId, now: Timestamp) -> Result<()> {
        let (held, until) = (held_word(&unique.held), held_until(&unique.held, now));
        let tenant = tenant.map_or("", |t| t.as_str());
        self.run(sql!("unique_put_new"), params![tenant, queue.as_str(), unique.key.as_str(), id.0.as_bytes(), held, until, now.0])?;
        Ok(())
    }
}
