//! What crosses the wire besides the words of `job` and `store`: the control port writes these, `client.rs` reads them.

pub mod work;

use super::error;
use crate::{
    job::{
        Change, Fingerprint, InvalidEnvelope, Job, JobError, JobId, Limits, LimitsInForce, LiveLimits, Name, Scope, SeenDaemon, State,
        Timestamp, TokenId, objects_only, schedule::Schedule,
    },
    store::{
        self, Enqueued, Filter, Page, QueueStatus,
        dead::{Done, Order},
        examine::{Finding, Level},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// RFC 9457, with our stable `code` and the parts of the input at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDocument {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub code: String,
    pub detail: String,
    /// Names the log line that tells the inside story.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ItemError>,
    /// Bounds on calls that were overrun, as the `RateLimit-Policy` header names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "violated-policies")]
    pub violated_policies: Vec<String>,
}

/// One thing that is wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemError {
    /// Place of the item in a bulk call, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// RFC 6901 as a URI fragment, as in RFC 9457's own example: `#/payload`, `#/3/kind`; `#` is the whole document.
    pub pointer: String,
    pub code: String,
    pub message: String,
    /// The job in the way, for `duplicate` and `conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

impl ItemError {
    #[must_use]
    pub fn new(pointer: &str, code: &str, message: impl Into<String>) -> Self {
        Self { index: None, pointer: fragment(pointer), code: code.into(), message: message.into(), job: None }
    }

    /// The error of item `index` of a bulk call; the pointer of `error` begins at the item.
    #[must_use]
    pub fn at(index: usize, error: InvalidEnvelope) -> Self {
        let pointer = format!("/{index}{}", error.pointer);
        Self { index: Some(index), ..Self::new(&pointer, error.code, error.message) }
    }

    /// What the store holds against item `index`.
    #[must_use]
    pub fn of(error: &store::Error, index: usize) -> Self {
        let (code, message) = error::outside(error);
        let job = match error {
            store::Error::Duplicate { holder, .. } => Some(*holder),
            store::Error::Conflict { id, .. } => Some(*id),
            _ => None,
        };
        let within = if let store::Error::Invalid { error, .. } = error { error.pointer.as_str() } else { "" };
        Self { index: Some(index), job, ..Self::new(&format!("/{index}{within}"), code, message) }
    }
}

impl From<InvalidEnvelope> for ItemError {
    fn from(error: InvalidEnvelope) -> Self {
        Self::new(&error.pointer, error.code, error.message)
    }
}

/// `pointer` as a URI fragment (RFC 6901, section 6): a member name that a producer invented may hold anything.
fn fragment(pointer: &str) -> String {
    let mut text = String::with_capacity(pointer.len() + 1);
    text.push('#');
    for byte in pointer.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The answer to one item of a bulk call that answers per item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ItemAnswer {
    Enqueued(Enqueued),
    Refused { error: ItemError },
}

/// The last line of a streamed bulk answer that could not be finished: items before `stopped_at` were answered, those from
/// there on were not written, or not known to be (`outcome_unknown`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub stopped_at: usize,
    pub error: ItemError,
}

/// A token as people see it: all but its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenAnswer {
    pub id: TokenId,
    pub name: Name,
    pub scopes: BTreeSet<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    pub created_at: Timestamp,
    pub created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// It lets somebody in now.
    pub is_live: bool,
}

/// One that was just made, with the token itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    pub token: String,
    #[serde(flatten)]
    pub kept: TokenAnswer,
}

/// A token, for a session in a browser.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    pub token: String,
}

/// Who calls, and what it may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionAnswer {
    /// As audit rows call it: `token:<id>`, `http:<address>`.
    pub name: String,
    /// All that it may do, those scopes too that others bring along.
    pub scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// Missing where nothing ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What it showed: `session`, `token`, or `nothing`, where programs of this machine need none.
    pub shown: String,
}

/// A page of a list, and where the next begins.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct PageOf<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// A page of jobs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobPage {
    pub items: Vec<JobSummary>,
    /// Where the next page begins; None at the end. A page may be short, even empty, and still have one: a call looks at a bounded number
    /// of rows.
    pub next: Option<String>,
    /// Rows that were looked at for this page; for a caller that is bound to a tenant, those of its own that are shown.
    #[serde(default)]
    pub looked: u64,
    /// Every job whose id was minted since then was looked at, for this page or those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl From<Page<Job>> for JobPage {
    fn from(page: Page<Job>) -> Self {
        let items = page.items.into_iter().map(JobSummary::from).collect();
        Self { items, next: page.next, looked: page.looked, until: page.until }
    }
}

/// A job in a list: everything but its payload, result, checkpoint and attempts, of which a thousand could be gigabytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobSummary {
    pub id: JobId,
    pub kind: Name,
    pub queue: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    pub priority: u8,
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub attempt: u32,
    pub max_attempts: u32,
    pub created_at: Timestamp,
    pub run_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Name>,
    /// Of the newest attempt that had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
}

impl From<Job> for JobSummary {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            kind: job.kind,
            queue: job.queue,
            tenant: job.tenant,
            priority: job.priority,
            state: job.state,
            reason: job.reason,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            created_at: job.created_at,
            run_at: job.run_at,
            expires_at: job.expires_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            unique_key: job.unique_key,
            concurrency_key: job.concurrency_key,
            tags: job.extra.tags,
            error: job.attempts.into_iter().rev().find_map(|attempt| attempt.error),
        }
    }
}

/// A daemon in `GET /v1/daemons`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonAnswer {
    #[serde(flatten)]
    pub seen: SeenDaemon,
    /// It spoke lately enough to be taken for alive.
    pub live: bool,
}

impl DaemonAnswer {
    #[must_use]
    pub fn list(daemons: Vec<SeenDaemon>, now: Timestamp) -> Vec<Self> {
        daemons.into_iter().map(|seen| Self { live: seen.is_live(now), seen }).collect()
    }
}

/// Body of `/v1/stats`: how it all stands at one time, from counters and never from a scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsAnswer {
    pub at: Timestamp,
    /// Over all queues. Final states count what is still kept.
    pub jobs: BTreeMap<State, u64>,
    pub queues: Vec<QueueStatus>,
    pub daemons: DaemonTotals,
    pub quarantined: QuarantineTotal,
    pub store: StoreCheck,
}

/// The daemons that live, and what they say of themselves together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonTotals {
    pub live: usize,
    pub slots: usize,
    pub running: usize,
    pub ended_in_minute: u64,
}

/// Rows that cannot be read, as far as they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineTotal {
    pub rows: usize,
    /// There are more than that.
    pub more: bool,
}

/// For how long and why a queue is paused. The body may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct PauseRequest {
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
    /// After so many milliseconds it ends by itself, at most a year; until it is resumed when left out.
    #[schemars(range(min = 1, max = 31_536_000_000_u64))]
    pub for_ms: Option<u64>,
}

objects_only!(PauseRequest);

/// What somebody changes of a queue's limits, and why.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct LimitsRequest {
    #[serde(flatten)]
    pub limits: LiveLimits,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
}

/// A queue's limits as a call finds or leaves them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsAnswer {
    pub name: Name,
    pub limits: LimitsInForce,
}

/// Why somebody cancels, or lifts what was changed. The body may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Because {
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
}

objects_only!(Because);

/// What `POST /v1/jobs/{id}/cancel` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelAnswer {
    pub id: JobId,
    /// `now`, `asked`, `already_final`.
    pub cancelled: String,
}

/// What `POST /v1/jobs/{id}/retry` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryAnswer {
    pub id: JobId,
    pub done: Retried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retried {
    /// It waited and is due now.
    MadeDue,
    /// It was dead and is back in its queue.
    Redriven,
}

/// Which dead letters to redrive, and how. Without a filter, `all` must be said: a call that leaves the filter out by mistake must not
/// move ten thousand jobs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct RedriveRequest {
    pub all: bool,
    /// These and no others, at most 1000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub ids: Vec<JobId>,
    /// Those that died of the same, as `GET /v1/dead/groups` names it.
    pub fingerprint: Option<Fingerprint>,
    /// Change each before it goes back.
    pub change: Option<Change>,
    /// Say what would become of each, and leave it as it is.
    pub dry_run: bool,
    /// Where an earlier answer said to look on.
    pub cursor: Option<String>,
    pub queue: Option<Name>,
    pub kind: Option<Name>,
    pub tenant: Option<Name>,
    pub tag: Option<Name>,
    /// At most so many in this call, 1 to 1000; 1000 when left out.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

objects_only!(RedriveRequest);

impl RedriveRequest {
    /// Whether it says which, in one way.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        let is_filtered = self.filter() != Filter { state: Some(State::Dead), ..Filter::default() };
        [self.all, is_filtered, !self.ids.is_empty()].into_iter().filter(|said| *said).count() == 1
    }

    #[must_use]
    pub fn order(&self, limits: Limits) -> Order {
        Order { filter: self.filter(), change: self.change.clone(), limits, dry_run: self.dry_run }
    }

    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter {
            state: Some(State::Dead),
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            tenant: self.tenant.clone(),
            tag: self.tag.clone(),
            fingerprint: self.fingerprint.clone(),
            ..Filter::default()
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RedriveAnswer {
    pub redriven: usize,
    pub items: Vec<RedrivenItem>,
    /// More dead letters may fit; call again.
    pub more: bool,
    /// With this `cursor`; without one, from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl RedriveAnswer {
    #[must_use]
    pub fn of(done: Vec<Done>, dry_run: bool) -> Self {
        let told = |(index, done): (usize, Done)| RedrivenItem { id: done.id, error: done.error.map(|error| ItemError::of(&error, index)) };
        let items: Vec<RedrivenItem> = done.into_iter().enumerate().map(told).collect();
        let redriven = if dry_run { 0 } else { items.iter().filter(|item| item.error.is_none()).count() };
        Self { redriven, items, more: false, next: None }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RedrivenItem {
    pub id: JobId,
    /// None: it is back in its queue, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// What `POST /v1/dead/redrives` takes: which, and how fast.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct RedriveRunRequest {
    pub which: RedriveRequest,
    /// At most, after a slow beginning; 1 to 1000.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    pub rate_per_s: u32,
    /// Put one back first, and the others only once it has completed.
    #[serde(default = "yes")]
    pub canary: bool,
    /// At most so many; 1 to 100,000.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1, max = 100_000))]
    pub most: u64,
}

objects_only!(RedriveRunRequest);

const fn ten() -> u32 {
    10
}

const fn yes() -> bool {
    true
}

const fn ten_thousand() -> u64 {
    10_000
}

/// A run as it stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RedriveRun {
    pub id: JobId,
    pub status: RunStatus,
    /// One sentence about where it is, or how it ended.
    pub says: String,
    pub redriven: u64,
    /// Could not go back.
    pub stayed: u64,
    /// Of this second.
    pub rate_per_s: u32,
    /// The one that went first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<JobId>,
    pub by: String,
    pub started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub request: RedriveRunRequest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// One went first; the others wait for what becomes of it.
    Canary,
    Running,
    Done,
    Stopped,
    Failed,
}

/// The job that a call woke or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRef {
    pub id: JobId,
}

/// Body of `/healthz`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HealthAnswer {
    /// `ok`, `draining`, `failing`.
    pub status: String,
    pub version: String,
    pub uptime_seconds: u64,
    /// What a positive enqueue answer survives: `strict`, `relaxed`. None while the store cannot be asked.
    pub durability: Option<store::Durability>,
    pub checks: Checks,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Checks {
    pub store: StoreCheck,
    /// Loops of the daemon that stopped ticking.
    pub stalled: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreCheck {
    pub ok: bool,
    pub latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
}

/// What an examination says, from `/v1/doctor` and from `windlass doctor --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorAnswer {
    pub at: Timestamp,
    /// Of the worst line.
    pub level: Level,
    pub findings: Vec<Finding>,
}

impl DoctorAnswer {
    pub(crate) fn of(at: Timestamp, findings: Vec<Finding>) -> Self {
        let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        Self { at, level, findings }
    }
}

/// Body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadyAnswer {
    pub ready: bool,
    /// Which checks failed: `store`, `draining`, `stalled:<loop>`.
    pub failed: Vec<String>,
}

/// A schedule with what the store remembers of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleAnswer {
    pub schedule: Schedule,
    pub generation: i64,
    pub last: Timestamp,
    pub paused: bool,
    /// None while it is paused.
    pub next: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewAnswer {
    pub name: Name,
    pub instants: Vec<Timestamp>,
}

/// A queue as a pause or a resume leaves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PauseAnswer {
    pub name: Name,
    pub paused: Option<crate::job::Pause>,
}
