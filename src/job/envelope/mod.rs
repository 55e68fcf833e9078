//! The envelope: one JSON object at every door (contract 2). Reading and checking it happens here and nowhere else; the
//! SQL and Lua doors mirror these limits and sentences, and the conformance suite holds them to it.

mod fault;
mod unique;

pub use unique::{OnDuplicate, Unique, UniqueFor};

use super::{Extra, JobId, Json, Name, Timestamp, objects_only};
use fault::{explain, range, refuse_deep_nesting};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What the checker allows. The defaults are the contract's.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of payload text.
    pub payload_bytes: usize,
}

impl Limits {
    /// What a job costs to hold, copy and commit stays small next to what it does.
    pub const PAYLOAD_DEFAULT: usize = 1 << 20;
    /// No configuration goes beyond: SQLite rows and HTTP bodies of this size still move in one piece.
    pub const PAYLOAD_HARD: usize = 16 << 20;
    /// Deeper JSON is somebody's mistake or somebody's attack.
    pub const NESTING: usize = 64;
    pub const META_BYTES: usize = 4096;
    pub const TAGS: usize = 20;
    pub const AFTER: usize = 100;
    /// The last of the priorities; 0 is the first. Ten lines are as many as anyone can tell apart.
    pub const PRIORITY: u8 = 9;
    pub const MAX_ATTEMPTS: u32 = 1000;
    pub const TIMEOUT_MS: u64 = 24 * 3600 * 1000;
    /// Ten years: later due times are typing errors (microseconds for milliseconds).
    pub const DELAY_MS: u64 = 10 * 366 * 86_400_000;
    pub const FOLLOW_UP_DEPTH: usize = 8;
    /// A day, as the IETF draft on Idempotency-Key suggests servers publish.
    pub const IDEMPOTENCY_MS: u64 = 86_400_000;
    pub const CHECKPOINT_BYTES: usize = 64 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes: Self::PAYLOAD_DEFAULT }
    }
}

/// One sentence a person can act on, with the JSON pointer of the member at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{pointer}: {message}")]
pub struct InvalidEnvelope {
    /// RFC 6901; empty for the whole document.
    pub pointer: String,
    /// Stable: `too_large`, `unknown_member`, `wrong_type`, `bad_name`, `out_of_range`, `conflict`, `not_supported`, `not_json`.
    pub code: &'static str,
    pub message: String,
}

impl InvalidEnvelope {
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, message: message.into() }
    }
}

/// The wire form, as loose as serde makes it; [`Envelope::check`] turns it into a [`NewJob`].
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Envelope {
    /// What is to be done; decides which worker gets it.
    pub kind: Name,
    /// What it is to be done with; 1 MiB at most, where the configuration says nothing else.
    pub payload: Json,
    /// The job's id, a UUIDv7: the same one again is a question about the same job. Minted here when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// The kind's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Name>,
    /// Whose it is; what a caller that is bound to a tenant leaves out is that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// 0 first … 9 last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 9))]
    pub priority: Option<u8>,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// Not before so many milliseconds from now; not beside `run_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 316_224_000_000_u64))]
    pub delay_ms: Option<u64>,
    /// When nobody has started it by then, it is not run at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub timeout_ms: Option<u64>,
    /// Then it is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: Option<u32>,
    /// While a job of the same tenant and queue holds it, no other gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<Name>,
    /// How long it is held; `until_finished` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_for: Option<UniqueFor>,
    /// What becomes of a job that finds its key taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_duplicate: Option<OnDuplicate>,
    /// The longest that `debounce` may put a job off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 316_224_000_000_u64))]
    pub debounce_max_ms: Option<u64>,
    /// Within a day, the same key is a question about the same job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub idempotency_key: Option<String>,
    /// At most so many of one key run at once as its queue says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Name>,
    /// One at a time and in their order of arrival, among those of its `concurrency_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
    /// For people to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub tags: Option<Vec<Name>>,
    /// When what it is about happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    /// It waits until these have completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub after: Option<Vec<JobId>>,
    /// Enqueued in the step in which it completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Box<Envelope>>,
    /// Enqueued in the step in which it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Box<Envelope>>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub account: Option<Json>,
    /// Carried along, such as `traceparent`; at most 4096 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<BTreeMap<String, Json>>,
}

objects_only!(Envelope);

/// A checked envelope: every door makes one, every store takes it. What is `None` falls back to the kind's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewJob {
    pub id: JobId,
    /// The producer minted the id, so the same id again is a question about the same job, not a chance event.
    pub id_is_producers: bool,
    pub kind: Name,
    pub payload: Json,
    pub queue: Option<Name>,
    pub tenant: Option<Name>,
    pub priority: Option<u8>,
    pub run_at: Option<Timestamp>,
    pub delay_ms: u64,
    pub expires_at: Option<Timestamp>,
    pub timeout_ms: Option<u64>,
    pub max_attempts: Option<u32>,
    pub unique: Option<Unique>,
    pub idempotency_key: Option<String>,
    /// How long the idempotency key is remembered, in milliseconds; a day unless the door knows better (a webhook's
    /// provider retries for days).
    pub idempotency_ms: u64,
    pub concurrency_key: Option<Name>,
    pub ordered: bool,
    /// `idempotency_key`, `after`, `on_success` … kept with the job.
    pub extra: Extra,
}

impl NewJob {
    /// A plain job, for programs that use the library and for tests.
    #[must_use]
    pub fn new(kind: Name, payload: Json) -> Self {
        Self {
            id: JobId::mint(),
            id_is_producers: false,
            kind,
            payload,
            queue: None,
            tenant: None,
            priority: None,
            run_at: None,
            delay_ms: 0,
            expires_at: None,
            timeout_ms: None,
            max_attempts: None,
            unique: None,
            idempotency_key: None,
            idempotency_ms: Limits::IDEMPOTENCY_MS,
            concurrency_key: None,
            ordered: false,
            extra: Extra::default(),
        }
    }

    /// The same job as one of `tenant`'s, if there is one: so are its follow-ups.
    ///
    /// # Errors
    /// When it names another tenant.
    pub fn bound_to(mut self, tenant: Option<&Name>) -> Result<Self, InvalidEnvelope> {
        let Some(own) = tenant else { return Ok(self) };
        of_tenant(self.tenant.as_ref(), own)?;
        // Follow-ups have their job's tenant, as the check saw to.
        self.inherit(own);
        Ok(self)
    }

    fn inherit(&mut self, tenant: &Name) {
        self.tenant = Some(tenant.clone());
        for next in [&mut self.extra.on_success, &mut self.extra.on_failure].into_iter().flatten() {
            next.inherit(tenant);
        }
    }

    /// Reads and checks one envelope.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and a sentence that says what to do.
    pub fn check(text: &[u8], limits: Limits) -> Result<Self, InvalidEnvelope> {
        Self::check_for(None, text, limits)
    }

    /// The same for a producer that is bound to `tenant`, if it is: where its envelope names none, that is meant.
    ///
    /// # Errors
    /// As [`NewJob::check`], and when it names another.
    pub fn check_for(tenant: Option<&Name>, text: &[u8], limits: Limits) -> Result<Self, InvalidEnvelope> {
        let text = std::str::from_utf8(text).map_err(|e| {
            InvalidEnvelope::new("", "not_json", format!("the envelope is not UTF-8 (byte {}); send JSON in UTF-8", e.valid_up_to()))
        })?;
        refuse_deep_nesting(text)?;
        let mut envelope: Envelope = serde_json::from_str(text).map_err(|e| explain(text, &e))?;
        if let Some(own) = tenant {
            of_tenant(envelope.tenant.as_ref(), own)?;
            envelope.tenant = Some(own.clone());
        }
        envelope.check(limits)
    }

    /// Reads and checks the envelope of a job that follows one of `tenant`'s, and stays there.
    ///
    /// # Errors
    /// As [`NewJob::check`], and when it names another tenant.
    pub fn check_follow_up(tenant: Option<&Name>, text: &str, limits: Limits) -> Result<Self, InvalidEnvelope> {
        refuse_deep_nesting(text)?;
        let envelope: Envelope = serde_json::from_str(text).map_err(|e| explain(text, &e))?;
        stays(envelope, &tenant.cloned(), "")?.check(limits)
    }
}

fn of_tenant(named: Option<&Name>, own: &Name) -> Result<(), InvalidEnvelope> {
    if named.is_some_and(|named| named != own) {
        return Err(InvalidEnvelope::new("/tenant", "other_tenant", format!("this token is bound to tenant {own}; leave `tenant` out")));
    }
    Ok(())
}

impl Envelope {
    /// A plain one: everything else falls back to the kind's settings.
    #[must_use]
    pub const fn new(kind: Name, payload: Json) -> Self {
        Self {
            kind,
            payload,
            id: None,
            queue: None,
            tenant: None,
            priority: None,
            run_at: None,
            delay_ms: None,
            expires_at: None,
            timeout_ms: None,
            max_attempts: None,
            unique_key: None,
            unique_for: None,
            on_duplicate: None,
            debounce_max_ms: None,
            idempotency_key: None,
            concurrency_key: None,
            ordered: None,
            tags: None,
            event_time: None,
            after: None,
            on_success: None,
            on_failure: None,
            account: None,
            meta: None,
        }
    }

    /// # Errors
    /// The first member that breaks a rule.
    pub fn check(self, limits: Limits) -> Result<NewJob, InvalidEnvelope> {
        self.check_at("", limits, 0)
    }

    fn check_at(self, at: &str, limits: Limits, depth: usize) -> Result<NewJob, InvalidEnvelope> {
        for rule in [Self::sizes, Self::ranges, Self::times, Self::keys] {
            rule(&self, limits).map_err(|broken| broken.at(at))?;
        }
        let unique = self.unique().map_err(|broken| broken.at(at))?;
        let on_success = follow_up(self.on_success, &self.tenant, &format!("{at}/on_success"), limits, depth + 1)?;
        let on_failure = follow_up(self.on_failure, &self.tenant, &format!("{at}/on_failure"), limits, depth + 1)?;
        Ok(NewJob {
            id: self.id.unwrap_or_else(JobId::mint),
            id_is_producers: self.id.is_some(),
            kind: self.kind,
            payload: self.payload,
            queue: self.queue,
            tenant: self.tenant,
            priority: self.priority,
            run_at: self.run_at,
            delay_ms: self.delay_ms.unwrap_or(0),
            expires_at: self.expires_at,
            timeout_ms: self.timeout_ms,
            max_attempts: self.max_attempts,
            unique,
            idempotency_key: self.idempotency_key.clone(),
            idempotency_ms: Limits::IDEMPOTENCY_MS,
            concurrency_key: self.concurrency_key,
            ordered: self.ordered.unwrap_or(false),
            extra: Extra {
                tags: self.tags.unwrap_or_default(),
                event_time: self.event_time,
                meta: self.meta.as_ref().map(Json::of),
                on_success,
                on_failure,
                parent: None,
                children: Vec::new(),
                schedule: None,
                after: self.after.unwrap_or_default(),
                idempotency_key: self.idempotency_key,
            },
        })
    }

    fn sizes(&self, limits: Limits) -> Result<(), Broken> {
        let (size, cap) = (self.payload.as_str().len(), limits.payload_bytes.min(Limits::PAYLOAD_HARD));
        if size > cap {
            let message = format!("is {size} bytes, the limit is {cap}; store the data elsewhere and send a reference");
            return broken("payload", "too_large", message);
        }
        if self.account.is_some() {
            return broken("account", "not_supported", "`account` is not supported yet; leave it out until budgets are released");
        }
        if self.tags.as_ref().is_some_and(|tags| tags.len() > Limits::TAGS) {
            return broken("tags", "out_of_range", format!("at most {} tags", Limits::TAGS));
        }
        if self.after.as_ref().is_some_and(|after| after.len() > Limits::AFTER) {
            return broken("after", "out_of_range", format!("at most {} dependencies", Limits::AFTER));
        }
        if self.meta.as_ref().is_some_and(|meta| Json::of(meta).as_str().len() > Limits::META_BYTES) {
            return broken("meta", "too_large", format!("at most {} bytes", Limits::META_BYTES));
        }
        Ok(())
    }

    fn ranges(&self, _: Limits) -> Result<(), Broken> {
        if let Some(id) = self.id
            && id.0.get_version_num() != 7
        {
            return broken("id", "out_of_range", format!("`{id}` is not a UUIDv7; mint a version 7 id or leave it out"));
        }
        let out_of_range = [
            ("priority", self.priority.is_some_and(|priority| priority > Limits::PRIORITY)),
            ("delay_ms", self.delay_ms.is_some_and(|ms| ms > Limits::DELAY_MS)),
            ("debounce_max_ms", self.debounce_max_ms.is_some_and(|ms| ms > Limits::DELAY_MS)),
            ("timeout_ms", self.timeout_ms.is_some_and(|ms| ms == 0 || ms > Limits::TIMEOUT_MS)),
            ("max_attempts", self.max_attempts.is_some_and(|n| n == 0 || n > Limits::MAX_ATTEMPTS)),
        ];
        match out_of_range.into_iter().find(|(_, is_out)| *is_out) {
            Some((member, _)) => broken(member, "out_of_range", range(member)),
            None => Ok(()),
        }
    }

    fn times(&self, _: Limits) -> Result<(), Broken> {
        if self.delay_ms.is_some_and(|ms| ms > 0) && self.run_at.is_some() {
            return broken("delay_ms", "conflict", "`run_at` and `delay_ms` are both set; send one of them");
        }
        if let (Some(expires), Some(run_at)) = (self.expires_at, self.run_at)
            && expires <= run_at
        {
            return broken("expires_at", "conflict", "is not after `run_at`, so the job could never start; send a later one");
        }
        Ok(())
    }

    fn keys(&self, _: Limits) -> Result<(), Broken> {
        let is_printable = |key: &String| (1..=255).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !self.idempotency_key.as_ref().is_none_or(is_printable) {
            return broken("idempotency_key", "bad_name", "must be 1 to 255 printable ASCII characters");
        }
        if self.ordered == Some(true) && self.concurrency_key.is_none() {
            return broken("ordered", "conflict", "needs a `concurrency_key`, which names the sequence");
        }
        if let (Some(id), Some(after)) = (self.id, &self.after)
            && after.contains(&id)
        {
            return broken("after", "conflict", "a job cannot wait for itself; leave its own id out");
        }
        Ok(())
    }

    fn unique(&self) -> Result<Option<Unique>, Broken> {
        let Some(key) = self.unique_key.clone() else {
            let needs_a_key = [
                ("unique_for", self.unique_for.is_some()),
                ("on_duplicate", self.on_duplicate.is_some()),
                ("debounce_max_ms", self.debounce_max_ms.is_some()),
            ];
            return match needs_a_key.into_iter().find(|(_, is_set)| *is_set) {
                Some((member, _)) => broken(member, "conflict", "needs a `unique_key`"),
                None => Ok(None),
            };
        };
        let held = self.unique_for.unwrap_or_default();
        let on_duplicate = self.on_duplicate.unwrap_or_default();
        let swaps = matches!(on_duplicate, OnDuplicate::Replace | OnDuplicate::Debounce);
        if swaps && held != UniqueFor::UntilStarted {
            let message = "`replace` and `debounce` need `unique_for: until_started`, because a started job cannot be swapped";
            return broken("on_duplicate", "conflict", message);
        }
        if self.debounce_max_ms.is_some() && on_duplicate != OnDuplicate::Debounce {
            return broken("debounce_max_ms", "conflict", "belongs to `on_duplicate: debounce`");
        }
        let delay_ms = self.delay_ms.unwrap_or(0);
        if on_duplicate == OnDuplicate::Debounce && delay_ms == 0 {
            return broken("on_duplicate", "conflict", "`debounce` needs `delay_ms`, the quiet time to wait for");
        }
        // Without a stated bound a steady stream of arrivals could put a job off for ever: ten quiet times, then it runs.
        let debounce_max_ms = self.debounce_max_ms.unwrap_or_else(|| delay_ms.saturating_mul(10)).min(Limits::DELAY_MS);
        Ok(Some(Unique { key, held, on_duplicate, debounce_max_ms }))
    }
}

/// A broken rule, before it is known where in the document the envelope stands.
struct Broken {
    member: &'static str,
    code: &'static str,
    message: String,
}

impl Broken {
    fn at(self, envelope: &str) -> InvalidEnvelope {
        InvalidEnvelope::new(format!("{envelope}/{}", self.member), self.code, self.message)
    }
}

fn broken<T>(member: &'static str, code: &'static str, message: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { member, code, message: message.into() })
}

/// Checks what follows a job at its end. It inherits the tenant, and so do its own follow-ups.
fn follow_up(
    envelope: Option<Box<Envelope>>,
    tenant: &Option<Name>,
    at: &str,
    limits: Limits,
    depth: usize,
) -> Result<Option<Box<NewJob>>, InvalidEnvelope> {
    let Some(envelope) = envelope else { return Ok(None) };
    if depth > Limits::FOLLOW_UP_DEPTH {
        let message = format!("at most {} follow-ups inside one another", Limits::FOLLOW_UP_DEPTH);
        return Err(InvalidEnvelope::new(at, "too_large", message));
    }
    stays(*envelope, tenant, at)?.check_at(at, limits, depth).map(|job| Some(Box::new(job)))
}

fn stays(mut envelope: Envelope, tenant: &Option<Name>, at: &str) -> Result<Envelope, InvalidEnvelope> {
    if envelope.tenant.is_some() && envelope.tenant != *tenant {
        let message = "a follow-up stays in its job's tenant; leave it out";
        return Err(InvalidEnvelope::new(format!("{at}/tenant"), "conflict", message));
    }
    envelope.tenant.clone_from(tenant);
    Ok(envelope)
}

/// Reads a bulk body: a JSON array of envelopes. All items are looked at, so that every bad index is named at once.
///
/// # Errors
/// The document's own fault, or one entry per bad item with its index first in the pointer.
pub fn check_many(text: &[u8], limits: Limits) -> Result<Vec<Result<NewJob, InvalidEnvelope>>, InvalidEnvelope> {
    let text = std::str::from_utf8(text).map_err(|e| {
        InvalidEnvelope::new("", "not_json", format!("the body is not UTF-8 (byte {}); send JSON in UTF-8", e.valid_up_to()))
    })?;
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => InvalidEnvelope::new("", "wrong_type", "send a JSON array of envelopes"),
        false => explain(text, &error),
    })?;
    Ok(items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            NewJob::check(item.get().as_bytes(), limits).map_err(|mut e| {
                e.pointer = format!("/{index}{}", e.pointer);
                e
            })
        })
        .collect())
}
