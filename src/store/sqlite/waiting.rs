//! A job that waits, wherever that is: finding it, taking it out of its place, letting it go, ending it unrun.

use super::{
    error,
    limits::Waiter,
    rows,
    tx::{Tx, sql},
};
use crate::{
    job::{JobId, Name, OnExpire, State, Timestamp},
    store::Result,
};
use rusqlite::params;

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
    pub(super) line: Option<i64>,
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

    /// The same by its row. A row that cannot be read is quarantined, and there is no such job.
    pub(super) fn waiting_seq(&mut self, seq: i64) -> Result<Option<Waiting>> {
        let mut statement = self.prepare(sql!("job_waiting"))?;
        let mut rows = statement.query([seq]).map_err(error::before_commit)?;
        let Some(row) = rows.next().map_err(error::before_commit)? else { return Ok(None) };
        match rows::waiting(seq, row) {
            Ok(job) => Ok(Some(job)),
            Err(reason) => {
                drop(rows);
                self.quarantine(seq, None, &reason, self.now(None))?;
                Ok(None)
            }
        }
    }

    /// Takes a waiting job out of its line, gate or list of suspects. Its row stays, in no place.
    pub(super) fn displace(&mut self, job: &Waiting, now: Timestamp) -> Result<()> {
        if let Some(expires_at) = job.expires_at {
            self.run(sql!("expiry_drop"), (expires_at.0, job.seq))?;
        }
        if job.state == State::Queued
            && let (Some(pos), Some(line)) = (job.pos, job.line)
        {
            self.displace_queued(job, pos, line)?;
        }
        match job.gate {
            // Whatever its state, the turn of an ordered job ends with it.
            Some(gate) => self.gate_left(gate, job.seq, true, now.0),
            None => Ok(()),
        }
    }

    fn displace_queued(&mut self, job: &Waiting, pos: i64, line: i64) -> Result<()> {
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
        let line = self.line(&job.queue, job.priority, job.tenant.as_ref())?;
        self.run(sql!("job_queue"), (job.seq, pos, line))?;
        self.moved(&job.queue, job.state, State::Queued);
        self.place(&Waiter { seq: job.seq, pos, line, priority: job.priority, gate: job.gate, ordered: job.ordered })
    }

    /// Wakes a parked job: into its line if it is due, else back to waiting for its time. `None`: its row cannot be read.
    pub(super) fn unpark_seq(&mut self, seq: i64, now: Timestamp) -> Result<Option<State>> {
        let Some(job) = self.waiting_seq(seq)? else { return Ok(None) };
        self.run(sql!("dependencies_drop"), [seq])?;
        if job.run_at > now {
            self.run(sql!("job_schedule"), (seq, job.run_at.0))?;
            self.moved(&job.queue, State::Parked, State::Scheduled);
            self.hint_work();
            return Ok(Some(State::Scheduled));
        }
        self.let_go(&job)?;
        Ok(Some(State::Queued))
    }

    /// Ends a job that waits in no line any more: `cancelled` or `dead`, with what hangs on it.
    pub(super) fn end_waiting(&mut self, job: &Waiting, to: State, reason: &str, now: Timestamp) -> Result<()> {
        let none: Option<&[u8]> = None;
        let statement = if to == State::Dead { sql!("dead_from_job") } else { sql!("history_from_job") };
        self.run(statement, params![job.seq, to.as_str(), reason, None::<i64>, now.0, none, None::<&str>])?;
        self.run(sql!("job_drop"), [job.seq])?;
        self.run(sql!("dependencies_drop"), [job.seq])?;
        self.moved(&job.queue, job.state, to);
        if job.has_key {
            self.unique_ended(job.id, &job.queue, job.tenant.as_ref(), now)?;
        }
        if let Some(extra) = &job.extra {
            let made = self.follow(extra, to, job.id, job.tenant.as_ref(), now)?;
            self.name_children(job.id, to, Some(extra), made.as_slice())?;
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
