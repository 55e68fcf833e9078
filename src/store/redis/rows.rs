//! Words to what the library packs, and back. A job that cannot be read stops nothing but itself.

use super::asked::{AskedUnique, ExtraParts, asked_unique, extra, follow_up, held, hex_id, instant, is_false, packed, text};
use crate::{
    job::{Attempt, AttemptOutcome, Extra, HolderId, Job, JobId, Json, LeasedJob, Name, State, Timestamp},
    store::{Exported, words::ms},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A job's head, as the library keeps it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    priority: u8,
    created_at: i64,
    run_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<i64>,
    max_attempts: u32,
    /// Attempts charged.
    attempt: u32,
    deaths: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    ordered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<(String, i64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    /// What an outside call answered, beside that checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    park_until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// A stored job, taken apart.
pub(super) struct Stored<'b> {
    state: u8,
    pub(super) kind: &'b str,
    pub(super) head: Head,
    pub(super) payload: &'b str,
}

impl<'b> Stored<'b> {
    /// # Errors
    /// A sentence that says which part cannot be read.
    pub(super) fn read(blob: &'b [u8]) -> Result<Self, String> {
        let short = || "the job: cut short".to_owned();
        let state = *blob.get(1).ok_or_else(short)?;
        let kind_length = usize::from(*blob.get(10).ok_or_else(short)?);
        let kind = blob.get(11..11 + kind_length).ok_or_else(short)?;
        let at = 11 + kind_length;
        let length: [u8; 4] = blob.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or_else(short)?;
        let head_end = at + 4 + u32::from_be_bytes(length) as usize;
        let head = blob.get(at + 4..head_end).ok_or_else(short)?;
        Ok(Self {
            state,
            kind: std::str::from_utf8(kind).map_err(|e| format!("kind: {e}"))?,
            head: rmp_serde::from_slice(head).map_err(|e| format!("head: {e}"))?,
            payload: std::str::from_utf8(&blob[head_end..]).map_err(|e| format!("payload: {e}"))?,
        })
    }
}

impl Head {
    fn take_extra(&mut self) -> Result<Extra, String> {
        extra(ExtraParts {
            tags: std::mem::take(&mut self.tags),
            event_time: self.event_time,
            meta: self.meta.take(),
            on_success: self.on_success.take(),
            on_failure: self.on_failure.take(),
            parent: self.parent.take(),
            children: std::mem::take(&mut self.children),
            schedule: self.schedule.take(),
            after: std::mem::take(&mut self.after),
            idempotency_key: self.idempotency_key.take(),
        })
        .map_err(|e| format!("extra: {e}"))
    }

    /// The checkpoint that the worker left, with the answer beside it.
    fn whole_checkpoint(&self) -> Option<Json> {
        let Some(answer) = &self.answer else { return self.checkpoint.as_deref().map(Json::trusted) };
        let checkpoint = self.checkpoint.as_deref().unwrap_or("{}");
        let mut members: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> = match serde_json::from_str(checkpoint) {
            Ok(members) => members,
            Err(_) => [("checkpoint".to_owned(), serde_json::from_str(checkpoint).ok()?)].into(),
        };
        members.insert("answer".into(), serde_json::from_str(answer).ok()?);
        Some(Json::of(&members))
    }
}

fn named(text: &str, what: &str) -> Result<Name, String> {
    Name::new(text).map_err(|e| format!("{what}: {e}"))
}

pub(super) fn leased(id: JobId, queue: &Name, blob: &[u8]) -> Result<LeasedJob, String> {
    let Stored { kind, mut head, payload, .. } = Stored::read(blob)?;
    let extra = head.take_extra()?;
    Ok(LeasedJob {
        id,
        kind: named(kind, "kind")?,
        queue: queue.clone(),
        tenant: head.tenant.as_deref().map(|tenant| named(tenant, "tenant")).transpose()?,
        payload: Json::trusted(payload),
        attempt: head.attempt + 1,
        max_attempts: head.max_attempts,
        timeout_ms: head.timeout_ms.and_then(|ms| u64::try_from(ms).ok()),
        created_at: Timestamp(head.created_at),
        due_at: instant(head.run_at),
        expires_at: head.expires_at.map(instant),
        concurrency_key: head.key.as_deref().map(|key| named(key, "concurrency_key")).transpose()?,
        checkpoint: head.whole_checkpoint(),
        extra: (!extra.is_empty()).then(|| Box::new(extra)),
    })
}

/// How a job ended: state, finished_at, started_at, holder, nonce, epoch, reason, result.
struct Ended {
    state: State,
    finished_at: Timestamp,
    started_at: Option<Timestamp>,
    holder: HolderId,
    reason: Option<String>,
    result: Option<Json>,
}

fn ended(bytes: &[u8]) -> Result<Ended, String> {
    let short = || "its end: cut short".to_owned();
    let number = |at: usize| -> Result<i64, String> {
        let bytes: [u8; 8] = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).ok_or_else(short)?;
        Ok(i64::from_be_bytes(bytes))
    };
    let holder: [u8; 16] = bytes.get(17..33).and_then(|bytes| bytes.try_into().ok()).ok_or_else(short)?;
    let length: [u8; 2] = bytes.get(57..59).and_then(|bytes| bytes.try_into().ok()).ok_or_else(short)?;
    let length = usize::from(u16::from_be_bytes(length));
    let reason = bytes.get(59..59 + length).ok_or_else(short)?;
    let result = std::str::from_utf8(&bytes[59 + length..]).map_err(|e| format!("result: {e}"))?;
    Ok(Ended {
        state: match bytes[0] {
            b'c' => State::Completed,
            b'x' => State::Cancelled,
            _ => State::Dead,
        },
        finished_at: Timestamp(number(1)?),
        started_at: Some(number(9)?).filter(|t| *t != 0).map(Timestamp),
        holder: HolderId(Uuid::from_bytes(holder)),
        reason: (length > 0).then(|| String::from_utf8_lossy(reason).into_owned()),
        result: (!result.is_empty()).then(|| Json::trusted(result)),
    })
}

/// One job as `get` and `page` show it.
pub(super) struct Row {
    pub(super) id: JobId,
    pub(super) blob: Vec<u8>,
    pub(super) ended: Vec<u8>,
    /// Of one that runs: when it was granted, to whom, and its progress.
    pub(super) run: Option<(i64, HolderId, String)>,
}

/// # Errors
/// A sentence that says which part cannot be read.
pub(super) fn job(queue: &Name, row: &Row) -> Result<Job, String> {
    let Stored { state, kind, mut head, payload } = Stored::read(&row.blob)?;
    let end = (!row.ended.is_empty()).then(|| ended(&row.ended)).transpose()?;
    let state = match (&end, &row.run, state) {
        (Some(end), ..) => end.state,
        (None, Some(_), _) => State::Running,
        (None, None, b's') => State::Scheduled,
        (None, None, b'p') => State::Parked,
        (None, None, b'q' | b'h' | b'g' | b'b' | b'u') => State::Queued,
        (None, None, other) => return Err(format!("state: {other} is none")),
    };
    let mut attempts = head
        .attempts
        .iter()
        .map(|text| serde_json::from_str::<Attempt>(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("attempts: {e}"))?;
    let attempt = head.attempt + u32::from(matches!(state, State::Running | State::Completed));
    if let (State::Completed, Some(end)) = (state, &end)
        && let Some(started_at) = end.started_at
    {
        // The last attempt of a completed job is told by its end; only earlier ones are kept as records.
        let (ended_at, holder) = (end.finished_at, end.holder);
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
    let checkpoint = if state == State::Completed { None } else { head.whole_checkpoint() };
    let extra = head.take_extra()?;
    let due = if state == State::Parked { head.park_until.unwrap_or(head.run_at) } else { head.run_at };
    let parsed = |text: &str, what: &str| Json::parse(text).map_err(|e| format!("{what}: {e}"));
    Ok(Job {
        id: row.id,
        kind: named(kind, "kind")?,
        queue: queue.clone(),
        tenant: head.tenant.as_deref().map(|tenant| named(tenant, "tenant")).transpose()?,
        priority: head.priority,
        state,
        attempt,
        max_attempts: head.max_attempts,
        timeout_ms: head.timeout_ms.and_then(|ms| u64::try_from(ms).ok()),
        created_at: Timestamp(head.created_at),
        run_at: instant(due),
        expires_at: head.expires_at.map(instant),
        started_at: end.as_ref().map_or_else(|| row.run.as_ref().map(|(at, ..)| Timestamp(*at)), |end| end.started_at),
        finished_at: end.as_ref().map(|end| end.finished_at),
        concurrency_key: head.key.as_deref().map(|key| named(key, "concurrency_key")).transpose()?,
        ordered: head.ordered,
        unique_key: head.unique.as_deref().map(|key| named(key, "unique_key")).transpose()?,
        deaths: head.deaths,
        holder: row.run.as_ref().filter(|_| state == State::Running).map(|(_, holder, _)| *holder),
        reason: end.as_ref().map_or_else(|| head.reason.clone().filter(|_| state == State::Parked), |end| end.reason.clone()),
        payload: parsed(payload, "payload")?,
        result: end.and_then(|end| end.result),
        extra,
        attempts,
        checkpoint,
        progress: row
            .run
            .as_ref()
            .filter(|(.., progress)| !progress.is_empty())
            .map(|(.., progress)| parsed(progress, "progress"))
            .transpose()?,
    })
}

/// A job that a fresh store needs; nothing of one that is finished for good.
pub(super) fn exported(queue: &Name, row: &Row) -> Result<Option<Exported>, String> {
    let job = job(queue, row)?;
    if matches!(job.state, State::Completed | State::Cancelled) {
        return Ok(None);
    }
    let Head { run_at, token, fingerprint, .. } = Stored::read(&row.blob)?.head;
    Ok(Some(Exported { job, unique: None, due_at: instant(run_at), waits_for: Vec::new(), token, fingerprint }))
}

/// An exported job, as the library takes it in.
#[derive(Serialize)]
struct Imported<'e> {
    kind: &'e str,
    head: Head,
    state: char,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<AskedUnique>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    park_until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<Vec<String>>,
    finished_at: i64,
    started_at: i64,
}

pub(super) fn imported(exported: &Exported, now: Timestamp) -> Vec<u8> {
    let job = &exported.job;
    let extra = &job.extra;
    let mut attempts = job.attempts.clone();
    let was_running = job.state == State::Running;
    if was_running {
        // What ran when it was exported runs again here.
        let holder = job.holder.unwrap_or(HolderId(Uuid::nil()));
        let started_at = job.started_at.unwrap_or(now);
        let (number, ended_at, outcome) = (job.attempt, now, AttemptOutcome::Lost);
        attempts.push(Attempt { number, started_at, ended_at, holder, outcome, error: None, retry_at: None });
    }
    let is_parked = job.state == State::Parked;
    let head = Head {
        tenant: job.tenant.as_ref().map(text),
        priority: job.priority,
        created_at: job.created_at.0,
        run_at: exported.due_at.0,
        expires_at: job.expires_at.map(|t| t.0),
        timeout_ms: job.timeout_ms.map(ms),
        max_attempts: job.max_attempts,
        attempt: job.attempt - u32::from(was_running).min(job.attempt),
        deaths: job.deaths,
        unique: job.unique_key.as_ref().map(text),
        held: exported.unique.as_ref().map(|unique| held(&unique.held).0),
        key: job.concurrency_key.as_ref().map(text),
        ordered: job.ordered,
        fingerprint: exported.fingerprint.clone().filter(|print| !print.is_empty()),
        tags: extra.tags.iter().map(text).collect(),
        event_time: extra.event_time.map(|t| t.0),
        meta: extra.meta.as_ref().map(|meta| meta.as_str().to_owned()),
        on_success: extra.on_success.as_deref().map(follow_up),
        on_failure: extra.on_failure.as_deref().map(follow_up),
        parent: extra.parent.map(hex_id),
        children: extra.children.iter().copied().map(hex_id).collect(),
        schedule: extra.schedule.as_ref().map(|(name, due)| (text(name), due.0)),
        after: extra.after.iter().copied().map(hex_id).collect(),
        idempotency_key: extra.idempotency_key.clone(),
        attempts: attempts.iter().map(|attempt| Json::of(attempt).as_str().to_owned()).collect(),
        checkpoint: job.checkpoint.as_ref().map(|checkpoint| checkpoint.as_str().to_owned()),
        ..Head::default()
    };
    packed(&Imported {
        kind: &job.kind,
        head,
        state: match job.state {
            State::Dead => 'd',
            State::Scheduled => 's',
            State::Parked => 'p',
            _ => 'q',
        },
        unique: exported.unique.as_ref().filter(|_| !job.state.is_final()).map(asked_unique),
        reason: job.reason.as_deref().or_else(|| job.state.is_final().then_some("imported")),
        park_until: is_parked.then_some(job.run_at.0),
        token: exported.token.as_deref(),
        waits_for: (is_parked && !exported.waits_for.is_empty()).then(|| exported.waits_for.iter().copied().map(hex_id).collect()),
        finished_at: job.finished_at.unwrap_or(now).0,
        started_at: job.started_at.map_or(0, |t| t.0),
    })
}
