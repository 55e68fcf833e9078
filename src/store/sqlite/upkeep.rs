//! What time brings: jobs become due, gates open, parks and patience end, holders die, the past is forgotten. Every call
//! does a bounded piece and says whether there is more.

use super::{
    lease::flag,
    limits::Waiter,
    settle::{self, Ended},
    tx::{Tx, sql},
};
use crate::{
    job::{HolderId, State, Timestamp, Token},
    store::{Advanced, Pruned, Reaped, Result, Retention},
};
use rusqlite::params;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Rows moved by one call: some milliseconds, so that nobody else waits long for the writer.
const BATCH: usize = 1000;
/// Times a process may die under a job that ran as the only suspect before the job is dead (contract 1).
const DEATHS: u32 = 3;

/// A lease whose holder is gone.
struct Orphan {
    seq: i64,
    epoch: i64,
    holder: HolderId,
    granted_at: Timestamp,
}

impl Tx<'_> {
    pub(super) fn advance(&mut self, now: Timestamp) -> Result<Advanced> {
        let due: Vec<i64> = self.all(sql!("due_scheduled"), params![now.0, BATCH], |row| row.get(0))?;
        for seq in &due {
            if let Some(job) = self.waiting_seq(*seq)? {
                self.let_go(&job)?;
            }
        }
        let gates: Vec<i64> = self.all(sql!("due_gates"), params![now.0, BATCH], |row| row.get(0))?;
        let mut admitted = 0;
        for gate in &gates {
            admitted += self.refill(*gate, now.0)?;
        }
        let expired: Vec<i64> = self.all(sql!("due_expiries"), params![now.0, BATCH], |row| row.get(0))?;
        for seq in &expired {
            match self.waiting_seq(*seq)? {
                Some(job) => {
                    self.displace(&job, now)?;
                    self.expire(*seq, now)?;
                }
                // Its job is gone without it: it must not come up again for ever.
                None => drop(self.run(sql!("expiry_lost"), (now.0, *seq))?),
            }
        }
        let parks: Vec<i64> = self.all(sql!("due_parks"), params![now.0, BATCH], |row| row.get(0))?;
        for seq in &parks {
            if let Some(job) = self.waiting_seq(*seq)? {
                self.displace(&job, now)?;
                self.end_waiting(&job, State::Dead, "park_expired", now)?;
            }
        }
        if self.run(sql!("pauses_ended"), [now.0])? > 0 {
            self.hint_work();
        }
        let more = [due.len(), gates.len(), expired.len(), parks.len()].contains(&BATCH);
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Ok(Advanced {
            due: count(due.len()),
            admitted,
            expired: count(expired.len()),
            park_expired: count(parks.len()),
            next_due: None,
            more,
            rewound: false,
        })
    }

    /// Takes back what holders hold whose time ran out. They may be paused or cut off, so nothing speaks against their jobs.
    pub(super) fn reap(&mut self, now: Timestamp) -> Result<Reaped> {
        let orphans = self.orphans(sql!("orphans_expired"), params![now.0, BATCH])?;
        let reaped = self.take_back(orphans, false, now)?;
        self.run(sql!("holders_drop"), [now.0])?;
        Ok(reaped)
    }

    /// The process that held these is known to be dead: its jobs run alone from now on, until one of them proves harmless. Remote
    /// workers are other processes, and keep what they hold as long as they beat.
    pub(super) fn take_back_all(&mut self, now: Timestamp) -> Result<Reaped> {
        let orphans = self.orphans(sql!("orphans_all"), [])?;
        let reaped = self.take_back(orphans, true, now)?;
        self.run(sql!("holders_forget"), [])?;
        Ok(reaped)
    }

    fn lease_end(&self, seq: i64, epoch: i64) -> Result<Option<Ended>> {
        self.one(sql!("lease_drop"), (seq, epoch), settle::ended_row)
    }

    fn orphans(&self, statement: &'static str, params: impl rusqlite::Params) -> Result<Vec<Orphan>> {
        self.all(statement, params, |row| {
            let holder = HolderId(Uuid::from_bytes(row.get(2)?));
            Ok(Orphan { seq: row.get(0)?, epoch: row.get(1)?, holder, granted_at: Timestamp(row.get(3)?) })
        })
    }

    fn take_back(&mut self, orphans: Vec<Orphan>, process_died: bool, now: Timestamp) -> Result<Reaped> {
        let mut reaped = Reaped::default();
        let mut claims: BTreeMap<i64, i64> = BTreeMap::new();
        let mut ends = Vec::with_capacity(orphans.len());
        for orphan in orphans {
            if let Some(ended) = self.lease_end(orphan.seq, orphan.epoch)? {
                *claims.entry(orphan.epoch).or_default() += 1;
                ends.push((orphan, ended));
            }
        }
        // All leases are gone before any gate counts what runs, and all jobs are back before any gate lets others in.
        let mut gates = BTreeSet::new();
        for (orphan, ended) in ends {
            let Some((records, charged)) = self.one(sql!("job_attempts"), [orphan.seq], settle::attempts_row)? else { continue };
            let records = settle::with_record(records.as_deref(), settle::lost(charged + 1, orphan.granted_at, now, orphan.holder));
            let died_alone = process_died && ended.flags & flag::SUSPECT != 0;
            let deaths: u32 = self
                .one(sql!("job_lost"), params![orphan.seq, records, u32::from(died_alone)], |row| Ok(row.get(0).unwrap_or_default()))?
                .unwrap_or_default();
            let line = self.line_of(ended.line)?;
            self.moved(&line.queue, State::Running, State::Queued);
            if let Some(tenant) = &line.tenant {
                self.run(sql!("line_open"), (line.queue.as_str(), tenant.as_str()))?;
            }
            if let Some(reason) = &ended.cancel {
                // The request outlives the holder it was made to.
                self.end_orphan(&orphan, &ended, State::Cancelled, reason, now)?;
                gates.extend(ended.gate);
            } else if deaths >= DEATHS {
                tracing::error!(seq = orphan.seq, "dead: its holder's process died {DEATHS} times while it ran alone");
                self.end_orphan(&orphan, &ended, State::Dead, "poison", now)?;
                gates.extend(ended.gate);
                reaped.poisoned += 1;
            } else {
                self.put_back(&orphan, &ended, process_died)?;
                gates.extend(ended.gate);
                reaped.requeued += 1;
                reaped.suspects += u64::from(process_died);
            }
        }
        for gate in gates {
            self.refill(gate, now.0)?;
        }
        for (epoch, ended) in claims {
            self.claim_ended(epoch, ended)?;
        }
        if reaped.requeued > 0 {
            self.hint_work();
        }
        Ok(reaped)
    }

    /// Back to the head of its line: the position is the one it had. An ordered job keeps its turn.
    fn put_back(&mut self, orphan: &Orphan, ended: &Ended, suspect: bool) -> Result<()> {
        let line = self.line_of(ended.line)?;
        if suspect {
            self.run(sql!("suspect_put"), (line.queue.as_str(), ended.pos, orphan.seq, ended.line, ended.gate))?;
        } else {
            let ordered = ended.flags & flag::ORDERED != 0;
            let (pos, gate) = (ended.pos, ended.gate);
            self.put_back_in_line(&Waiter { seq: orphan.seq, pos, line: ended.line, priority: line.priority, gate, ordered })?;
        }
        Ok(())
    }

    fn end_orphan(&mut self, orphan: &Orphan, ended: &Ended, to: State, reason: &str, now: Timestamp) -> Result<()> {
        let Some(job) = self.waiting_seq(orphan.seq)? else { return Ok(()) };
        if let Some(gate) = ended.gate {
            self.gate_head_done(gate, orphan.seq)?;
        }
        self.end_waiting(&job, to, reason, now)
    }

    /// Forgets final jobs past their retention, and what only mattered for a time.
    pub(super) fn prune(&mut self, retention: Retention, limit: usize, now: Timestamp) -> Result<Pruned> {
        // A settlement can be asked about for an hour, whatever the retention (contract 3).
        let before = |hours: u64| now.minus(std::time::Duration::from_secs(hours.max(1).saturating_mul(3600)));
        let finished = self.prune_final(sql!("prune_history"), before(retention.finished_hours), limit)?;
        let dead = match retention.dead_hours {
            0 => 0,
            hours => self.prune_final(sql!("prune_dead"), before(hours), limit)?,
        };
        let mut more = finished == limit || dead == limit;
        for statement in [sql!("prune_idempotency"), sql!("prune_uniques"), sql!("prune_cache")] {
            more |= self.run(statement, params![now.0, limit])? == limit;
        }
        more |= self.run(sql!("prune_occurrences"), params![before(retention.finished_hours).0, limit])? == limit;
        if retention.audit_days > 0 {
            more |= self.run(sql!("prune_audit"), params![before(retention.audit_days.saturating_mul(24)).0, limit])? == limit;
        }
        more |= self.run(sql!("prune_tokens"), params![now.minus(Token::KEPT).0, limit])? == limit;
        more |= self.prune_gates(limit, now)?;
        Ok(Pruned { jobs: u64::try_from(finished + dead).unwrap_or(u64::MAX), more })
    }

    /// Looks at the next gates in turn, so that a call costs the same however many there are. Answers whether there are more.
    fn prune_gates(&mut self, limit: usize, now: Timestamp) -> Result<bool> {
        let walked: Vec<(i64, bool)> =
            self.all(sql!("gates_unused"), params![self.cache.gates_looked_at, limit, now.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (gate, _) in walked.iter().filter(|(_, unused)| *unused) {
            self.run(sql!("gate_drop"), [gate])?;
            self.cache.forget_gates();
        }
        let more = walked.len() == limit;
        self.cache.gates_looked_at = if more { walked.last().map_or(0, |(gate, _)| *gate) } else { 0 };
        Ok(more)
    }

    fn prune_final(&mut self, statement: &'static str, before: Timestamp, limit: usize) -> Result<usize> {
        let gone: Vec<(String, String)> = self.all(statement, params![before.0, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (queue, state) in &gone {
            if let (Ok(queue), Some(state)) = (self.name(queue), State::parse(state)) {
                self.count(&queue, state, -1);
            }
        }
        Ok(gone.len())
    }
}
