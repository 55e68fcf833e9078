//! How the built-in kinds behave unless the configuration says otherwise: queue, attempts, time and retry curve of each.

use super::{extract, http, noop, reminder, serp, webhook};
use crate::job::{Curve, Jitter, KindSettings, Name, RetryPolicy};
use std::collections::BTreeMap;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The settings of every built-in kind.
#[must_use]
pub fn default_kinds() -> BTreeMap<Name, KindSettings> {
    let kinds = [
        // A retry after a lost answer is billed twice, so there are few. Time for three answers of 120 s (a cut one, the
        // whole one, a repair).
        (extract::KIND, kind("ai", 3, 400 * SECOND, exponential(2 * SECOND, 2 * MINUTE))),
        // The client waits 130 s for a live call.
        (serp::KIND, kind("serp", 5, 150 * SECOND, exponential(5 * SECOND, 10 * MINUTE))),
        // Half a minute to an hour: greylisting servers want minutes, a reminder is still one after two hours.
        (reminder::KIND, kind("reminders", 8, MINUTE, exponential(30 * SECOND, HOUR))),
        // The schedule that receivers of Standard Webhooks know from Svix: eight attempts over 28 hours.
        (webhook::KIND, kind("webhooks", 8, MINUTE, webhook_schedule())),
        (http::KIND, kind("http", 5, 5 * MINUTE + 10 * SECOND, exponential(SECOND, 10 * MINUTE))),
        (noop::KIND, kind("bench", 5, MINUTE, exponential(SECOND, MINUTE))),
    ];
    kinds.into_iter().map(|(name, settings)| (Name::literal(name), settings)).collect()
}

fn kind(queue: &'static str, max_attempts: u32, timeout_ms: u64, curve: Curve) -> KindSettings {
    let retry = RetryPolicy { curve, jitter: Jitter::Equal, ..RetryPolicy::default() };
    KindSettings { queue: Name::literal(queue), max_attempts, timeout_ms, retry, ..KindSettings::default() }
}

const fn exponential(base_ms: u64, cap_ms: u64) -> Curve {
    Curve::Exponential { base_ms, factor: 2.0, cap_ms }
}

fn webhook_schedule() -> Curve {
    Curve::List { delays_ms: vec![5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR] }
}
