//! Schedules: their rules against a brute-force oracle, their plans against every kind of outage, their durability.

mod brute_force;
mod lives;
mod oracle;
mod plans;
mod rules;

use serde_json::{Value, json};
use windlass::job::schedule::{Missed, Schedule};

/// A schedule of `rule` (its members) that makes a small report job.
fn schedule(name: &str, rule: &Value, missed: Missed) -> Schedule {
    let mut whole = json!({"name": name, "missed": missed, "job": {"kind": "report", "payload": {"of": name}}});
    whole.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    serde_json::from_str(&whole.to_string()).unwrap()
}
