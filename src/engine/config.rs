//! How the engine runs; handed to it by the daemon.

use crate::{job::Name, store::Retention};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Worker slots of this daemon per queue. Queues that are not named are not worked on here.
    pub slots: BTreeMap<Name, usize>,
    /// How long a lease lasts without a heartbeat.
    pub lease_ms: u64,
    /// Between heartbeats; at most a third of the lease, so that two may be lost.
    pub beat_ms: u64,
    /// How long a drain lets running jobs finish.
    pub grace_ms: u64,
    /// The longest an idle poller goes without looking, jittered: wake-ups are hints, polling is the truth.
    pub poll_ms: u64,
    /// Jobs one lease call asks for at most.
    pub lease_batch: usize,
    /// Settlements one commit takes at most.
    pub settle_batch: usize,
    /// Bytes of payload one lease call takes at most (at least one job).
    pub lease_bytes: usize,
    /// Bytes of payload in flight at most.
    pub flight_bytes: usize,
    /// Which loop hands jobs to their workers.
    pub runner: Runner,
    pub retention: Retention,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runner {
    /// apalis 1.0 workers over our own backend.
    #[default]
    Apalis,
    /// Our own twenty lines over the same pumps.
    Bare,
}

impl Default for Config {
    fn default() -> Self {
        let slots = [("default", 16), ("ai", 8), ("serp", 8), ("reminders", 8), ("webhooks", 16), ("http", 32)];
        Self {
            slots: slots.into_iter().map(|(queue, n)| (Name::literal(queue), n)).collect(),
            lease_ms: 15_000,
            beat_ms: 5000,
            grace_ms: 30_000,
            poll_ms: 1000,
            lease_batch: 1000,
            settle_batch: 1000,
            lease_bytes: 8 << 20,
            flight_bytes: 64 << 20,
            runner: Runner::default(),
            retention: Retention::default(),
        }
    }
}

impl Config {
    /// # Errors
    /// A sentence that names the setting and what it must be.
    pub fn check(&self) -> Result<(), String> {
        if self.beat_ms == 0 || self.beat_ms.saturating_mul(3) > self.lease_ms {
            return Err(format!("engine.beat_ms ({}) must be at most a third of engine.lease_ms ({})", self.beat_ms, self.lease_ms));
        }
        if self.poll_ms == 0 || self.lease_batch == 0 || self.settle_batch == 0 {
            return Err("engine.poll_ms, engine.lease_batch and engine.settle_batch must be at least 1".into());
        }
        Ok(())
    }

    pub(super) const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(super) const fn beat(&self) -> Duration {
        Duration::from_millis(self.beat_ms)
    }

    pub(super) const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}
