//! A job that waits, wherever that is: finding it, taking it out of its place, letting it go, ending it unrun.

use super::{
    lease::job_id,
    limits::Waiter,
    tx::{Tx, sql},
};
use crate::{
    job::{JobId, Name, OnExpire, State, Timestamp},
    store::{Error, Result},
};
use rusqlite::{OptionalExtension as _, params};

/// The part of a live job's row that decides where it stands.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) id: JobId,
    pub(super) kind: Name,
    pub(super) queue: Name,
    pub(super) tenant: Option<Name>,
    pub(super) priority: u8,
    pub(super) state: State,
    pub(super) run_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) pos: Option<i64>,
    pub(super) gate: Option<i64>,
    pub(super) ordered: bool,
    pub(super) has_key: bool,
    pub(super) extra: Option<String>,
}

impl Tx<'_> {
    /// A live job that does not run.
    pub(super) fn waiting_job(&mut self, id: JobId) -> Result<Option<Waiting>> {
        let seq: Option<i64> = self.one(sql!("job_seq_waiting"), [id.0.as_bytes()], |row| row.get(0))?;
        seq.map_or(Ok(None), |seq| self.waiting_seq(seq))
    }

    pub(super) fn waiting_seq(&mut self, seq: i64) -> Result<Option<Waiting>> {
        let mut statement = self.prepare(sql!("job_waiting"))?;
        let found = statement.query_row([seq], |row| {
            let name = |column: usize| row.get::<_, String>(column);
            Ok((
                (row.get::<_, [u8; 16]>(0)?, name(1)?, name(2)?, row.get::<_, Option<String>>(3)?, row.get(4)?, name(5)?),
                (row.get(6)?, row.get::<_, Option<i64>>(7)?, row.get(8)?, row.get(9)?, row.get(10)?, row.get(11)?),
                row.get(12)?,
            ))
        });
        let Some((first, second, third)) = found.optional().map_err(super::error::before_commit)? else { return Ok(None) };
        let (id, kind, queue, tenant, priority, state) = first;
        let (run_at, expires_at, pos, gate, ordered, has_key) = second;
        let read = (|| {
            Ok(Waiting {
                seq,
                id: job_id(id),
                kind: self.name(&kind).map_err(|e| format!("kind: {e}"))?,
                queue: self.name(&queue).map_err(|e| format!("queue: {e}"))?,
                tenant: tenant.map(|t| self.name(&t)).transpose().map_err(|e| format!("tenant: {e}"))?,
                priority,
                state: State::parse(&state).ok_or_else(|| format!("state: `{state}` is none"))?,
                run_at: Timestamp(run_at),
                expires_at: expires_at.map(Timestamp),
                pos,
                gate,
                ordered,
                has_key,
                extra: third,
            })
        })();
        match read {
            Ok(job) => Ok(Some(job)),
            Err(reason) => {
                let reason: String = reason;
                let state = State::parse(&state).unwrap_or(State::Queued);
                let queue = self.name(&queue).ok();
                self.quarantine(seq, queue.as_ref(), state, &reason, self.now(None))?;
                Ok(None)
            }
        }
    }

    /// Takes a waiting job out of its line, gate or list of suspects. Its row stays, in no place.
    pub(super) fn displace(&mut self, job: &Waiting, now: Timestamp) -> Result<()> {
        if let Some(expires_at) = job.expires_at {
            self.run(sql!("expiry_drop"), (expires_at.0, job.seq))?;
        }
        self.run(sql!("dependencies_drop"), [job.seq])?;
        if job.state == State::Queued
            && let Some(pos) = job.pos
        {
            self.displace_queued(job, pos)?;
        }
        match job.gate {
            // Whatever its state, the turn of an ordered job ends with it.
            Some(gate) => self.gate_left(gate, job.seq, true, now.0),
            None => Ok(()),
        }
    }

    fn displace_queued(&mut self, job: &Waiting, pos: i64) -> Result<()> {
        let line = self.line(&job.queue, job.priority, job.tenant.as_ref())?;
        if self.run(sql!("line_job_drop"), (line, pos, job.seq))? > 0 {
            self.line_waits(line, -1);
            if let Some(gate) = job.gate {
                self.gate_line_left(gate, job.priority)?;
            }
        } else if let Some(gate) = job.gate
            && self.run(sql!("gate_job_drop_seq"), (gate, pos, job.seq))? > 0
        {
            self.gate_list_left(gate)?;
        } else {
            self.run(sql!("suspect_drop"), (job.queue.as_str(), pos))?;
        }
        Ok(())
    }

    /// The job is due: gives it a position, unless it is ordered and has one, and puts it into its line.
    pub(super) fn let_go(&mut self, job: &Waiting) -> Result<()> {
        let pos = match job.pos {
            Some(pos) if job.ordered => pos,
            _ => self.positions(1)?,
        };
        self.run(sql!("job_queue"), (job.seq, pos))?;
        self.moved(&job.queue, job.state, State::Queued);
        let line = self.line(&job.queue, job.priority, job.tenant.as_ref())?;
        self.place(&Waiter { seq: job.seq, pos, line, priority: job.priority, gate: job.gate, ordered: job.ordered })
    }

    /// Wakes a parked job: into its line if it is due, else back to waiting for its time.
    pub(super) fn unpark_seq(&mut self, seq: i64, now: Timestamp) -> Result<State> {
        let Some(job) = self.waiting_seq(seq)? else { return Err(Error::NotFound { what: "the parked job".into() }) };
        self.run(sql!("dependencies_drop"), [seq])?;
        if job.run_at > now {
            self.run(sql!("job_schedule"), (seq, job.run_at.0))?;
            self.moved(&job.queue, State::Parked, State::Scheduled);
            self.hint_work();
            return Ok(State::Scheduled);
        }
        self.let_go(&job)?;
        Ok(State::Queued)
    }

    /// Ends a job that waits in no line any more: `cancelled` or `dead`, with what hangs on it.
    pub(super) fn end_waiting(&mut self, job: &Waiting, to: State, reason: &str, now: Timestamp) -> Result<()> {
        let none: Option<&[u8]> = None;
        let statement = if to == State::Dead { sql!("dead_from_job") } else { sql!("history_from_job") };
        self.run(statement, params![job.seq, to.as_str(), reason, None::<i64>, now.0, none, None::<&str>])?;
        self.run(sql!("job_drop"), [job.seq])?;
        self.moved(&job.queue, job.state, to);
        if job.has_key {
            self.unique_ended(job.id, &job.queue, job.tenant.as_ref(), now)?;
        }
        if let Some(extra) = &job.extra {
            self.follow(extra, to, job.id, job.tenant.as_ref(), now)?;
        }
        self.tell_children(job.id, now)
    }

    /// A job that did not start in time, found by its line's turn: its row in the line is dealt with by the caller.
    pub(super) fn expire(&mut self, seq: i64, now: Timestamp) -> Result<()> {
        let Some(job) = self.waiting_seq(seq)? else { return Ok(()) };
        if let Some(expires_at) = job.expires_at {
            self.run(sql!("expiry_drop"), (expires_at.0, seq))?;
        }
        let to = match self.kind(&job.kind)?.on_expire {
            OnExpire::Cancel => State::Cancelled,
            OnExpire::Dead => State::Dead,
        };
        self.end_waiting(&job, to, "expired", now)
    }
}
