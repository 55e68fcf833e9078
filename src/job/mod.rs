//! The words and the rules of the queue. Pure: no I/O, no clock, no randomness, but for the ids that doors and clients mint.
//! What is stored where is the store's affair, what is done when the engine's.

mod attempt;
mod audit;
mod daemon;
mod edit;
mod envelope;
pub mod explain;
mod fingerprint;
mod lease;
mod live;
mod name;
mod object;
mod patch;
mod queue;
mod retry;
pub mod schedule;
mod settle;
mod standing;
mod state;
mod time;
mod token;
mod verdict;

pub use attempt::{Attempt, AttemptOutcome, ErrorClass, JobError};
pub use audit::{AuditFilter, AuditPlace, Audited, Head, InvalidPlace, NO_LINK, Verified, Verifier};
pub use daemon::{Daemon, QueueWork, SeenDaemon};
pub use edit::{Change, Edit};
pub use envelope::{Envelope, InvalidEnvelope, Limits, NewJob, OnDuplicate, Unique, UniqueFor, check_many};
pub use fingerprint::{Fingerprint, InvalidFingerprint, last_error};
pub use lease::{Applied, HolderId, Lease, Nonce};
pub use live::{Changed, LimitsInForce, Live, LiveLimits, QueueLimits, Turn};
pub use name::{InvalidName, Name};
pub(crate) use object::objects_only;
pub use queue::{InvalidRate, KindSettings, OnExpire, OnHead, Pause, QueueFault, QueueSettings, Rate, Settings};
pub use retry::{Curve, Jitter, RetryPolicy, jitter_seed};
pub use settle::{Effect, Settlement, Transition, Usage};
pub use standing::{Before, KeyUse, LeaseUse, Parent, Place, QueueUse, Share, Standing};
pub use state::State;
pub use time::{InvalidTimestamp, Timestamp};
pub use token::{InvalidScope, InvalidTokenId, Scope, ShownToken, Token, TokenId, TokenRequest};
pub use verdict::{Run, Verdict};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};
use uuid::Uuid;

/// Names a job for ever, at every door and in every store. A UUIDv7, minted by the producer or by the door.
/// It never orders jobs: position comes from the store when a job becomes due.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// A fresh id whose time part is the wall clock's; only doors and clients mint ids.
    #[must_use]
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Uuid::from_str(text)?))
    }
}

/// JSON text exactly as it was accepted: nothing between producer and worker re-encodes it (contract P9). Two are equal
/// when their texts are.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// Takes text that is known to be JSON: from a store, or from serde itself.
    #[must_use]
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// # Errors
    /// When `text` is not one JSON value.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get().into()))
    }

    /// # Panics
    /// Never for values made of JSON types; a map with keys that are no strings is a bug in our own code.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::to_string(value).expect("our own values are JSON").into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// # Errors
    /// When the value has another shape than `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Json {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.get().into()))
    }
}

/// A job as a store shows it to people: everything that is known, whatever its state.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self")]
pub struct Job {
    pub id: JobId,
    pub kind: Name,
    pub queue: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// 0 first … 9 last.
    pub priority: u8,
    pub state: State,
    /// Why it is parked, cancelled or dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Attempts charged so far; while running, the number of the attempt that runs.
    pub attempt: u32,
    pub max_attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    pub created_at: Timestamp,
    /// When it is (or was last) due. For a parked job: when the park ends.
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// Times a holder process died while this job ran as the only suspect.
    #[serde(default)]
    pub deaths: u32,
    /// Who runs it, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Json>,
    pub payload: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Json>,
    /// The newest attempts, oldest first; at most [`Attempt::KEPT`].
    pub attempts: Vec<Attempt>,
    /// Members of the envelope that only the producer and the end of the job look at.
    #[serde(flatten, skip_deserializing)]
    pub extra: Extra,
}

impl Serialize for Job {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// serde reads flattened members through a buffer that cannot hold raw JSON text, so `meta` and the payloads of follow-ups
/// would be refused; reading the object twice keeps their bytes (contract P9).
impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let mut job = Self::deserialize(&mut serde_json::Deserializer::from_str(text.get())).map_err(serde::de::Error::custom)?;
        job.extra = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        Ok(job)
    }
}

/// The rarely used members of an envelope, kept together so that a plain job pays for none of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Extra {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Box<NewJob>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Box<NewJob>>,
    /// The job whose end made this one (`on_success`, `on_failure`, a follow-up).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// Those that its own ends made, or asked for and found there, newest last; at most [`Extra::CHILDREN_KEPT`], the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<JobId>,
    /// The schedule and the due instant that made this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<(Name, Timestamp)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl Extra {
    /// Whoever is retried for ever and makes one more each time must not grow for ever.
    pub const CHILDREN_KEPT: usize = 100;

    /// Puts `made` behind the children it has; one that is named already stays where it is.
    pub fn name_children(&mut self, made: &[JobId]) {
        for child in made {
            if !self.children.contains(child) {
                self.children.push(*child);
            }
        }
        let excess = self.children.len().saturating_sub(Self::CHILDREN_KEPT);
        self.children.drain(..excess);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a worker gets of a job: as much as it needs to run it, cheap to make a hundred thousand times a second.
#[derive(Clone, Debug)]
pub struct LeasedJob {
    pub id: JobId,
    pub kind: Name,
    pub queue: Name,
    pub tenant: Option<Name>,
    pub payload: Json,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    pub max_attempts: u32,
    pub timeout_ms: Option<u64>,
    pub created_at: Timestamp,
    /// When this attempt became due; start − due is the wait.
    pub due_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub concurrency_key: Option<Name>,
    pub checkpoint: Option<Json>,
    pub extra: Option<Box<Extra>>,
}

impl LeasedJob {
    /// Of its attempt, what decides where it goes.
    #[must_use]
    pub const fn run(&self) -> Run {
        Run { job: self.id, attempt: self.attempt, max_attempts: self.max_attempts }
    }
}

/// One granted job with the proof of the grant.
#[derive(Clone, Debug)]
pub struct Leased {
    pub lease: Lease,
    pub job: LeasedJob,
}
