//! How queues and kinds behave. Settings live in the store, so that every door applies the same ones; the daemon writes
//! its configuration there at start.

use super::{Limits, Live, Name, RetryPolicy, Timestamp, objects_only};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// `per_second` starts on average, at most `burst` at once (GCRA). In any window of t seconds at most
/// burst + per_second · t jobs start, by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Rate {
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub per_second: f64,
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub burst: u32,
}

objects_only!(Rate);

impl Rate {
    /// Microseconds between two starts at the average rate.
    #[must_use]
    pub fn interval_us(self) -> i64 {
        ((1_000_000.0 / self.per_second).ceil() as i64).max(1)
    }

    /// Seconds that the longest burst may take to be there again: what is counted in microseconds stays within what a store can hold.
    const LONGEST_REFILL: f64 = 365.0 * 86_400.0;

    fn is_usable(self) -> bool {
        self.per_second > 0.0 && self.per_second.is_finite() && self.burst > 0
    }

    fn is_countable(self) -> bool {
        f64::from(self.burst) / self.per_second <= Self::LONGEST_REFILL
    }
}

/// `10/s:20`, `30/m:1`: starts in a second, minute or hour, and the burst.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |n: f64| n >= 1.0 && (n - n.round()).abs() < 1e-9 * n;
        let in_unit = UNITS.iter().map(|(unit, seconds)| (unit, self.per_second * seconds)).find(|(_, n)| whole(*n));
        match in_unit {
            Some((unit, n)) => write!(f, "{}/{unit}:{}", n.round(), self.burst),
            None => write!(f, "{}/s:{}", self.per_second, self.burst),
        }
    }
}

/// Units of time in which a rate is said, in seconds.
const UNITS: [(&str, f64); 3] = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is such as 10/s:20, 30/m or 100/h: starts in a second, minute or hour, and how many at once after a pause (1 if left out)")]
pub struct InvalidRate;

impl FromStr for Rate {
    type Err = InvalidRate;
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (rate, burst) = text.split_once(':').unwrap_or((text, "1"));
        let (starts, unit) = rate.split_once('/').ok_or(InvalidRate)?;
        let seconds = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds).ok_or(InvalidRate)?;
        let starts: f64 = starts.parse().map_err(|_| InvalidRate)?;
        Ok(Self { per_second: starts / seconds, burst: burst.parse().map_err(|_| InvalidRate)? })
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

/// A setting of a queue that no daemon can go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFault {
    pub setting: &'static str,
    /// What is wrong with it; the setting's name comes before.
    pub says: String,
}

impl QueueSettings {
    /// Every setting that cannot hold, by itself or beside the others. Whether there can be so many partitions is not asked here.
    #[must_use]
    pub fn faults(&self) -> Vec<QueueFault> {
        let mut faults = Vec::new();
        let mut report = |setting, says: String| faults.push(QueueFault { setting, says });
        if self.tenant_concurrency.is_some() && !self.fair {
            report("tenant_concurrency", "needs `fair = true`, because an unfair queue does not tell tenants apart".into());
        }
        for (setting, rate) in [("rate", self.rate), ("key_rate", self.key_rate)] {
            match rate {
                Some(rate) if !rate.is_usable() => {
                    report(setting, "must have `per_second` above 0 and `burst` of 1 or more; to stop a queue, pause it".into());
                }
                Some(Rate { burst, .. }) if i32::try_from(burst).is_err() => {
                    report(setting, format!("has a `burst` of {burst}, and must have at most {}", i32::MAX));
                }
                Some(rate) if !rate.is_countable() => report(setting, "must let as many as its `burst` start within a year".into()),
                _ => {}
            }
        }
        let key_concurrency = Some(self.key_concurrency);
        for (setting, limit) in
            [("concurrency", self.concurrency), ("key_concurrency", key_concurrency), ("tenant_concurrency", self.tenant_concurrency)]
        {
            match limit {
                Some(0) => report(setting, "is 0, so no job could start; to stop a queue, pause it".into()),
                Some(limit) if i32::try_from(limit).is_err() => report(setting, format!("is {limit}, and must be at most {}", i32::MAX)),
                _ => {}
            }
        }
        faults
    }

    /// Every limit that the queue's partitions share, and of which there is less than one for each: each lets one job start at least, and all of
    /// them would let more.
    #[must_use]
    pub fn unshareable(&self) -> Vec<QueueFault> {
        let partitions = self.partitions;
        let limits = [("concurrency", self.concurrency, ""), ("tenant_concurrency", self.tenant_concurrency, "")];
        let burst = ("rate", self.rate.map(|rate| rate.burst), "has a `burst` that ");
        let too_few = limits.into_iter().chain([burst]).filter(|(_, limit, _)| limit.is_some_and(|limit| limit < partitions));
        let says = |of| {
            format!(
                "{of}is less than the {partitions} partitions of the queue, which share it; at least one job must be able to start in each"
            )
        };
        too_few.map(|(setting, _, of)| QueueFault { setting, says: says(of) }).collect()
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
    /// The limits that were changed since the daemons were configured. They are in `queues`: what stands there is in force.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub live: BTreeMap<Name, Live>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), kinds: BTreeMap::new(), payload_bytes: Limits::PAYLOAD_DEFAULT, live: BTreeMap::new() }
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
