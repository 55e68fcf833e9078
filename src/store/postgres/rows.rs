//! Rows to words. Whatever another program did to a row, one that cannot be read stops nothing but itself.

use crate::job::{Attempt, AttemptOutcome, Extra, HolderId, Job, JobId, Json, Lease, Leased, LeasedJob, Name, Nonce, State, Timestamp};
use tokio_postgres::{Row, types::FromSql};
use uuid::Uuid;

/// Column numbers of `granted`.
pub(super) mod granted {
    pub(crate) const ORD: usize = 1;
    pub(crate) const GRANTED_AT: usize = 2;
    pub(crate) const ID: usize = 3;
}

fn said<E: std::fmt::Display>(column: &str) -> impl FnOnce(E) -> String {
    move |e| format!("{column}: {e}")
}

fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize, what: &'static str) -> Result<T, String> {
    row.try_get(column).map_err(said(what))
}

fn name(row: &Row, column: usize, what: &'static str) -> Result<Name, String> {
    Name::new(get::<&str>(row, column, what)?).map_err(said(what))
}

fn maybe_name(row: &Row, column: usize, what: &'static str) -> Result<Option<Name>, String> {
    get::<Option<&str>>(row, column, what)?.map(Name::new).transpose().map_err(said(what))
}

fn time(row: &Row, column: usize, what: &'static str) -> Result<Option<Timestamp>, String> {
    Ok(get::<Option<i64>>(row, column, what)?.map(Timestamp))
}

fn whole(row: &Row, column: usize, what: &'static str) -> Result<u32, String> {
    u32::try_from(get::<i32>(row, column, what)?).map_err(said(what))
}

/// A row of `granted`.
///
/// # Errors
/// A sentence that says which column cannot be read.
pub(super) fn leased(row: &Row) -> Result<Leased, String> {
    let id = JobId(get(row, granted::ID, "id")?);
    let lease = Lease {
        job: id,
        epoch: get(row, 0, "epoch")?,
        nonce: Nonce(get(row, 17, "nonce")?),
        row: i64::from(get::<i32>(row, granted::ORD, "ord")?),
        granted_at: Timestamp(get(row, granted::GRANTED_AT, "granted_at")?),
    };
    let extra = get::<Option<&str>>(row, 15, "extra")?.map(serde_json::from_str::<Box<Extra>>).transpose().map_err(said("extra"))?;
    let job = LeasedJob {
        id,
        kind: name(row, 4, "kind")?,
        queue: name(row, 5, "queue")?,
        tenant: maybe_name(row, 6, "tenant")?,
        payload: Json::trusted(get(row, 7, "payload")?),
        attempt: whole(row, 8, "attempt")? + 1,
        max_attempts: whole(row, 9, "max_attempts")?,
        timeout_ms: get::<Option<i64>>(row, 10, "timeout_ms")?.and_then(|ms| u64::try_from(ms).ok()),
        created_at: Timestamp(get(row, 11, "created_at")?),
        due_at: Timestamp(get(row, 12, "run_at")?),
        expires_at: time(row, 13, "expires_at")?,
        concurrency_key: maybe_name(row, 14, "concurrency_key")?,
        extra,
        checkpoint: get::<Option<&str>>(row, 16, "checkpoint")?.map(Json::trusted),
    };
    Ok(Leased { lease, job })
}

/// Columns behind those of a job, of the export statements.
pub(super) mod export {
    pub(crate) const DUE_AT: usize = 26;
    pub(crate) const TOKEN: usize = 27;
    pub(crate) const FINGERPRINT: usize = 28;
    pub(crate) const PARENTS: usize = 29;
    pub(crate) const HELD: usize = 30;
    pub(crate) const HELD_UNTIL: usize = 31;
    pub(crate) const HELD_FROM: usize = 32;
}

/// A job in the columns that `job_live`, `job_history` and `job_dead` share.
///
/// # Errors
/// A sentence that says which column cannot be read.
pub(super) fn job(row: &Row) -> Result<Job, String> {
    let json = |column: usize, what: &'static str| {
        get::<Option<&str>>(row, column, what).and_then(|text| text.map(Json::parse).transpose().map_err(said(what)))
    };
    let state = get::<&str>(row, 5, "state")?;
    let state = State::parse(state).ok_or_else(|| format!("state: `{state}` is none"))?;
    let holder = get::<Option<Uuid>>(row, 18, "holder")?.map(HolderId);
    let attempt = whole(row, 6, "attempt")?;
    let records: Option<Vec<&str>> = get(row, 23, "attempts")?;
    let records = records.unwrap_or_default().into_iter().map(serde_json::from_str::<Attempt>);
    let mut attempts = records.collect::<Result<Vec<Attempt>, _>>().map_err(said("attempts"))?;
    let (started_at, finished_at) = (time(row, 12, "started_at")?, time(row, 13, "finished_at")?);
    if let (State::Completed, Some(started_at), Some(ended_at), Some(holder)) = (state, started_at, finished_at, holder) {
        // The last attempt of a completed job is told by its own columns; only earlier ones are kept as records.
        let outcome = AttemptOutcome::Completed;
        attempts.push(Attempt { number: attempt, started_at, ended_at, holder, outcome, error: None, retry_at: None });
    }
    let excess = attempts.len().saturating_sub(Attempt::KEPT);
    attempts.drain(..excess);
    Ok(Job {
        id: JobId(get(row, 0, "id")?),
        kind: name(row, 1, "kind")?,
        queue: name(row, 2, "queue")?,
        tenant: maybe_name(row, 3, "tenant")?,
        priority: u8::try_from(get::<i16>(row, 4, "priority")?).map_err(said("priority"))?,
        state,
        attempt,
        max_attempts: whole(row, 7, "max_attempts")?,
        timeout_ms: get::<Option<i64>>(row, 8, "timeout_ms")?.and_then(|ms| u64::try_from(ms).ok()),
        created_at: time(row, 9, "created_at")?.unwrap_or_default(),
        run_at: time(row, 10, "run_at")?.unwrap_or_default(),
        expires_at: time(row, 11, "expires_at")?,
        started_at,
        finished_at,
        concurrency_key: maybe_name(row, 14, "concurrency_key")?,
        ordered: get(row, 15, "ordered")?,
        unique_key: maybe_name(row, 16, "unique_key")?,
        deaths: u32::try_from(get::<i16>(row, 17, "deaths")?).map_err(said("deaths"))?,
        holder: if state.is_final() { None } else { holder },
        reason: get::<Option<String>>(row, 19, "reason")?,
        payload: json(20, "payload")?.ok_or("payload: missing")?,
        result: json(21, "result")?,
        extra: json(22, "extra")?.map(|json| json.read()).transpose().map_err(said("extra"))?.unwrap_or_default(),
        attempts,
        checkpoint: json(24, "checkpoint")?,
        progress: json(25, "progress")?,
    })
}
