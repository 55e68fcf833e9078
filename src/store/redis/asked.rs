//! What a producer said, as the library takes it in: checked elsewhere, and resolved there.

use crate::{
    job::{Extra, JobId, Json, Name, NewJob, OnDuplicate, Timestamp, Unique, UniqueFor},
    store::words::{fingerprint, ms},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a producer said, as `take_in` reads it; what it left out is left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    kind: String,
    /// Of a follow-up only, and so is the payload: of others they stand beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    is_producers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<AskedUnique>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_ms: Option<u64>,
    /// The concurrency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    ordered: bool,
    /// Hexadecimal, as are ids and whatever else is no text: the server's MessagePack has no bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<(String, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AskedUnique {
    key: String,
    /// `f`inished, `s`tarted or `w`indow.
    held: char,
    /// Microseconds.
    window: i64,
    on_duplicate: OnDuplicate,
    debounce_max_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}

pub(super) fn packed(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("our own words can be packed")
}

/// As the library has it: its numbers are exact up to the year 2255, and rounded to some microseconds beyond.
pub(super) fn instant(us: i64) -> Timestamp {
    Timestamp(us).min(Timestamp::MAX)
}

pub(super) fn text(name: &Name) -> String {
    name.to_string()
}

pub(super) fn hex_id(id: JobId) -> String {
    id.0.simple().to_string()
}

pub(super) const fn held(unique: &UniqueFor) -> (char, i64) {
    match unique {
        UniqueFor::UntilFinished => ('f', 0),
        UniqueFor::UntilStarted => ('s', 0),
        UniqueFor::Window(window) => ('w', window.as_secs().cast_signed().saturating_mul(1_000_000)),
    }
}

pub(super) fn asked_unique(unique: &Unique) -> AskedUnique {
    let (held, window) = held(&unique.held);
    AskedUnique { key: text(&unique.key), held, window, on_duplicate: unique.on_duplicate, debounce_max_ms: unique.debounce_max_ms }
}

impl Asked {
    pub(super) fn of(job: &NewJob) -> Self {
        let extra = &job.extra;
        let has_print = job.id_is_producers || job.idempotency_key.is_some();
        Self {
            kind: text(&job.kind),
            is_producers: job.id_is_producers,
            tenant: job.tenant.as_ref().map(text),
            priority: job.priority,
            run_at: job.run_at.map(|t| t.0),
            delay_ms: Some(job.delay_ms).filter(|ms| *ms > 0),
            expires_at: job.expires_at.map(|t| t.0),
            timeout_ms: job.timeout_ms.map(ms),
            max_attempts: job.max_attempts,
            unique: job.unique.as_ref().map(asked_unique),
            idempotency_key: job.idempotency_key.clone(),
            idempotency_ms: job.idempotency_key.as_ref().map(|_| job.idempotency_ms),
            key: job.concurrency_key.as_ref().map(text),
            ordered: job.ordered,
            fingerprint: has_print.then(|| hex::encode(fingerprint(job))),
            tags: (!extra.tags.is_empty()).then(|| extra.tags.iter().map(text).collect()),
            event_time: extra.event_time.map(|t| t.0),
            meta: extra.meta.as_ref().map(|meta| meta.as_str().to_owned()),
            on_success: extra.on_success.as_deref().map(follow_up),
            on_failure: extra.on_failure.as_deref().map(follow_up),
            parent: extra.parent.map(hex_id),
            schedule: extra.schedule.as_ref().map(|(name, due)| (text(name), due.0)),
            after: (!extra.after.is_empty()).then(|| extra.after.iter().copied().map(hex_id).collect()),
            ..Self::default()
        }
    }

    fn into_job(self) -> Result<NewJob, String> {
        let name = |text: &str| Name::new(text).map_err(|e| e.to_string());
        let maybe = |text: Option<String>| text.as_deref().map(name).transpose();
        let unique = match self.unique {
            None => None,
            Some(u) => Some(Unique {
                key: name(&u.key)?,
                held: match u.held {
                    's' => UniqueFor::UntilStarted,
                    'w' => UniqueFor::Window(std::time::Duration::from_micros(u.window.unsigned_abs())),
                    _ => UniqueFor::UntilFinished,
                },
                on_duplicate: u.on_duplicate,
                debounce_max_ms: u.debounce_max_ms,
            }),
        };
        let extra = extra(ExtraParts {
            tags: self.tags.unwrap_or_default(),
            event_time: self.event_time,
            meta: self.meta,
            on_success: self.on_success,
            on_failure: self.on_failure,
            parent: self.parent,
            children: Vec::new(),
            schedule: self.schedule,
            after: self.after.unwrap_or_default(),
            idempotency_key: self.idempotency_key.clone(),
        })?;
        let mut job = NewJob::new(name(&self.kind)?, Json::parse(self.payload.as_deref().unwrap_or("null")).map_err(|e| e.to_string())?);
        job.id = self.id.as_deref().map_or(Ok(job.id), id)?;
        job.id_is_producers = self.is_producers;
        job.queue = maybe(self.queue)?;
        job.tenant = maybe(self.tenant)?;
        job.priority = self.priority;
        job.run_at = self.run_at.map(instant);
        job.delay_ms = self.delay_ms.unwrap_or(0);
        job.expires_at = self.expires_at.map(instant);
        job.timeout_ms = self.timeout_ms.and_then(|ms| u64::try_from(ms).ok());
        job.max_attempts = self.max_attempts;
        job.unique = unique;
        job.idempotency_key = self.idempotency_key;
        job.idempotency_ms = self.idempotency_ms.unwrap_or(job.idempotency_ms);
        job.concurrency_key = maybe(self.key)?;
        job.ordered = self.ordered;
        job.extra = extra;
        Ok(job)
    }
}

/// All that jobs of one group have in common: what a job says but for its id and its payload.
pub(super) fn head<'j>(job: &'j NewJob) -> impl PartialEq + use<'j> {
    let NewJob {
        id: _,
        payload: _,
        id_is_producers,
        kind,
        queue,
        tenant,
        priority,
        run_at,
        delay_ms,
        expires_at,
        timeout_ms,
        max_attempts,
        unique,
        idempotency_key,
        idempotency_ms,
        concurrency_key,
        ordered,
        extra,
    } = job;
    let place = (kind, queue, tenant, priority, concurrency_key, ordered, extra);
    let rules = (run_at, delay_ms, expires_at, timeout_ms, max_attempts, unique, idempotency_key, idempotency_ms);
    // The fingerprint of what may come again is of all of it.
    let own = (*id_is_producers || idempotency_key.is_some()).then_some(job);
    (place, rules, own)
}

/// A job that another's end makes: all of it in one piece.
pub(super) fn follow_up(job: &NewJob) -> String {
    let asked = Asked {
        id: Some(hex_id(job.id)),
        payload: Some(job.payload.as_str().to_owned()),
        queue: job.queue.as_ref().map(text),
        ..Asked::of(job)
    };
    hex::encode(packed(&asked))
}

fn id(text: &str) -> Result<JobId, String> {
    Uuid::parse_str(text).map(JobId).map_err(|e| e.to_string())
}

pub(super) struct ExtraParts {
    pub(super) tags: Vec<String>,
    pub(super) event_time: Option<i64>,
    pub(super) meta: Option<String>,
    pub(super) on_success: Option<String>,
    pub(super) on_failure: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) children: Vec<String>,
    pub(super) schedule: Option<(String, i64)>,
    pub(super) after: Vec<String>,
    pub(super) idempotency_key: Option<String>,
}

pub(super) fn extra(parts: ExtraParts) -> Result<Extra, String> {
    let name = |text: &str| Name::new(text).map_err(|e| e.to_string());
    let next = |hexed: Option<String>| -> Result<Option<Box<NewJob>>, String> {
        let Some(hexed) = hexed else { return Ok(None) };
        let bytes = hex::decode(hexed).map_err(|e| e.to_string())?;
        let asked: Asked = rmp_serde::from_slice(&bytes).map_err(|e| e.to_string())?;
        asked.into_job().map(|job| Some(Box::new(job)))
    };
    Ok(Extra {
        tags: parts.tags.iter().map(|tag| name(tag)).collect::<Result<_, _>>()?,
        event_time: parts.event_time.map(instant),
        meta: parts.meta.as_deref().map(Json::trusted),
        on_success: next(parts.on_success)?,
        on_failure: next(parts.on_failure)?,
        parent: parts.parent.as_deref().map(id).transpose()?,
        children: parts.children.iter().map(|child| id(child)).collect::<Result<_, _>>()?,
        schedule: parts.schedule.map(|(schedule, due)| name(&schedule).map(|name| (name, instant(due)))).transpose()?,
        after: parts.after.iter().map(|parent| id(parent)).collect::<Result<_, _>>()?,
        idempotency_key: parts.idempotency_key,
    })
}
