//! The envelope: one JSON object at every door (contract 2). Reading and checking it happens here and nowhere else; the
//! SQL and Lua doors mirror these limits and sentences, and the conformance suite holds them to it.

use super::{Extra, JobId, Json, Name, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::Duration};

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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDuplicate {
    /// Answer with the id of the job that holds the key.
    #[default]
    Return,
    /// Swap payload and options of the holder, if it has not started; keep its id.
    Replace,
    /// Refuse.
    Reject,
    /// Replace, and put the start off by the new delay, at most `debounce_max_ms` after the first.
    Debounce,
}

/// How long a unique key is held. Text at the doors: `until_finished`, `until_started`, or an ISO 8601 duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UniqueFor {
    #[default]
    UntilFinished,
    UntilStarted,
    /// From enqueue for this long, and in any case while the job is live.
    Window(Duration),
}

impl UniqueFor {
    /// # Errors
    /// A sentence, when `text` is none of the three forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "until_finished" => Ok(Self::UntilFinished),
            "until_started" => Ok(Self::UntilStarted),
            _ => iso_duration(text).map(Self::Window).ok_or_else(|| {
                format!("`{text}` is none of until_finished, until_started or a duration such as PT10M or P1D (at most P366D)")
            }),
        }
    }
}

impl std::fmt::Display for UniqueFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UntilFinished => f.write_str("until_finished"),
            Self::UntilStarted => f.write_str("until_started"),
            Self::Window(window) => write!(f, "PT{}S", window.as_secs()),
        }
    }
}

impl Serialize for UniqueFor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UniqueFor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// `P[nD][T[nH][nM][nS]]`, whole numbers, more than nothing and at most 366 days. Months and years have no fixed length.
fn iso_duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
    let mut secs = 0_u64;
    for (part, units) in [(date, [('D', 86_400)].as_slice()), (time, [('H', 3600), ('M', 60), ('S', 1)].as_slice())] {
        let mut digits = String::new();
        let mut allowed = units.iter();
        for c in part.chars() {
            if c.is_ascii_digit() && digits.len() < 9 {
                digits.push(c);
            } else {
                let (_, unit) = allowed.find(|(letter, _)| *letter == c)?;
                secs = secs.checked_add(digits.parse::<u64>().ok()?.checked_mul(*unit)?)?;
                digits.clear();
            }
        }
        if !digits.is_empty() {
            return None;
        }
    }
    (1..=366 * 86_400).contains(&secs).then(|| Duration::from_secs(secs))
}

/// The wire form, as loose as serde makes it; [`Envelope::check`] turns it into a [`NewJob`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    pub kind: Name,
    pub payload: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_for: Option<UniqueFor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_duplicate: Option<OnDuplicate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce_max_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Name>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<JobId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Box<Envelope>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Box<Envelope>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<BTreeMap<String, Json>>,
}

/// A checked envelope: every door makes one, every store takes it. What is `None` falls back to the kind's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    pub key: Name,
    pub held: UniqueFor,
    pub on_duplicate: OnDuplicate,
    pub debounce_max_ms: u64,
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

    /// Reads and checks one envelope.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and a sentence that says what to do.
    pub fn check(text: &[u8], limits: Limits) -> Result<Self, InvalidEnvelope> {
        let text = std::str::from_utf8(text).map_err(|e| {
            InvalidEnvelope::new("", "not_json", format!("the envelope is not UTF-8 (byte {}); send JSON in UTF-8", e.valid_up_to()))
        })?;
        nesting(text)?;
        let envelope: Envelope = serde_json::from_str(text).map_err(|e| explain(text, &e))?;
        envelope.check(limits)
    }
}

/// Counts brackets outside strings before any recursive parser sees the text, so that a nesting bomb costs one pass.
fn nesting(text: &str) -> Result<(), InvalidEnvelope> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                // One level is the envelope's own.
                if depth > Limits::NESTING + 1 {
                    return Err(InvalidEnvelope::new(
                        "",
                        "too_large",
                        format!("nested deeper than {} levels; flatten it", Limits::NESTING),
                    ));
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// serde's words, with a place a person can find.
fn explain(text: &str, error: &serde_json::Error) -> InvalidEnvelope {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let code = match error.classify() {
        serde_json::error::Category::Data if said.starts_with("unknown field") => "unknown_member",
        serde_json::error::Category::Data if said.starts_with("must be 1 to 128") => "bad_name",
        serde_json::error::Category::Data => "wrong_type",
        _ => "not_json",
    };
    if let Some(member) = said.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        return InvalidEnvelope::new(format!("/{member}"), code, format!("unknown member `{member}`; {}", nearest(member)));
    }
    if let Some(member) = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return InvalidEnvelope::new(format!("/{member}"), code, format!("`{member}` is required"));
    }
    if code == "not_json" {
        return InvalidEnvelope::new("", code, format!("not valid JSON: {said} at line {} column {}", error.line(), error.column()));
    }
    let pointer = member_before(text, error).map(|member| format!("/{member}")).unwrap_or_default();
    InvalidEnvelope::new(pointer, code, said.to_owned())
}

/// The members of the envelope, for the nearest-name hint.
const MEMBERS: [&str; 26] = [
    "kind",
    "payload",
    "id",
    "queue",
    "tenant",
    "priority",
    "run_at",
    "delay_ms",
    "expires_at",
    "timeout_ms",
    "max_attempts",
    "unique_key",
    "unique_for",
    "on_duplicate",
    "debounce_max_ms",
    "idempotency_key",
    "concurrency_key",
    "ordered",
    "tags",
    "event_time",
    "after",
    "on_success",
    "on_failure",
    "account",
    "meta",
    "",
];

fn nearest(member: &str) -> String {
    let best =
        MEMBERS.iter().filter(|m| !m.is_empty()).max_by(|a, b| strsim::jaro_winkler(a, member).total_cmp(&strsim::jaro_winkler(b, member)));
    match best {
        Some(best) if strsim::jaro_winkler(best, member) > 0.75 => format!("did you mean `{best}`?"),
        _ => "only the members of the envelope are accepted; put your own data into `payload` or `meta`".into(),
    }
}

/// The name of the member whose value ends where serde stopped.
fn member_before(text: &str, error: &serde_json::Error) -> Option<String> {
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number + 1 == error.line() {
            offset += error.column().min(line.len());
            break;
        }
        offset += line.len();
    }
    let before = text.get(..offset.min(text.len()))?;
    MEMBERS
        .iter()
        .filter(|m| !m.is_empty())
        .filter_map(|m| before.rfind(&format!("\"{m}\"")).map(|at| (at, *m)))
        .max()
        .map(|(_, m)| m.to_owned())
}

impl Envelope {
    /// # Errors
    /// The first member that breaks a rule.
    pub fn check(self, limits: Limits) -> Result<NewJob, InvalidEnvelope> {
        self.check_at("", limits, 0)
    }

    fn check_at(self, at: &str, limits: Limits, depth: usize) -> Result<NewJob, InvalidEnvelope> {
        let bad = |member: &str, code: &'static str, message: String| Err(InvalidEnvelope::new(format!("{at}/{member}"), code, message));
        let cap = limits.payload_bytes.min(Limits::PAYLOAD_HARD);
        if self.payload.as_str().len() > cap {
            return bad(
                "payload",
                "too_large",
                format!("is {} bytes, the limit is {cap}; store the data elsewhere and send a reference", self.payload.as_str().len()),
            );
        }
        if self.account.is_some() {
            return bad("account", "not_supported", "`account` is not supported yet; leave it out until budgets are released".into());
        }
        if let Some(id) = self.id
            && id.0.get_version_num() != 7
        {
            return bad("id", "out_of_range", format!("`{id}` is not a UUIDv7; mint a version 7 id or leave it out"));
        }
        if self.priority.is_some_and(|p| p > 9) {
            return bad("priority", "out_of_range", "must be 0 (first) to 9 (last)".into());
        }
        let delay_ms = self.delay_ms.unwrap_or(0);
        if delay_ms > Limits::DELAY_MS {
            return bad("delay_ms", "out_of_range", format!("must be at most {} (ten years)", Limits::DELAY_MS));
        }
        if delay_ms > 0 && self.run_at.is_some() {
            return bad("delay_ms", "conflict", "`run_at` and `delay_ms` are both set; send one of them".into());
        }
        if let (Some(expires), Some(run_at)) = (self.expires_at, self.run_at)
            && expires <= run_at
        {
            return bad("expires_at", "conflict", "is not after `run_at`, so the job could never start".into());
        }
        if self.timeout_ms.is_some_and(|ms| ms == 0 || ms > Limits::TIMEOUT_MS) {
            return bad("timeout_ms", "out_of_range", format!("must be 1 to {} (24 hours)", Limits::TIMEOUT_MS));
        }
        if self.max_attempts.is_some_and(|n| n == 0 || n > Limits::MAX_ATTEMPTS) {
            return bad("max_attempts", "out_of_range", format!("must be 1 to {}", Limits::MAX_ATTEMPTS));
        }
        if let Some(key) = &self.idempotency_key
            && !(1..=255).contains(&key.len()) | !key.bytes().all(|b| (0x20..0x7f).contains(&b))
        {
            return bad("idempotency_key", "bad_name", "must be 1 to 255 printable ASCII characters".into());
        }
        if self.ordered == Some(true) && self.concurrency_key.is_none() {
            return bad("ordered", "conflict", "needs a `concurrency_key`, which names the sequence".into());
        }
        let unique = self.unique(at, delay_ms)?;
        if self.tags.as_ref().is_some_and(|tags| tags.len() > Limits::TAGS) {
            return bad("tags", "out_of_range", format!("at most {} tags", Limits::TAGS));
        }
        let after = self.after.unwrap_or_default();
        if after.len() > Limits::AFTER {
            return bad("after", "out_of_range", format!("at most {} dependencies", Limits::AFTER));
        }
        if self.id.is_some_and(|id| after.contains(&id)) {
            return bad("after", "conflict", "a job cannot wait for itself".into());
        }
        let meta = self.meta.as_ref().map(Json::of);
        if meta.as_ref().is_some_and(|m| m.as_str().len() > Limits::META_BYTES) {
            return bad("meta", "too_large", format!("at most {} bytes", Limits::META_BYTES));
        }
        let follow = |member: &str, envelope: Option<Box<Self>>| -> Result<Option<Box<NewJob>>, InvalidEnvelope> {
            let Some(envelope) = envelope else { return Ok(None) };
            if depth + 1 > Limits::FOLLOW_UP_DEPTH {
                return Err(InvalidEnvelope::new(
                    format!("{at}/{member}"),
                    "too_large",
                    format!("at most {} follow-ups inside one another", Limits::FOLLOW_UP_DEPTH),
                ));
            }
            if envelope.tenant.is_some() && envelope.tenant != self.tenant {
                return Err(InvalidEnvelope::new(
                    format!("{at}/{member}/tenant"),
                    "conflict",
                    "a follow-up stays in its job's tenant; leave it out",
                ));
            }
            let mut job = envelope.check_at(&format!("{at}/{member}"), limits, depth + 1)?;
            job.tenant.clone_from(&self.tenant);
            Ok(Some(Box::new(job)))
        };
        let on_success = follow("on_success", self.on_success)?;
        let on_failure = follow("on_failure", self.on_failure)?;
        Ok(NewJob {
            id: self.id.unwrap_or_else(JobId::mint),
            id_is_producers: self.id.is_some(),
            kind: self.kind,
            payload: self.payload,
            queue: self.queue,
            tenant: self.tenant,
            priority: self.priority,
            run_at: self.run_at,
            delay_ms,
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
                meta,
                on_success,
                on_failure,
                parent: None,
                schedule: None,
                after,
                idempotency_key: self.idempotency_key,
            },
        })
    }

    fn unique(&self, at: &str, delay_ms: u64) -> Result<Option<Unique>, InvalidEnvelope> {
        let bad = |member: &str, message: &str| Err(InvalidEnvelope::new(format!("{at}/{member}"), "conflict", message));
        let Some(key) = self.unique_key.clone() else {
            for (member, set) in [
                ("unique_for", self.unique_for.is_some()),
                ("on_duplicate", self.on_duplicate.is_some()),
                ("debounce_max_ms", self.debounce_max_ms.is_some()),
            ] {
                if set {
                    return bad(member, "needs a `unique_key`");
                }
            }
            return Ok(None);
        };
        let held = self.unique_for.unwrap_or_default();
        let on_duplicate = self.on_duplicate.unwrap_or_default();
        let swaps = matches!(on_duplicate, OnDuplicate::Replace | OnDuplicate::Debounce);
        if swaps && held != UniqueFor::UntilStarted {
            return bad(
                "on_duplicate",
                "`replace` and `debounce` need `unique_for: until_started`, because a started job cannot be swapped",
            );
        }
        if self.debounce_max_ms.is_some() && on_duplicate != OnDuplicate::Debounce {
            return bad("debounce_max_ms", "belongs to `on_duplicate: debounce`");
        }
        if on_duplicate == OnDuplicate::Debounce && delay_ms == 0 {
            return bad("on_duplicate", "`debounce` needs `delay_ms`, the quiet time to wait for");
        }
        // Without a stated bound a steady stream of arrivals could put a job off for ever: ten quiet times, then it runs.
        let debounce_max_ms = self.debounce_max_ms.unwrap_or_else(|| delay_ms.saturating_mul(10)).min(Limits::DELAY_MS);
        Ok(Some(Unique { key, held, on_duplicate, debounce_max_ms }))
    }
}

/// Reads a bulk body: a JSON array of envelopes. All items are looked at, so that every bad index is named at once.
///
/// # Errors
/// The document's own fault, or one entry per bad item with its index first in the pointer.
pub fn check_many(text: &[u8], limits: Limits) -> Result<Vec<Result<NewJob, InvalidEnvelope>>, InvalidEnvelope> {
    let text = std::str::from_utf8(text).map_err(|e| {
        InvalidEnvelope::new("", "not_json", format!("the body is not UTF-8 (byte {}); send JSON in UTF-8", e.valid_up_to()))
    })?;
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| explain(text, &e))?;
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
