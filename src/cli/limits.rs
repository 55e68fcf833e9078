//! Limits of a queue on the command line: what can be changed, and how they are shown.

use super::exit::Exit;
use crate::job::{LimitsInForce, LiveLimits, Name, QueueLimits, QueueSettings, Rate};
use std::{collections::BTreeMap, fmt::Display, str::FromStr};

/// What `queues set` changes; what is left out stays.
#[derive(Debug, clap::Args)]
pub struct Change {
    /// Most jobs that run at once, over all daemons; `none`: only the daemons' slots count
    #[arg(long, value_name = "N|none")]
    concurrency: Option<OrNone<u32>>,
    /// Most jobs of one concurrency key that run at once
    #[arg(long, value_name = "N")]
    key_concurrency: Option<u32>,
    /// Starts and how many at once after a pause, such as 10/s:20, 30/m or 100/h; `none`: no rate
    #[arg(long, value_name = "RATE|none")]
    rate: Option<OrNone<Rate>>,
    /// The same for each concurrency key
    #[arg(long, value_name = "RATE|none")]
    key_rate: Option<OrNone<Rate>>,
    /// Most jobs of one tenant that run at once
    #[arg(long, value_name = "N|none")]
    tenant_concurrency: Option<OrNone<u32>>,
    /// Shares of tenants against 1 of the others, in place of all there are, such as org_42=3,org_7=2
    #[arg(long, value_name = "TENANT=N,…|none")]
    tenant_weights: Option<OrNone<Weights>>,
}

impl Change {
    /// # Errors
    /// When nothing was named.
    pub fn limits(self) -> anyhow::Result<LiveLimits> {
        let limits = LiveLimits {
            concurrency: self.concurrency.map(|limit| limit.0),
            key_concurrency: self.key_concurrency,
            rate: self.rate.map(|rate| rate.0),
            key_rate: self.key_rate.map(|rate| rate.0),
            tenant_concurrency: self.tenant_concurrency.map(|limit| limit.0),
            tenant_weights: self.tenant_weights.map(|weights| weights.0.unwrap_or_default().0),
        };
        if limits.is_empty() {
            return Err(Exit::Usage.because("name a limit to change, such as --concurrency 5; see `windlass queues set --help`"));
        }
        Ok(limits)
    }
}

/// `none` is no limit.
#[derive(Clone, Debug)]
struct OrNone<T>(Option<T>);

impl<T: FromStr<Err: Display>> FromStr for OrNone<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|limit| Self(Some(limit))).map_err(|error: T::Err| format!("{error}; or `none`"))
    }
}

#[derive(Clone, Debug, Default)]
struct Weights(BTreeMap<Name, u32>);

impl FromStr for Weights {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let weight = |pair: &str| {
            let (tenant, weight) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is no TENANT=N"))?;
            let tenant = Name::new(tenant).map_err(|error| error.to_string())?;
            Ok((tenant, weight.parse().map_err(|_| format!("`{weight}` is no whole number"))?))
        };
        text.split(',').map(weight).collect::<Result<_, String>>().map(Self)
    }
}

/// One line: what holds a queue back, a star behind what was changed live, and by whom.
#[must_use]
pub fn line(limits: &LimitsInForce) -> String {
    let changed = limits.changed.as_ref();
    let usual = QueueLimits::from(&QueueSettings::default()).rows();
    let mut words = Vec::new();
    for ((name, value), (_, usual)) in limits.in_force.rows().into_iter().zip(usual) {
        match changed.is_some_and(|changed| changed.limits.says(name)) {
            true => words.push(format!("{name} {value}*")),
            false if value != usual => words.push(format!("{name} {value}")),
            false => {}
        }
    }
    let by = changed.map(|changed| format!(" (* by {}: {})", changed.by, changed.reason)).unwrap_or_default();
    format!("{}{by}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_none_are_read_and_nonsense_is_named() {
        let weights: OrNone<Weights> = "a=3,b=2".parse().expect("weights");
        assert_eq!(weights.0.expect("some").0.values().copied().collect::<Vec<_>>(), [3, 2]);
        assert!("none".parse::<OrNone<u32>>().expect("none").0.is_none());
        for text in ["a", "a=x", "a b=1", "a=1,"] {
            assert!(text.parse::<OrNone<Weights>>().is_err(), "{text}");
        }
    }
}
