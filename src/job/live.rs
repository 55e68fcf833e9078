//! Limits that somebody changes while the daemons run: what is changed stands over what their configuration says, until it is lifted. Pure; a
//! store applies it in one step with the audit's row.

use super::{InvalidEnvelope, Name, QueueFault, QueueSettings, Rate, Settings, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt::Display};

/// How many jobs of a queue run at once, and how fast they start: of its settings those that can be changed at any time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueLimits {
    pub concurrency: Option<u32>,
    pub key_concurrency: u32,
    pub rate: Option<Rate>,
    pub key_rate: Option<Rate>,
    pub tenant_concurrency: Option<u32>,
    pub tenant_weights: BTreeMap<Name, u32>,
}

impl From<&QueueSettings> for QueueLimits {
    fn from(settings: &QueueSettings) -> Self {
        Self {
            concurrency: settings.concurrency,
            key_concurrency: settings.key_concurrency,
            rate: settings.rate,
            key_rate: settings.key_rate,
            tenant_concurrency: settings.tenant_concurrency,
            tenant_weights: settings.tenant_weights.clone(),
        }
    }
}

/// A change of limits: what is left out stays as it is, and `null` is no limit at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LiveLimits {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub concurrency: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schemars(with = "u32", range(min = 1, max = 2_147_483_647))]
    pub key_concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub rate: Option<Option<Rate>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub key_rate: Option<Option<Rate>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub tenant_concurrency: Option<Option<u32>>,
    /// In place of all of them.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    #[schemars(with = "BTreeMap<Name, u32>", length(max = 1000))]
    pub tenant_weights: Option<BTreeMap<Name, u32>>,
}

/// A member that is there says something, `null` too.
fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Tenants to whom one queue can give weights live, for the same reason as [`MOST_CHANGED`].
const MOST_WEIGHTS: usize = 1000;

impl LiveLimits {
    /// The settings that can be changed.
    pub const MEMBERS: [&'static str; 6] = ["concurrency", "key_concurrency", "rate", "key_rate", "tenant_concurrency", "tenant_weights"];

    /// A change by its members.
    ///
    /// # Errors
    /// Names the member that is unknown, or of the wrong shape.
    pub fn read(members: Map<String, Value>) -> Result<Self, InvalidEnvelope> {
        for (name, value) in &members {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            if !Self::MEMBERS.contains(&name.as_str()) {
                let shown: String = name.chars().take(80).collect();
                let message = format!("unknown member `{shown}`; there are {}", Self::MEMBERS.join(", "));
                return Err(InvalidEnvelope::new(pointer, "unknown_member", message));
            }
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            if let Err(error) = Self::deserialize(Value::Object(alone)) {
                return Err(InvalidEnvelope::new(pointer, "wrong_type", error.to_string()));
            }
        }
        Self::deserialize(Value::Object(members)).map_err(|error| InvalidEnvelope::new("", "wrong_type", error.to_string()))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether any of these faults is of this change's own making, and it changes anything at all.
    fn check(&self, faults: &[QueueFault]) -> Result<(), InvalidEnvelope> {
        if self.is_empty() {
            return Err(InvalidEnvelope::new("", "empty", format!("nothing to change; send one or more of {}", Self::MEMBERS.join(", "))));
        }
        if self.tenant_weights.as_ref().is_some_and(|weights| weights.len() > MOST_WEIGHTS) {
            let message = format!("at most {MOST_WEIGHTS} tenants; give more of them weights in the configuration");
            return Err(InvalidEnvelope::new("/tenant_weights", "out_of_range", message));
        }
        let own = faults.iter().find(|fault| self.says(fault.setting));
        own.map_or(Ok(()), |fault| Err(InvalidEnvelope::new(format!("/{}", fault.setting), "out_of_range", fault.says.clone())))
    }

    /// This change after an earlier one.
    fn after(self, earlier: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(earlier.concurrency),
            key_concurrency: self.key_concurrency.or(earlier.key_concurrency),
            rate: self.rate.or(earlier.rate),
            key_rate: self.key_rate.or(earlier.key_rate),
            tenant_concurrency: self.tenant_concurrency.or(earlier.tenant_concurrency),
            tenant_weights: self.tenant_weights.or(earlier.tenant_weights),
        }
    }

    /// What of this change the partitions of the queue cannot share, of which there may be more now than when it was made.
    #[must_use]
    pub fn unshareable(&self, settings: &QueueSettings) -> Option<QueueFault> {
        settings.unshareable().into_iter().find(|fault| self.says(fault.setting))
    }

    /// The settings with this change over them.
    fn over(&self, configured: &QueueSettings) -> QueueSettings {
        let mut settings = configured.clone();
        put(&mut settings.concurrency, self.concurrency);
        put(&mut settings.key_concurrency, self.key_concurrency);
        put(&mut settings.rate, self.rate);
        put(&mut settings.key_rate, self.key_rate);
        put(&mut settings.tenant_concurrency, self.tenant_concurrency);
        put(&mut settings.tenant_weights, self.tenant_weights.clone());
        settings
    }

    /// Whether it says anything of this setting.
    #[must_use]
    pub fn says(&self, setting: &str) -> bool {
        match setting {
            "concurrency" => self.concurrency.is_some(),
            "key_concurrency" => self.key_concurrency.is_some(),
            "rate" => self.rate.is_some(),
            "key_rate" => self.key_rate.is_some(),
            "tenant_concurrency" => self.tenant_concurrency.is_some(),
            "tenant_weights" => self.tenant_weights.is_some(),
            _ => false,
        }
    }

    /// What cannot hold in a queue that is configured like this.
    fn faults(&self, configured: &QueueSettings) -> Vec<QueueFault> {
        let settings = self.over(configured);
        settings.faults().into_iter().chain(settings.unshareable()).collect()
    }
}

fn put<T>(setting: &mut T, changed: Option<T>) {
    if let Some(changed) = changed {
        *setting = changed;
    }
}

/// The limits of a queue that were changed live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    pub limits: LiveLimits,
    /// What the daemons' configuration says of the queue, to which it goes back. None: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<QueueSettings>,
    /// Of the last change.
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// A queue's limits, as people see them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsInForce {
    pub in_force: QueueLimits,
    /// As the daemons' configuration has them.
    pub configured: QueueLimits,
    /// None: nobody changed them, and the two are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
}

/// What was changed live, and by whom the last time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    pub limits: LiveLimits,
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// What somebody does to a queue's limits, who and why.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'t> {
    /// None: all that was changed is lifted.
    pub limits: Option<&'t LiveLimits>,
    pub at: Timestamp,
    pub by: &'t str,
    pub reason: &'t str,
}

/// Queues whose limits can be changed live at one time: all of them are in what every door and every lease call reads.
const MOST_CHANGED: usize = 1000;

impl Settings {
    /// What is in force once a daemon configures this: the stored live changes stay over it.
    #[must_use]
    pub fn under_live(mut self, stored: &Self) -> Self {
        self.live.clone_from(&stored.live);
        for (queue, live) in &mut self.live {
            live.configured = self.queues.get(queue).cloned();
            let configured = live.configured.clone().unwrap_or_default();
            let mut settings = live.limits.over(&configured);
            if !settings.fair {
                // This configuration took the lines of tenants away.
                settings.tenant_concurrency = configured.tenant_concurrency;
            }
            self.queues.insert(queue.clone(), settings);
        }
        self
    }

    /// What the daemons' configuration says: these without what was changed live.
    #[must_use]
    pub fn as_configured(&self) -> Self {
        let mut configured = Self { live: BTreeMap::new(), ..self.clone() };
        for (queue, live) in &self.live {
            match &live.configured {
                Some(settings) => _ = configured.queues.insert(queue.clone(), settings.clone()),
                None => _ = configured.queues.remove(queue),
            }
        }
        configured
    }

    /// What is in force after `turn` at the limits of `queue`, and what the audit says of it.
    ///
    /// # Errors
    /// When a limit cannot hold, by itself or beside the queue's other settings, or too many queues are changed.
    pub fn turned(&self, queue: &Name, turn: Turn<'_>) -> Result<(Self, String), InvalidEnvelope> {
        let configured = self.as_configured();
        let mut stored = self.clone();
        let earlier = stored.live.remove(queue).map(|live| live.limits).unwrap_or_default();
        if let Some(limits) = turn.limits {
            let changed = limits.clone().after(earlier);
            limits.check(&changed.faults(&configured.queue(queue)))?;
            let (by, reason) = (turn.by.to_owned(), turn.reason.to_owned());
            stored.live.insert(queue.clone(), Live { limits: changed, configured: None, at: turn.at, by, reason });
        }
        if stored.live.len() > MOST_CHANGED.max(self.live.len()) {
            let message =
                format!("the limits of {MOST_CHANGED} queues are changed already; write some into the configuration and unset them");
            return Err(InvalidEnvelope::new("", "too_many", message));
        }
        let after = configured.under_live(&stored);
        let words = words(&QueueLimits::from(&self.queue(queue)), &QueueLimits::from(&after.queue(queue)), turn.reason);
        Ok((after, words))
    }

    /// The queue's limits, as people see them.
    #[must_use]
    pub fn limits(&self, queue: &str) -> LimitsInForce {
        let in_force = QueueLimits::from(&self.queue(queue));
        let Some(live) = self.live.get(queue) else { return LimitsInForce { configured: in_force.clone(), in_force, changed: None } };
        let configured = live.configured.as_ref().map_or_else(|| QueueLimits::from(&QueueSettings::default()), QueueLimits::from);
        let changed = Changed { limits: live.limits.clone(), at: live.at, by: live.by.clone(), reason: live.reason.clone() };
        LimitsInForce { in_force, configured, changed: Some(changed) }
    }
}

/// What the audit says of a change: `concurrency: none -> 5; rate: none -> 10/s:20; because the provider is down`.
fn words(before: &QueueLimits, after: &QueueLimits, reason: &str) -> String {
    let (before, after) = (before.rows(), after.rows());
    let changed = before.into_iter().zip(after).filter(|((_, was), (_, is))| was != is);
    let mut words: Vec<String> = changed.map(|((name, was), (_, is))| format!("{name}: {was} -> {is}")).collect();
    if words.is_empty() {
        words.push("nothing is other than before".into());
    }
    format!("{}; because {reason}", words.join("; "))
}

impl QueueLimits {
    /// Each limit as a person would say it.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, String); 6] {
        let weights: Vec<String> = self.tenant_weights.iter().map(|(tenant, weight)| format!("{tenant}={weight}")).collect();
        [
            ("concurrency", or_none(self.concurrency)),
            ("key_concurrency", self.key_concurrency.to_string()),
            ("rate", or_none(self.rate)),
            ("key_rate", or_none(self.key_rate)),
            ("tenant_concurrency", or_none(self.tenant_concurrency)),
            ("tenant_weights", if weights.is_empty() { "none".into() } else { weights.join(",") }),
        ]
    }
}

fn or_none(limit: Option<impl Display>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}
