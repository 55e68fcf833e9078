//! Schedules: their rules against a brute-force oracle, their plans against every kind of outage, their durability.

mod brute_force;
mod durable;
mod lives;
mod oracle;
mod plans;
mod rules;
mod scheduler;

use serde_json::{Value, json};
use std::{path::Path, sync::Arc};
use windlass::{
    clock::Clock,
    job::schedule::{Missed, Schedule},
    store::{
        Durability, Role,
        sqlite::{Config, SqliteStore},
    },
};

/// A schedule of `rule` (its members) that makes a small report job.
fn schedule(name: &str, rule: &Value, missed: Missed) -> Schedule {
    let mut whole = json!({"name": name, "missed": missed, "job": {"kind": "report", "payload": {"of": name}}});
    whole.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    serde_json::from_str(&whole.to_string()).unwrap()
}

/// The store of a daemon on `file`. Relaxed, because these tests kill no machine and commit some thousand times.
fn opened(file: &Path) -> Arc<SqliteStore> {
    let config = Config { durability: Durability::Relaxed, ..Config::default() };
    Arc::new(SqliteStore::open(file, Role::Daemon { control: None }, config, Clock::System).unwrap())
}
