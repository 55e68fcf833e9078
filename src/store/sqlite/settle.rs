//! The end of an attempt: fence, result, follow-ups, effects, usage and the job's next place, in one commit.

use super::{
    enqueue::ms,
    lease::flag,
    limits::Waiter,
    tx::{Tx, sql},
};
use crate::{
    job::{
        Applied, Attempt, AttemptOutcome, Effect, Extra, HolderId, JobId, Json, Lease, Name, NewJob, OnHead, Settlement, State, Timestamp,
        Transition,
    },
    store::Result,
};
use rusqlite::params;
use std::collections::HashMap;
use uuid::Uuid;

/// What a lease row says once it is gone.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) line: i64,
    pub(super) pos: i64,
    pub(super) gate: Option<i64>,
    pub(super) flags: i64,
}

/// The claims that a batch settles for: looked up once, counted down once.
#[derive(Default)]
struct Claims(HashMap<i64, Claim>);

struct Claim {
    nonce: [u8; 16],
    holder: HolderId,
    ended: i64,
}

impl Tx<'_> {
    pub(super) fn settle(&mut self, batch: &[Settlement], now: Timestamp) -> Result<Vec<Applied>> {
        let mut claims = Claims::default();
        let has_children = self.one(sql!("dependencies_any"), [], |_| Ok(()))?.is_some();
        let mut answers = Vec::with_capacity(batch.len());
        for settlement in batch {
            answers.push(self.settle_one(settlement, &mut claims, has_children, now)?);
        }
        for (epoch, claim) in claims.0 {
            self.claim_ended(epoch, claim.ended)?;
        }
        Ok(answers)
    }

    /// `ended` leases of a claim are gone; the last one takes the claim with it.
    pub(super) fn claim_ended(&mut self, epoch: i64, ended: i64) -> Result<()> {
        if ended > 0 && self.run(sql!("claim_drop_last"), (epoch, ended))? == 0 {
            self.run(sql!("claim_less"), (epoch, ended))?;
        }
        Ok(())
    }

    fn claim<'m>(&self, claims: &'m mut Claims, epoch: i64) -> Result<Option<&'m mut Claim>> {
        if let std::collections::hash_map::Entry::Vacant(free) = claims.0.entry(epoch) {
            let found: Option<([u8; 16], [u8; 16])> = self.one(sql!("claim_get"), [epoch], |row| Ok((row.get(0)?, row.get(1)?)))?;
            match found {
                None => return Ok(None),
                Some((nonce, holder)) => {
                    free.insert(Claim { nonce, holder: HolderId(Uuid::from_bytes(holder)), ended: 0 });
                }
            }
        }
        Ok(claims.0.get_mut(&epoch))
    }

    fn settle_one(&mut self, settlement: &Settlement, claims: &mut Claims, has_children: bool, now: Timestamp) -> Result<Applied> {
        let lease = settlement.lease;
        let Some(claim) = self.claim(claims, lease.epoch)? else { return self.told_before(lease) };
        if claim.nonce != *lease.nonce.0.as_bytes() {
            return self.told_before(lease);
        }
        let Some(ended) = self.lease_end(lease.row, lease.epoch)? else { return self.told_before(lease) };
        claim.ended += 1;
        let holder = claim.holder;
        self.settle_row(settlement, ended, holder, now)?;
        self.settle_beside(settlement, ended, now)?;
        if has_children && settlement.transition.to_state().is_final() {
            self.tell_children(lease.job, now)?;
        }
        Ok(Applied::Applied)
    }

    pub(super) fn lease_end(&self, seq: i64, epoch: i64) -> Result<Option<Ended>> {
        self.one(sql!("lease_drop"), (seq, epoch), |row| {
            Ok(Ended { line: row.get(0)?, pos: row.get(1)?, gate: row.get(2)?, flags: row.get(3)? })
        })
    }

    /// The lease is not there: was it this very settlement that ended it?
    fn told_before(&self, lease: Lease) -> Result<Applied> {
        let nonce = lease.nonce.0.as_bytes();
        let seen = self.one(sql!("settled_before"), params![lease.job.0.as_bytes(), lease.epoch, nonce], |_| Ok(()))?;
        Ok(if seen.is_some() { Applied::AlreadyApplied } else { Applied::LeaseLost })
    }

    fn settle_row(&mut self, settlement: &Settlement, ended: Ended, holder: HolderId, now: Timestamp) -> Result<()> {
        let lease = settlement.lease;
        let line = self.line_of(ended.line)?;
        let to = settlement.transition.to_state();
        self.moved(&line.queue, State::Running, to);
        if let (Some(tenant), Some(_)) = (&line.tenant, self.queue(&line.queue)?.tenant_concurrency) {
            self.run(sql!("line_open"), (line.queue.as_str(), tenant.as_str()))?;
            self.hint_work();
        }
        match &settlement.transition {
            Transition::Complete => {
                self.run(
                    sql!("history_complete"),
                    params![
                        lease.row,
                        settlement.started_at.0,
                        now.0,
                        holder.0.as_bytes(),
                        lease.epoch,
                        lease.nonce.0.as_bytes(),
                        settlement.result.as_ref().map(Json::as_str),
                    ],
                )?;
                self.run(sql!("job_drop"), [lease.row])?;
            }
            other => self.settle_unusual(settlement, other, holder, now)?,
        }
        if to.is_final() && ended.flags & flag::UNIQUE != 0 {
            self.unique_ended(lease.job, &line.queue, line.tenant.as_ref(), now)?;
        }
        if let Some(gate) = ended.gate {
            let head_done = match settlement.transition {
                Transition::Release => false,
                _ if to.is_final() => true,
                _ => self.queue(&line.queue)?.on_head == OnHead::Skip,
            };
            self.gate_slot_ended(gate, lease.row, head_done, now.0)?;
        }
        if matches!(settlement.transition, Transition::Release) {
            let ordered = ended.flags & flag::ORDERED != 0;
            let waiter = Waiter { seq: lease.row, pos: ended.pos, line: ended.line, priority: line.priority, gate: ended.gate, ordered };
            self.place(&waiter)?;
        }
        Ok(())
    }

    /// Everything but a plain completion: the job's row is read, gets one more record, and is kept or moved.
    fn settle_unusual(&mut self, settlement: &Settlement, transition: &Transition, holder: HolderId, now: Timestamp) -> Result<()> {
        let lease = settlement.lease;
        let (records, charged): (Option<String>, u32) =
            self.one(sql!("job_attempts"), [lease.row], |row| Ok((row.get(0)?, row.get(1)?)))?.unwrap_or_default();
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
                self.run(sql!("job_drop"), [lease.row])?;
            }
            Transition::Dead { reason, .. } => {
                self.run(
                    sql!("dead_from_job"),
                    params![lease.row, "dead", reason, settlement.started_at.0, now.0, holder.0.as_bytes(), result],
                )?;
                self.run(sql!("job_drop"), [lease.row])?;
            }
        }
        Ok(())
    }

    /// What is written beside the job: usage, effects, follow-ups.
    fn settle_beside(&mut self, settlement: &Settlement, ended: Ended, now: Timestamp) -> Result<()> {
        let lease = settlement.lease;
        let plain = settlement.usage.is_empty() && settlement.effects.is_empty() && settlement.follow_ups.is_empty();
        if plain && ended.flags & flag::EXTRA == 0 {
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
        for follow_up in &settlement.follow_ups {
            self.enqueue_follow_up(follow_up, lease.job, tenant.as_ref(), now)?;
        }
        let to = settlement.transition.to_state();
        if to.is_final()
            && let Some(extra) = extra
        {
            self.follow(&extra, to, lease.job, tenant.as_ref(), now)?;
        }
        Ok(())
    }

    /// `on_success` and `on_failure` of a job that ended.
    pub(super) fn follow(&mut self, extra: &str, to: State, job: JobId, tenant: Option<&Name>, now: Timestamp) -> Result<()> {
        let Ok(mut extra) = serde_json::from_str::<Extra>(extra) else { return Ok(()) };
        let next: Option<Box<NewJob>> = match to {
            State::Completed => extra.on_success.take(),
            State::Dead => extra.on_failure.take(),
            _ => None,
        };
        let Some(mut next) = next else { return Ok(()) };
        if !next.id_is_producers {
            // A redriven job may end again, and its follow-up is another job then.
            next.id = JobId::mint();
        }
        self.enqueue_follow_up(&next, job, tenant, now)
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

/// The record of an attempt whose holder never told how it ended.
pub(super) fn lost(number: u32, started_at: Timestamp, now: Timestamp, holder: HolderId) -> Attempt {
    Attempt { number, started_at, ended_at: now, holder, outcome: AttemptOutcome::Lost, error: None, retry_at: None }
}
