//! What workers over HTTP say and are told: `/v1/lease`, `/v1/heartbeat`, `/v1/settle`, `/v1/goodbye`.

use super::ItemError;
use crate::job::{Applied, ErrorClass, HolderId, JobId, Json, Name, Nonce, Timestamp, Usage, objects_only};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::collections::{BTreeMap, BTreeSet};

/// How long a lease lasts without a heartbeat, where nobody says: as the daemon's own.
const fn lease_ms() -> u64 {
    15_000
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct LeaseAsked {
    /// One life of one worker process, minted by it at start.
    pub worker: HolderId,
    /// What people know it by, such as the machine that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// How many jobs of which queue at most.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 100))]
    pub queues: BTreeMap<Name, usize>,
    /// All kinds that it can run.
    #[schemars(with = "Vec<Name>", length(min = 1))]
    pub kinds: BTreeSet<Name>,
    #[serde(default = "lease_ms")]
    #[schemars(range(min = 1000, max = 3_600_000))]
    pub lease_ms: u64,
    /// How long to wait for a job where none is due.
    #[serde(default)]
    pub wait_ms: u64,
    /// Names this call: asked again with the same one, it answers what it granted and is still leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
}

objects_only!(LeaseAsked);

impl LeaseAsked {
    /// A call that waits for nothing.
    #[must_use]
    pub fn new(worker: HolderId, queues: BTreeMap<Name, usize>, kinds: BTreeSet<Name>) -> Self {
        Self { worker, name: None, queues, kinds, lease_ms: lease_ms(), wait_ms: 0, nonce: None }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseAnswer {
    pub jobs: Vec<LeasedAnswer>,
    /// There may be more at once.
    pub more: bool,
}

/// A job to run, with the proof that it is this worker's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeasedAnswer {
    /// What the worker names it by from now on; made of nothing that it needs to look at.
    pub lease: String,
    /// Without a heartbeat it is the worker's until then.
    pub lease_until: Timestamp,
    pub id: JobId,
    pub kind: Name,
    pub queue: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    pub payload: Json,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    pub max_attempts: u32,
    /// How long the attempt may take; it is the worker that calls time.
    pub timeout_ms: u64,
    /// When that is over, for a run that begins at once.
    pub deadline: Timestamp,
    pub created_at: Timestamp,
    pub due_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Name>,
    /// What the last attempt left for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Json>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct BeatAsked {
    pub worker: HolderId,
    /// From now on, for all that the worker holds.
    #[serde(default = "lease_ms")]
    #[schemars(range(min = 1000, max = 3_600_000))]
    pub lease_ms: u64,
    pub held: Vec<String>,
    /// Of some of these, what people see of the run; the newest value counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<ProgressSent>,
    /// It finishes what it has and takes no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

objects_only!(BeatAsked);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ProgressSent {
    pub lease: String,
    pub value: Json,
}

objects_only!(ProgressSent);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BeatAnswer {
    /// No longer the worker's: stop these runs, whatever comes of them is refused.
    pub lost: Vec<String>,
    /// Somebody asked to cancel these: stop them and settle them as cancelled.
    pub cancel: Vec<String>,
    /// The worker's, and not named by it: granted in an answer that is still on its way, or was lost.
    pub strays: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct GoodbyeAsked {
    pub worker: HolderId,
}

objects_only!(GoodbyeAsked);

/// How one attempt ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Settled {
    pub lease: String,
    pub verdict: VerdictSent,
    /// When the run began; when it was leased, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<UsageSent>,
    /// Envelopes of jobs that are enqueued in the same step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<Json>,
    /// Handed to the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Json>,
    /// Refused: typed writes are the built-in workers'.
    #[serde(default, skip_serializing)]
    #[schemars(skip)]
    pub effects: Option<IgnoredAny>,
}

objects_only!(Settled);

impl Settled {
    #[must_use]
    pub fn new(lease: impl Into<String>, verdict: VerdictSent) -> Self {
        let (usage, follow_ups) = (Vec::new(), Vec::new());
        Self { lease: lease.into(), verdict, started_at: None, result: None, usage, follow_ups, checkpoint: None, effects: None }
    }
}

/// In JSON an object with one member: `{"complete": {}}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VerdictSent {
    Complete {},
    /// Again, after the kind's curve or after `after_ms`; costs the attempt.
    Retry {
        error: ErrorSent,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
    /// Dead now.
    Reject {
        error: ErrorSent,
    },
    /// Again at `until`, or after `for_ms`; costs nothing.
    Snooze {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Waits for something outside, until `until` or the kind's park time at most; costs nothing. `token` lets an outside call wake it.
    Park {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorSent>,
    },
    Cancel {
        reason: String,
    },
    /// Handed back unrun or half run; costs nothing.
    Release {},
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ErrorSent {
    /// A stable word, such as `http_503`, by which failures are grouped.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ErrorClass>,
}

objects_only!(ErrorSent);

/// What an attempt cost at a provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct UsageSent {
    pub provider: String,
    pub model: String,
    pub input_tokens: u64,
    pub cached_tokens: u64,
    pub output_tokens: u64,
    /// Millionths of the currency unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    pub estimated: bool,
}

objects_only!(UsageSent);

impl From<UsageSent> for Usage {
    fn from(sent: UsageSent) -> Self {
        let UsageSent { provider, model, input_tokens, cached_tokens, output_tokens, cost_micros, estimated } = sent;
        Self { provider, model, input_tokens, cached_tokens, output_tokens, cost_micros, estimated }
    }
}

/// What became of one settlement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SettledAnswer {
    Told { outcome: Applied },
    Refused { error: ItemError },
}
