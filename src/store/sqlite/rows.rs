//! Rows to words, and the quarantine for those that cannot be read. Whatever another program did to the file, one bad row
//! stops nothing but itself.

use super::{
    lease::job_id,
    tx::{Line, Tx, sql},
    waiting::Waiting,
};
use crate::{
    job::{Attempt, AttemptOutcome, Extra, HolderId, Job, Json, LeasedJob, Name, State, Timestamp},
    store::Result,
};
use rusqlite::Row;
use std::sync::Arc;
use uuid::Uuid;

/// Column numbers of the lease queries (`lease_line`, `lease_one`, `leased_by`).
pub(super) mod lease {
    pub(crate) const POS: usize = 0;
    pub(crate) const SEQ: usize = 1;
    pub(crate) const GATE: usize = 2;
    pub(crate) const LINE: usize = 17;
    pub(crate) const EPOCH: usize = 18;
    pub(crate) const GRANTED_AT: usize = 19;
}

/// A row about to be leased, with what only the store looks at.
pub(super) struct Candidate {
    pub(super) leased: LeasedJob,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) never_started: bool,
    pub(super) unique_key: Option<String>,
    pub(super) ordered: bool,
}

fn text<E: std::fmt::Display>(column: &str) -> impl FnOnce(E) -> String {
    move |e| format!("{column}: {e}")
}

impl Tx<'_> {
    /// # Errors
    /// A sentence that says which column cannot be read.
    pub(super) fn leased_job(&mut self, line: &Arc<Line>, row: &Row<'_>) -> std::result::Result<Candidate, String> {
        let id: [u8; 16] = row.get(3).map_err(text("id"))?;
        let kind = row.get_ref(4).map_err(text("kind"))?.as_str().map_err(text("kind"))?;
        let kind = self.name(kind).map_err(text("kind"))?;
        let tenant = match row.get_ref(5).map_err(text("tenant"))?.as_str_or_null().map_err(text("tenant"))? {
            None => None,
            Some(tenant) => Some(self.name(tenant).map_err(text("tenant"))?),
        };
        let payload = row.get_ref(6).map_err(text("payload"))?.as_str().map_err(text("payload"))?;
        let concurrency_key = match row.get_ref(12).map_err(text("concurrency_key"))?.as_str_or_null().map_err(text("concurrency_key"))? {
            None => None,
            Some(key) => Some(self.name(key).map_err(text("concurrency_key"))?),
        };
        let extra = match row.get_ref(13).map_err(text("extra"))?.as_str_or_null().map_err(text("extra"))? {
            None => None,
            Some(extra) => Some(serde_json::from_str::<Box<Extra>>(extra).map_err(text("extra"))?),
        };
        let checkpoint = row.get_ref(14).map_err(text("checkpoint"))?.as_str_or_null().map_err(text("checkpoint"))?.map(Json::trusted);
        let expires_at = row.get::<_, Option<i64>>(11).map_err(text("expires_at"))?.map(Timestamp);
        Ok(Candidate {
            expires_at,
            unique_key: row.get(15).map_err(text("unique_key"))?,
            ordered: row.get(16).map_err(text("ordered"))?,
            never_started: row.get(20).map_err(text("attempts"))?,
            leased: LeasedJob {
                id: job_id(id),
                kind,
                queue: line.queue.clone(),
                tenant,
                payload: Json::trusted(payload),
                attempt: row.get::<_, u32>(7).map_err(text("attempt"))? + 1,
                max_attempts: row.get(8).map_err(text("max_attempts"))?,
                timeout_ms: row.get::<_, Option<i64>>(9).map_err(text("timeout_ms"))?.and_then(|ms| u64::try_from(ms).ok()),
                created_at: Timestamp(row.get(10).map_err(text("created_at"))?),
                due_at: Timestamp(row.get(21).map_err(text("run_at"))?),
                expires_at,
                concurrency_key,
                checkpoint,
                extra,
            },
        })
    }

    /// Puts a live row that cannot be read out of everybody's way, with all that hangs on it: its place, its turn, its key, and
    /// those who wait for it.
    pub(super) fn quarantine(&mut self, seq: i64, queue: Option<&Name>, reason: &str, now: Timestamp) -> Result<()> {
        tracing::error!(seq, reason, "a row of jobs cannot be read; it is quarantined");
        let remains = self.one(sql!("quarantine_remains"), [seq], |row| Ok(Remains::of(row)))?.unwrap_or_default();
        self.run(sql!("quarantine_put"), (seq, reason, now.0))?;
        self.run(sql!("job_drop"), [seq])?;
        self.run(sql!("dependencies_drop"), [seq])?;
        if let Some(expires_at) = remains.expires_at {
            self.run(sql!("expiry_drop"), (expires_at, seq))?;
        }
        let queue = remains.queue.as_deref().and_then(|queue| self.name(queue).ok()).or(queue.cloned());
        if let Some(queue) = &queue {
            self.count(queue, remains.state.unwrap_or(State::Queued), -1);
        }
        self.leave_place(seq, &remains, queue.as_ref())?;
        if let Some(gate) = remains.gate {
            self.gate_head_done(gate, seq)?;
            self.refill_later(gate, now);
        }
        if let Some(id) = &remains.id {
            if remains.has_key {
                self.run(sql!("unique_lost"), [id])?;
            }
            if let Ok(id) = <[u8; 16]>::try_from(id.as_slice()) {
                self.tell_children(job_id(id), now)?;
            }
        }
        Ok(())
    }

    fn leave_place(&mut self, seq: i64, remains: &Remains, queue: Option<&Name>) -> Result<()> {
        let Some(pos) = remains.pos else { return Ok(()) };
        if let Some(line) = remains.line
            && self.run(sql!("line_job_drop"), (line, pos, seq))? > 0
        {
            self.line_waits(line, -1);
        }
        if let Some(gate) = remains.gate
            && self.run(sql!("gate_job_drop_seq"), (gate, pos, seq))? > 0
        {
            self.gate_list_left(gate)?;
        }
        if let Some(queue) = queue {
            self.run(sql!("suspect_drop"), (queue.as_str(), pos))?;
        }
        Ok(())
    }
}

/// What can still be read of a damaged row.
#[derive(Default)]
struct Remains {
    id: Option<Vec<u8>>,
    queue: Option<String>,
    state: Option<State>,
    expires_at: Option<i64>,
    pos: Option<i64>,
    line: Option<i64>,
    gate: Option<i64>,
    has_key: bool,
}

impl Remains {
    fn of(row: &Row<'_>) -> Self {
        let number = |column: usize| row.get(column).unwrap_or_default();
        let text = |column: usize| row.get::<_, String>(column).ok();
        Self {
            id: row.get(0).ok(),
            queue: text(1),
            state: text(2).and_then(|state| State::parse(&state)),
            expires_at: number(3),
            pos: number(4),
            line: number(5),
            gate: number(6),
            has_key: row.get(7).unwrap_or(true),
        }
    }
}

fn needed_name(row: &Row<'_>, column: usize, what: &'static str) -> std::result::Result<Name, String> {
    let value = row.get_ref(column).map_err(text(what))?.as_str().map_err(text(what))?;
    Name::new(value).map_err(text(what))
}

/// The columns of `job_waiting`.
///
/// # Errors
/// A sentence that says which column cannot be read.
pub(super) fn waiting(seq: i64, row: &Row<'_>) -> std::result::Result<Waiting, String> {
    let state = row.get_ref(5).map_err(text("state"))?.as_str().map_err(text("state"))?;
    let tenant = match row.get_ref(3).map_err(text("tenant"))?.as_str_or_null().map_err(text("tenant"))? {
        None => None,
        Some(_) => Some(needed_name(row, 3, "tenant")?),
    };
    Ok(Waiting {
        seq,
        id: job_id(row.get(0).map_err(text("id"))?),
        kind: needed_name(row, 1, "kind")?,
        queue: needed_name(row, 2, "queue")?,
        tenant,
        priority: row.get(4).map_err(text("priority"))?,
        state: State::parse(state).ok_or_else(|| format!("state: `{state}` is none"))?,
        run_at: Timestamp(row.get(6).map_err(text("run_at"))?),
        expires_at: row.get::<_, Option<i64>>(7).map_err(text("expires_at"))?.map(Timestamp),
        pos: row.get(8).map_err(text("pos"))?,
        line: row.get(9).map_err(text("line"))?,
        gate: row.get(10).map_err(text("gate"))?,
        ordered: row.get(11).map_err(text("ordered"))?,
        has_key: row.get(12).map_err(text("unique_key"))?,
        extra: row.get(13).map_err(text("extra"))?,
    })
}

/// The columns behind the shared ones, of the export queries.
pub(super) mod export {
    pub(crate) const DUE_AT: usize = 26;
    pub(crate) const TOKEN: usize = 27;
    pub(crate) const FINGERPRINT: usize = 28;
    pub(crate) const PARENTS: usize = 29;
}

/// The shared columns of `job_live`, `job_history` and `job_dead`, in this order.
///
/// # Errors
/// A sentence that says which column cannot be read.
pub(super) fn job(row: &Row<'_>) -> std::result::Result<Job, String> {
    fn name(row: &Row<'_>, column: usize, what: &'static str) -> std::result::Result<Option<Name>, String> {
        let value = row.get_ref(column).map_err(text(what))?.as_str_or_null().map_err(text(what))?;
        value.map(Name::new).transpose().map_err(text(what))
    }
    fn json(row: &Row<'_>, column: usize, what: &'static str) -> std::result::Result<Option<Json>, String> {
        let value = row.get_ref(column).map_err(text(what))?.as_str_or_null().map_err(text(what))?;
        value.map(Json::parse).transpose().map_err(text(what))
    }
    let time = |column: usize, what: &'static str| row.get::<_, Option<i64>>(column).map(|t| t.map(Timestamp)).map_err(text(what));
    let state = row.get_ref(5).map_err(text("state"))?.as_str().map_err(text("state"))?;
    let state = State::parse(state).ok_or_else(|| format!("state: `{state}` is none"))?;
    let holder = row.get::<_, Option<[u8; 16]>>(18).map_err(text("holder"))?.map(|bytes| HolderId(Uuid::from_bytes(bytes)));
    let attempts = json(row, 23, "attempts")?;
    let mut attempts: Vec<Attempt> = attempts.map(|json| json.read()).transpose().map_err(text("attempts"))?.unwrap_or_default();
    let attempt: u32 = row.get(6).map_err(text("attempt"))?;
    let (started_at, finished_at) = (time(12, "started_at")?, time(13, "finished_at")?);
    if let (State::Completed, Some(started_at), Some(ended_at), Some(holder)) = (state, started_at, finished_at, holder) {
        // The last attempt of a completed job is told by its own columns; only earlier ones are kept as records.
        attempts.push(Attempt {
            number: attempt,
            started_at,
            ended_at,
            holder,
            outcome: AttemptOutcome::Completed,
            error: None,
            retry_at: None,
        });
    }
    let excess = attempts.len().saturating_sub(Attempt::KEPT);
    attempts.drain(..excess);
    Ok(Job {
        id: job_id(row.get(0).map_err(text("id"))?),
        kind: name(row, 1, "kind")?.ok_or("kind: missing")?,
        queue: name(row, 2, "queue")?.ok_or("queue: missing")?,
        tenant: name(row, 3, "tenant")?,
        priority: row.get(4).map_err(text("priority"))?,
        state,
        attempt,
        max_attempts: row.get(7).map_err(text("max_attempts"))?,
        timeout_ms: row.get::<_, Option<i64>>(8).map_err(text("timeout_ms"))?.and_then(|ms| u64::try_from(ms).ok()),
        created_at: time(9, "created_at")?.unwrap_or_default(),
        run_at: time(10, "run_at")?.unwrap_or_default(),
        expires_at: time(11, "expires_at")?,
        started_at,
        finished_at,
        concurrency_key: name(row, 14, "concurrency_key")?,
        ordered: row.get(15).map_err(text("ordered"))?,
        unique_key: name(row, 16, "unique_key")?,
        deaths: row.get(17).map_err(text("deaths"))?,
        holder: if state.is_final() { None } else { holder },
        reason: row.get(19).map_err(text("reason"))?,
        payload: json(row, 20, "payload")?.ok_or("payload: missing")?,
        result: json(row, 21, "result")?,
        extra: json(row, 22, "extra")?.map(|json| json.read()).transpose().map_err(text("extra"))?.unwrap_or_default(),
        attempts,
        checkpoint: json(row, 24, "checkpoint")?,
        progress: json(row, 25, "progress")?,
    })
}
