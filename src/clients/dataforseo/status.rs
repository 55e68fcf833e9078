//! The provider's own status codes, one line each (reference: providers 2.5). HTTP says 200 to nearly everything, so these
//! decide, in the envelope and again in each task.

use crate::{
    clients::{ProviderError, excerpt},
    job::{ErrorClass, Timestamp},
};
use std::time::Duration;

pub(super) const OK: u32 = 20000;
/// Not an error: there is nothing to be found.
pub(super) const NO_RESULTS: u32 = 40102;

#[derive(Clone, Copy, Debug)]
enum Wait {
    /// The kind's own curve.
    Curve,
    Seconds(u64),
    /// Until the provider's day ends, in UTC.
    Tomorrow,
}

#[derive(Clone, Copy, Debug)]
struct Meaning {
    class: ErrorClass,
    wait: Wait,
    throttled: bool,
}

const fn retry(wait: Wait) -> Meaning {
    Meaning { class: ErrorClass::Retry, wait, throttled: false }
}

const fn slow_down(seconds: u64) -> Meaning {
    Meaning { class: ErrorClass::Retry, wait: Wait::Seconds(seconds), throttled: true }
}

const fn stop(class: ErrorClass) -> Meaning {
    Meaning { class, wait: Wait::Curve, throttled: false }
}

const fn meaning(code: u32) -> Meaning {
    match code {
        // 40100 not authorised, 40104 not verified, 40201 blocked, 40204 no access, 40207 address not allowed.
        40100 | 40104 | 40201 | 40204 | 40207 => stop(ErrorClass::Auth),
        // 40200 payment required, 40210 insufficient funds.
        40200 | 40210 => stop(ErrorClass::Quota),
        // Our own daily cost limit.
        40203 => Meaning { class: ErrorClass::Quota, wait: Wait::Tomorrow, throttled: false },
        // 40101 internal error at the search engine, 40103 failed, set it again; 40601, 40602 not finished yet.
        40101 | 40103 | 40601 | 40602 => retry(Wait::Curve),
        // Results older than 30 days are gone, the task too: a live call simply asks anew.
        40401 | 40403 => retry(Wait::Curve),
        // Per-minute rate: the window is a minute.
        40202 => slow_down(60),
        // Duplicate-task limits, per hour and per day.
        40205 => slow_down(3600),
        40206 => Meaning { class: ErrorClass::Retry, wait: Wait::Tomorrow, throttled: true },
        // More than 30 at once.
        40209 => slow_down(3),
        // Update in progress, some minutes.
        50303 => retry(Wait::Seconds(180)),
        // Function switched off for now.
        50304 => retry(Wait::Seconds(1800)),
        // Not implemented.
        50100 => stop(ErrorClass::Permanent),
        // 50000, 50001 internal, 50301 third party, 50401, 50402 too slow, and what may come.
        50000..60000 => retry(Wait::Curve),
        // Our request: 40000, 4000x, 404xx, 405xx, and what may come.
        _ => stop(ErrorClass::Permanent),
    }
}

pub(super) fn error(code: u32, message: &str, now: Timestamp) -> ProviderError {
    let meaning = meaning(code);
    let retry_after = match meaning.wait {
        Wait::Curve => None,
        Wait::Seconds(seconds) => Some(Duration::from_secs(seconds)),
        Wait::Tomorrow => Some(until_tomorrow(now)),
    };
    let message = format!("the provider answered {code}: {}", excerpt(message, 400));
    let error = ProviderError::new(meaning.class, format!("dataforseo_{code}"), message).after(retry_after);
    if meaning.throttled { error.throttled() } else { error }
}

/// What a bare HTTP status stands for, when no envelope says it better.
pub(super) fn of_http(status: http::StatusCode) -> u32 {
    match status.as_u16() {
        401 | 403 => 40100,
        402 => 40200,
        404 => 40402,
        429 => 40202,
        408 | 500.. => 50000,
        _ => 40000,
    }
}

fn until_tomorrow(now: Timestamp) -> Duration {
    const DAY_US: i64 = 86_400_000_000;
    Duration::from_micros(u64::try_from(DAY_US - now.0.rem_euclid(DAY_US)).unwrap_or_default())
}
