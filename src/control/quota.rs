//! How often one caller may call: so many times a second on average, a second's worth at once (GCRA). What is known of a caller is one instant,
//! and nothing once that has passed.

use super::Problem;
use crate::job::Timestamp;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

/// Callers that are known at once: more than connect at once. Strangers beyond are not counted.
const MOST_CALLERS: usize = 65_536;
const SECOND_US: i64 = 1_000_000;

pub(super) struct Quota<K> {
    /// Until when each has spent what it was given.
    spent: Mutex<HashMap<K, i64>>,
}

impl<K> Default for Quota<K> {
    fn default() -> Self {
        Self { spent: Mutex::default() }
    }
}

/// Where a caller stands after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    per_second: u32,
    /// Calls that it may make at once.
    left: u32,
    /// Microseconds until it may make as many as ever.
    full_in_us: i64,
    now: Timestamp,
    pub is_over: bool,
}

impl<K: Eq + Hash> Quota<K> {
    /// Counts a call; one that is refused costs nothing. None: no bound is set.
    pub fn spend(&self, caller: K, per_second: u32, now: Timestamp) -> Option<Standing> {
        let interval = SECOND_US / i64::from((per_second > 0).then_some(per_second)?);
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= MOST_CALLERS && !spent.contains_key(&caller) {
            spent.retain(|_, until| *until > now.0);
            if spent.len() >= MOST_CALLERS {
                return None;
            }
        }
        let until = spent.entry(caller).or_insert(now.0);
        let after = (*until).max(now.0) + interval;
        let is_over = after - now.0 > SECOND_US;
        if !is_over {
            *until = after;
        }
        let full_in_us = (*until - now.0).max(0);
        let left = u32::try_from((SECOND_US - full_in_us) / interval).unwrap_or(0);
        Some(Standing { per_second, left, full_in_us, now, is_over })
    }
}

impl Standing {
    /// Whole seconds, and at least one, after which a refused call may be made.
    fn retry_after_secs(self) -> u32 {
        u32::try_from((self.full_in_us + SECOND_US - 1) / SECOND_US).unwrap_or(u32::MAX).max(1)
    }

    pub fn refusal(self, policy: &'static str) -> Problem {
        let sentence = format!("more than {} calls a second; make fewer, and several jobs in one call", self.per_second);
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_calls", sentence).over_quota(policy, self.retry_after_secs())
    }

    /// As the draft has it (draft-ietf-httpapi-ratelimit-headers), and as older clients look for it: there the reset is a Unix time in seconds.
    pub fn tell(self, policy: &str, headers: &mut HeaderMap) {
        let (quota, left, secs) = (self.per_second, self.left, self.retry_after_secs());
        let reset = self.now.millis() / 1000 + i64::from(secs);
        for (name, value) in [
            ("ratelimit-policy", format!("\"{policy}\";q={quota};w=1")),
            ("ratelimit", format!("\"{policy}\";r={left};t={secs}")),
            ("x-rate-limit-limit", quota.to_string()),
            ("x-rate-limit-remaining", left.to_string()),
            ("x-rate-limit-reset", reset.to_string()),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn second_s_worth_may_come_at_once_and_then_one_an_interval() {
        let quota = Quota::default();
        let spend = |ms| quota.spend("a", 10, at(ms)).expect("a bound");
        let lefts: Vec<u32> = (0..10).map(|_| spend(0)).map(|standing| standing.left).collect();
        assert_eq!(lefts, (0..10).rev().collect::<Vec<_>>());
        assert!(spend(0).is_over && spend(99).is_over, "a refused call costs nothing");
        assert!(!spend(100).is_over && spend(100).is_over);
        assert_eq!(spend(5000).left, 9, "time gives back no more than a second's worth");
    }

    #[test]
    fn callers_do_not_spend_each_others() {
        let quota = Quota::default();
        for caller in ["a", "b"] {
            assert!(!quota.spend(caller, 1, at(0)).expect("a bound").is_over);
            assert!(quota.spend(caller, 1, at(0)).expect("a bound").is_over);
        }
        assert_eq!(quota.spend("a", 0, at(0)), None, "no bound");
    }

    #[test]
    fn more_callers_than_are_known_are_let_through_until_others_are_forgotten() {
        let quota = Quota::default();
        for caller in 0..MOST_CALLERS {
            quota.spend(caller, 1, at(0));
        }
        assert_eq!(quota.spend(MOST_CALLERS, 1, at(0)), None);
        assert!(quota.spend(MOST_CALLERS, 1, at(1001)).is_some());
    }

    #[test]
    fn headers_say_what_is_left() {
        let (quota, mut headers) = (Quota::default(), HeaderMap::new());
        quota.spend("a", 10, at(7_000)).expect("a bound").tell("token", &mut headers);
        let told = |name: &str| headers[name].to_str().expect("text").to_owned();
        assert_eq!(told("ratelimit-policy"), "\"token\";q=10;w=1");
        assert_eq!(told("ratelimit"), "\"token\";r=9;t=1");
        assert_eq!(
            (told("x-rate-limit-limit"), told("x-rate-limit-remaining"), told("x-rate-limit-reset")),
            ("10".into(), "9".into(), "8".into())
        );
    }
}
