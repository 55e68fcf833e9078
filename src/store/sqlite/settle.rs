//! The end of an attempt: fence, result, follow-ups, effects, usage and the job's next place, in one commit.

use super::{
    error,
    lease::{self, flag},
    limits::Waiter,
    tx::{Tx, sql},
};
use crate::{
    job::{
        Applied, Attempt, AttemptOutcome, Effect, Extra, HolderId, JobId, Json, Lease, Name, NewJob, Nonce, OnHead, Settlement, State,
        Timestamp, Transition,
    },
    store::{
        Result,
        words::{extra_text, ms},
    },
};
use rusqlite::{params, types::Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};
use uuid::Uuid;

/// What a lease row says once it is gone.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) line: i64,
    pub(super) pos: i64,
    pub(super) gate: Option<i64>,
    pub(super) flags: i64,
    /// Somebody asked to cancel the job while it ran.
    pub(super) cancel: Option<String>,
}

/// One settlement whose lease was good, and what ended with it.
struct Good<'s> {
    settlement: &'s Settlement,
    /// What was asked for, unless somebody asked to cancel the job and it did not end by itself.
    transition: Cow<'s, Transition>,
    ended: Ended,
}

impl Tx<'_> {
    /// In four steps over the whole batch, so that a plain completion costs one statement of its own: the leases go, each
    /// job takes its next form, the rows of ended jobs go, and what hangs on an end is looked after.
    pub(super) fn settle(&mut self, batch: &[Settlement], now: Timestamp) -> Result<Vec<Applied>> {
        let ended = self.end_leases(batch)?;
        let mut answers = Vec::with_capacity(batch.len());
        let mut good = Vec::with_capacity(batch.len());
        let mut gone = Vec::with_capacity(batch.len());
        let mut completed: BTreeMap<i64, i64> = BTreeMap::new();
        let mut complete = self.prepare(sql!("history_complete"))?;
        for (settlement, ended) in batch.iter().zip(ended) {
            let lease = settlement.lease;
            let Some((ended, holder)) = ended else {
                answers.push(self.told_before(lease)?);
                continue;
            };
            answers.push(Applied::Applied);
            let transition = match &ended.cancel {
                // Whoever asked said why; a run that was stopped for it can only say that it was.
                Some(reason)
                    if matches!(settlement.transition, Transition::Cancel { .. }) || !settlement.transition.to_state().is_final() =>
                {
                    Cow::Owned(Transition::Cancel { reason: reason.clone() })
                }
                _ => Cow::Borrowed(&settlement.transition),
            };
            if matches!(*transition, Transition::Complete) {
                let result = settlement.result.as_ref().map(Json::as_str);
                let (holder, nonce) = (holder.0.as_bytes(), lease.nonce.0.as_bytes());
                complete
                    .execute(params![lease.row, settlement.started_at.0, now.0, holder, lease.epoch, nonce, result])
                    .map_err(error::before_commit)?;
                *completed.entry(ended.line).or_default() += 1;
            } else {
                self.settle_unusual(settlement, &transition, holder, now)?;
                let queue = self.line_of(ended.line)?.queue.clone();
                self.moved(&queue, State::Running, transition.to_state());
            }
            if transition.to_state().is_final() {
                gone.push(Value::Integer(lease.row));
            }
            good.push(Good { settlement, transition, ended });
        }
        if !gone.is_empty() {
            self.run(sql!("jobs_drop"), [Rc::new(gone)])?;
        }
        for (line, jobs) in completed {
            let queue = self.line_of(line)?.queue.clone();
            self.count(&queue, State::Running, -jobs);
            self.count(&queue, State::Completed, jobs);
        }
        self.look_after(&good, now)?;
        Ok(answers)
    }

    /// Drops the leases of the batch whose proof is right, claim by claim; in the order of the batch, what each lease said.
    fn end_leases(&mut self, batch: &[Settlement]) -> Result<Vec<Option<(Ended, HolderId)>>> {
        let mut claims: BTreeMap<i64, (Nonce, Vec<(i64, usize)>)> = BTreeMap::new();
        for (index, Settlement { lease, .. }) in batch.iter().enumerate() {
            let (nonce, rows) = claims.entry(lease.epoch).or_insert_with(|| (lease.nonce, Vec::new()));
            // An epoch belongs to one claim and that claim has one nonce: another one proves nothing.
            if *nonce == lease.nonce {
                rows.push((lease.row, index));
            }
        }
        let mut ended = vec![None; batch.len()];
        for (epoch, (nonce, mut rows)) in claims {
            let claim: Option<([u8; 16], [u8; 16])> = self.one(sql!("claim_get"), [epoch], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let Some((_, holder)) = claim.filter(|(known, _)| known == nonce.0.as_bytes()) else { continue };
            let holder = HolderId(Uuid::from_bytes(holder));
            rows.sort_unstable();
            let asked: Vec<Value> = rows.iter().map(|(row, _)| Value::Integer(*row)).collect();
            let dropped: Vec<(i64, i64, Ended)> = self.all(sql!("leases_drop"), params![epoch, Rc::new(asked)], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, ended_row(row)?))
            })?;
            let mut count = 0;
            for (seq, tag, end) in dropped {
                let first = rows.partition_point(|(row, _)| *row < seq);
                let mut askers = rows[first..].iter().take_while(|(row, _)| *row == seq).map(|(_, index)| *index);
                if let Some(index) = askers.find(|index| lease::tag(batch[*index].lease.job) == tag) {
                    count += 1;
                    ended[index] = Some((end, holder));
                } else {
                    // Right claim, wrong job: the lease is another's and stays.
                    self.run(sql!("lease_put"), params![seq, epoch, end.line, end.pos, end.gate, end.flags, tag, end.cancel])?;
                }
            }
            self.claim_ended(epoch, count)?;
        }
        Ok(ended)
    }

    /// `ended` leases of a claim are gone; the last one takes the claim with it.
    pub(super) fn claim_ended(&mut self, epoch: i64, ended: i64) -> Result<()> {
        if ended > 0 && self.run(sql!("claim_drop_last"), (epoch, ended))? == 0 {
            self.run(sql!("claim_less"), (epoch, ended))?;
        }
        Ok(())
    }

    /// The lease is not there: was it this very settlement that ended it?
    fn told_before(&self, lease: Lease) -> Result<Applied> {
        let nonce = lease.nonce.0.as_bytes();
        let seen = self.one(sql!("settled_before"), params![lease.job.0.as_bytes(), lease.epoch, nonce], |_| Ok(()))?;
        Ok(if seen.is_some() { Applied::AlreadyApplied } else { Applied::LeaseLost })
    }

    /// What hangs on an end: unique keys, gates, places in line, children, and what is written beside the job. For a plain
    /// job there is nothing.
    fn look_after(&mut self, good: &[Good<'_>], now: Timestamp) -> Result<()> {
        let has_children = self.one(sql!("dependencies_any"), [], |_| Ok(()))?.is_some();
        let mut capped = BTreeSet::new();
        for Good { settlement, transition, ended } in good {
            let lease = settlement.lease;
            let to = transition.to_state();
            let line = self.line_of(ended.line)?;
            if let Some(tenant) = &line.tenant
                && self.queue(&line.queue)?.tenant_concurrency.is_some()
            {
                capped.insert((line.queue.clone(), tenant.clone()));
            }
            if ended.flags & flag::SUSPECT != 0 || self.queue(&line.queue)?.concurrency.is_some() {
                // The next suspect may run, or a slot of the queue's own limit came free.
                self.hint_work();
            }
            if to.is_final() && ended.flags & flag::UNIQUE != 0 {
                self.unique_ended(lease.job, &line.queue, line.tenant.as_ref(), now)?;
            }
            // Back in their places first, all of them: the gates must not give their turns to others.
            let released = matches!(**transition, Transition::Release);
            if released {
                let ordered = ended.flags & flag::ORDERED != 0;
                let (pos, gate) = (ended.pos, ended.gate);
                self.put_back_in_line(&Waiter { seq: lease.row, pos, line: ended.line, priority: line.priority, gate, ordered })?;
            }
            let head_done = !released && (to.is_final() || self.queue(&line.queue)?.on_head == OnHead::Skip);
            if let Some(gate) = ended.gate
                && head_done
            {
                self.gate_head_done(gate, lease.row)?;
            }
        }
        for (queue, tenant) in capped {
            self.run(sql!("line_open"), (queue.as_str(), tenant.as_str()))?;
            self.hint_work();
        }
        for Good { settlement, transition, ended } in good {
            let (lease, to) = (settlement.lease, transition.to_state());
            if let Some(gate) = ended.gate {
                self.refill(gate, now.0)?;
            }
            self.settle_beside(settlement, to, ended.flags, now)?;
            if has_children && to.is_final() {
                self.tell_children(lease.job, now)?;
            }
        }
        Ok(())
    }

    /// Everything but a plain completion: the job's row is read, gets one more record, and is kept or moved.
    fn settle_unusual(&mut self, settlement: &Settlement, transition: &Transition, holder: HolderId, now: Timestamp) -> Result<()> {
        let lease = settlement.lease;
        let (records, charged) = self.one(sql!("job_attempts"), [lease.row], attempts_row)?.unwrap_or_default();
        let retry_at = match transition {
            Transition::Retry { at, .. } => Some(*at),
            _ => None,
        };
        let record = Attempt {
            number: charged + 1,
            started_at: settlement.started_at,
            ended_at: now,
            holder,
            outcome: transition.outcome(),
            error: transition.error().cloned(),
            retry_at,
        };
        let records = with_record(records.as_deref(), record);
        let charged = charged + u32::from(transition.charges_attempt());
        let checkpoint = settlement.checkpoint.as_ref().map(Json::as_str);
        let nonce = lease.nonce.0.as_bytes();
        self.run(sql!("job_settled"), params![lease.row, charged, records, checkpoint, lease.epoch, nonce])?;
        let result = settlement.result.as_ref().map(Json::as_str);
        match transition {
            Transition::Complete | Transition::Release => {}
            Transition::Retry { at, .. } | Transition::Snooze { until: at } => {
                self.run(sql!("job_schedule"), (lease.row, at.0))?;
                self.hint_work();
            }
            Transition::Park { reason, until, token, .. } => {
                self.run(sql!("job_park"), (lease.row, reason, until.0, token))?;
            }
            Transition::Cancel { reason } => {
                self.run(
                    sql!("history_from_job"),
                    params![lease.row, "cancelled", reason, settlement.started_at.0, now.0, holder.0.as_bytes(), result],
                )?;
            }
            Transition::Dead { reason, .. } => {
                self.run(
                    sql!("dead_from_job"),
                    params![lease.row, "dead", reason, settlement.started_at.0, now.0, holder.0.as_bytes(), result],
                )?;
            }
        }
        Ok(())
    }

    /// What is written beside the job: usage, effects, follow-ups.
    fn settle_beside(&mut self, settlement: &Settlement, to: State, flags: i64, now: Timestamp) -> Result<()> {
        let lease = settlement.lease;
        let plain = settlement.usage.is_empty() && settlement.effects.is_empty() && settlement.follow_ups.is_empty();
        if plain && flags & flag::EXTRA == 0 {
            return Ok(());
        }
        // In an unfair queue the line does not tell the tenant.
        let job: Option<(Option<String>, Option<String>)> =
            self.one(sql!("job_tenant_extra"), [lease.job.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (tenant, extra) = job.unwrap_or_default();
        let tenant = tenant.as_deref().and_then(|t| self.name(t).ok());
        for (n, usage) in settlement.usage.iter().enumerate() {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            let text = Json::of(usage);
            self.run(sql!("usage_put"), params![lease.job.0.as_bytes(), lease.epoch, n, tenant.as_deref(), now.0, text.as_str()])?;
        }
        for effect in &settlement.effects {
            self.apply_effect(effect, lease.job, tenant.as_ref(), now)?;
        }
        let mut made = Vec::with_capacity(settlement.follow_ups.len());
        for follow_up in &settlement.follow_ups {
            made.push(self.enqueue_follow_up(follow_up, lease.job, tenant.as_ref(), now)?);
        }
        if to.is_final()
            && let Some(extra) = &extra
        {
            made.extend(self.follow(extra, to, lease.job, tenant.as_ref(), now)?);
        }
        self.name_children(lease.job, to, extra.as_deref(), &made)
    }

    /// Writes into a job that stands as `to` which others it made. One whose `extra` cannot be read stays as it is.
    pub(super) fn name_children(&self, job: JobId, to: State, extra: Option<&str>, made: &[JobId]) -> Result<()> {
        if made.is_empty() {
            return Ok(());
        }
        let Ok(mut extra) = extra.map_or_else(|| Ok(Extra::default()), serde_json::from_str) else { return Ok(()) };
        extra.name_children(made);
        let statement = match to {
            State::Completed | State::Cancelled => sql!("children_history"),
            State::Dead => sql!("children_dead"),
            _ => sql!("children_job"),
        };
        self.run(statement, params![job.0.as_bytes(), extra_text(&extra)]).map(drop)
    }

    /// `on_success` and `on_failure` of a job that ended; answers what stands for it.
    pub(super) fn follow(&mut self, extra: &str, to: State, job: JobId, tenant: Option<&Name>, now: Timestamp) -> Result<Option<JobId>> {
        let Ok(mut extra) = serde_json::from_str::<Extra>(extra) else { return Ok(None) };
        let next: Option<Box<NewJob>> = match to {
            State::Completed => extra.on_success.take(),
            State::Dead => extra.on_failure.take(),
            _ => None,
        };
        let Some(mut next) = next else { return Ok(None) };
        if !next.id_is_producers {
            // A redriven job may end again, and its follow-up is another job then.
            next.id = JobId::mint();
        }
        self.enqueue_follow_up(&next, job, tenant, now).map(Some)
    }

    fn apply_effect(&mut self, effect: &Effect, job: JobId, tenant: Option<&Name>, now: Timestamp) -> Result<()> {
        let tenant = tenant.map_or("", |t| t.as_str());
        let job = job.0.as_bytes();
        match effect {
            Effect::PutRecord { collection, key, value, event_time } => {
                self.run(
                    sql!("record_put"),
                    params![tenant, collection.as_str(), key, value.as_str(), event_time.map(|t| t.0), job, now.0],
                )?;
            }
            Effect::RecordSend { channel, key, provider_id } => {
                self.run(sql!("send_put"), params![tenant, channel.as_str(), key, provider_id, job, now.0])?;
            }
            Effect::PutCache { key, value, ttl_ms } => {
                self.run(sql!("cache_put"), params![tenant, key, value.as_str(), now.0.saturating_add(ms(*ttl_ms).saturating_mul(1000))])?;
            }
        }
        Ok(())
    }

    /// A job that held a unique key is final: the key is free, or stays for the rest of its window.
    pub(super) fn unique_ended(&mut self, id: JobId, queue: &Name, line_tenant: Option<&Name>, now: Timestamp) -> Result<()> {
        let known: Option<(Option<String>, Option<String>)> =
            self.one(sql!("final_unique"), [id.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (tenant, key) = known.unwrap_or((line_tenant.map(ToString::to_string), None));
        let Some(key) = key else { return Ok(()) };
        let tenant = tenant.unwrap_or_default();
        let place = params![tenant, queue.as_str(), key, id.0.as_bytes(), now.0];
        if self.run(sql!("unique_free"), place)? == 0 {
            self.run(sql!("unique_rest"), params![tenant, queue.as_str(), key, id.0.as_bytes()])?;
        }
        Ok(())
    }
}

/// The record list with one more, the oldest dropped.
pub(super) fn with_record(records: Option<&str>, record: Attempt) -> String {
    let mut list: Vec<Attempt> = records.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    list.push(record);
    let excess = list.len().saturating_sub(Attempt::KEPT);
    list.drain(..excess);
    Json::of(&list).as_str().to_owned()
}

/// Of `job_attempts`: the records, if they can be read, and how many attempts were charged.
pub(super) fn attempts_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Option<String>, u32)> {
    Ok((row.get(0).ok(), row.get(1).unwrap_or_default()))
}

/// Of the statements that drop leases: line, pos, gate, flags and cancel from column 2 on.
pub(super) fn ended_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Ended> {
    Ok(Ended { line: row.get(2)?, pos: row.get(3)?, gate: row.get(4)?, flags: row.get(5)?, cancel: row.get(6)? })
}

/// The record of an attempt whose holder never told how it ended.
pub(super) fn lost(number: u32, started_at: Timestamp, now: Timestamp, holder: HolderId) -> Attempt {
    Attempt { number, started_at, ended_at: now, holder, outcome: AttemptOutcome::Lost, error: None, retry_at: None }
}
