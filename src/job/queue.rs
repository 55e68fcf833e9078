//! How queues and kinds behave. Settings live in the store, so that every door applies the same ones; the daemon writes
//! its configuration there at start.

use super::{Limits, Name, RetryPolicy, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `per_second` starts on average, at most `burst` at once (GCRA). In any window of t seconds at most
/// burst + per_second · t jobs start, by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub per_second: f64,
    pub burst: u32,
}

impl Rate {
    /// Microseconds between two starts at the average rate.
    #[must_use]
    pub fn interval_us(self) -> i64 {
        ((1_000_000.0 / self.per_second).ceil() as i64).max(1)
    }
}

/// How one queue is leased from. What is left out has its default; a queue nobody configured has all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Most jobs of this queue that run at once, over all daemons. None: only the daemons' own limits hold.
    pub concurrency: Option<u32>,
    /// Most jobs of one concurrency key that run at once. An `ordered` job always counts 1.
    pub key_concurrency: u32,
    pub rate: Option<Rate>,
    pub key_rate: Option<Rate>,
    /// Most jobs of one tenant that run at once; needs `fair`.
    pub tenant_concurrency: Option<u32>,
    /// One line per tenant, served by weight, so that a long line of one delays nobody else. A queue whose jobs name no
    /// tenant has one line either way.
    pub fair: bool,
    /// Shares of a tenant against 1 for all others.
    pub tenant_weights: BTreeMap<Name, u32>,
    /// What a retrying, snoozed or parked head of an ordered key does to those behind it: hold them, or let them pass.
    pub on_head: OnHead,
    /// Shards that the queue is spread over, in a Redis Cluster: each can be on another master. At most 256.
    pub partitions: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            concurrency: None,
            key_concurrency: 1,
            rate: None,
            key_rate: None,
            tenant_concurrency: None,
            fair: true,
            tenant_weights: BTreeMap::new(),
            on_head: OnHead::Block,
            partitions: 1,
        }
    }
}

/// See [`QueueSettings::on_head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnHead {
    /// Successors wait until the head is final: the order is kept whatever happens.
    Block,
    /// Successors go first: a head in trouble delays only itself.
    Skip,
}

/// What becomes of a job that nobody started by its `expires_at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExpire {
    /// Cancelled, reason `expired`: too late is as good as never.
    #[default]
    Cancel,
    /// A dead letter, which stays until somebody looked at it.
    Dead,
}

/// What a job of one kind has where its envelope says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindSettings {
    pub queue: Name,
    pub priority: u8,
    pub max_attempts: u32,
    pub timeout_ms: u64,
    pub retry: RetryPolicy,
    pub on_expire: OnExpire,
    /// How long a park may last before the job is dead with reason `park_expired`.
    pub park_for_ms: u64,
}

impl Default for KindSettings {
    fn default() -> Self {
        Self {
            queue: Name::literal("default"),
            priority: 5,
            max_attempts: 5,
            timeout_ms: 300_000,
            retry: RetryPolicy::default(),
            on_expire: OnExpire::default(),
            park_for_ms: 7 * 86_400_000,
        }
    }
}

/// A queue is held back: nothing of it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
    /// It ends by itself then; None: only when somebody resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Pause {
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// Everything the store keeps of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub queues: BTreeMap<Name, QueueSettings>,
    pub kinds: BTreeMap<Name, KindSettings>,
    /// Bytes of payload that a door inside the store lets in.
    pub payload_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), kinds: BTreeMap::new(), payload_bytes: Limits::PAYLOAD_DEFAULT }
    }
}

impl Settings {
    /// The queue's settings, or the defaults.
    #[must_use]
    pub fn queue(&self, queue: &str) -> QueueSettings {
        self.queues.get(queue).cloned().unwrap_or_default()
    }

    /// The kind's settings, or the defaults.
    #[must_use]
    pub fn kind(&self, kind: &str) -> KindSettings {
        self.kinds.get(kind).cloned().unwrap_or_default()
    }
}
