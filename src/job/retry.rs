//! When to try again: a curve, a jitter drawn from a given seed, a clamp. Nothing here sleeps; the store sets `run_at`.

use super::JobId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The wait before attempt n + 1, by the number n of the attempt that failed (from 1). All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "curve", deny_unknown_fields)]
pub enum Curve {
    Fixed {
        delay_ms: u64,
    },
    Linear {
        base_ms: u64,
        cap_ms: u64,
    },
    Exponential {
        base_ms: u64,
        factor: f64,
        cap_ms: u64,
    },
    /// One wait per failed attempt; the last one repeats.
    List {
        delays_ms: Vec<u64>,
    },
}

impl Curve {
    fn delay_ms(&self, attempt: u32) -> u64 {
        let n = attempt.max(1);
        match self {
            Self::Fixed { delay_ms } => *delay_ms,
            Self::Linear { base_ms, cap_ms } => base_ms.saturating_mul(u64::from(n)).min(*cap_ms),
            Self::Exponential { base_ms, factor, cap_ms } => {
                let exponent = i32::try_from(n - 1).unwrap_or(i32::MAX);
                let raw = *base_ms as f64 * factor.powi(exponent);
                // f64 → u64 saturates, so an overflowing power ends at the cap like any large one.
                (raw as u64).min(*cap_ms)
            }
            Self::List { delays_ms } => {
                let index = usize::try_from(n - 1).unwrap_or(usize::MAX).min(delays_ms.len().saturating_sub(1));
                delays_ms.get(index).copied().unwrap_or(0)
            }
        }
    }
}

/// How much of a wait is drawn by lot, so that jobs that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Nothing: the curve's wait to the millisecond.
    None,
    /// Anywhere between nothing and the whole wait: spreads a herd best.
    Full,
    /// Half the wait for certain, the other half by lot: never at once.
    Equal,
}

/// When a failed job of a kind is tried again. What is left out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    pub curve: Curve,
    pub jitter: Jitter,
    /// What a provider's `Retry-After` is cut to, in milliseconds: a day by default, so that one wrong header cannot
    /// hide a job for a year.
    pub retry_after_cap_ms: u64,
}

impl Default for RetryPolicy {
    /// 1 s, 2 s, 4 s … 10 min with equal jitter: the first retry outlives a restart of the far side, the last does not
    /// hammer one that is down for an hour.
    fn default() -> Self {
        Self {
            curve: Curve::Exponential { base_ms: 1000, factor: 2.0, cap_ms: 600_000 },
            jitter: Jitter::Equal,
            retry_after_cap_ms: 86_400_000,
        }
    }
}

impl RetryPolicy {
    /// The wait after failed attempt `attempt` (from 1). `asked` is what the provider asked for and wins over the curve,
    /// clamped. The same `seed` gives the same wait.
    #[must_use]
    pub fn delay(&self, attempt: u32, asked: Option<Duration>, seed: u64) -> Duration {
        if let Some(asked) = asked {
            return asked.min(Duration::from_millis(self.retry_after_cap_ms));
        }
        let whole = self.curve.delay_ms(attempt);
        let ms = match self.jitter {
            Jitter::None => whole,
            Jitter::Full => scaled(whole, seed),
            Jitter::Equal => whole / 2 + scaled(whole - whole / 2, seed),
        };
        Duration::from_millis(ms)
    }
}

/// `whole` × a fraction in [0, 1] drawn from `seed`.
fn scaled(whole: u64, seed: u64) -> u64 {
    let fraction = splitmix64(seed) >> 32;
    let product = u128::from(whole) * u128::from(fraction) / u128::from(u32::MAX);
    u64::try_from(product).unwrap_or(whole)
}

/// The seed for one attempt of one job: two jobs that fail together part ways, one job tried again in a test does not.
#[must_use]
pub fn jitter_seed(job: JobId, attempt: u32) -> u64 {
    let (high, low) = job.0.as_u64_pair();
    splitmix64(high ^ low.rotate_left(17) ^ u64::from(attempt))
}

/// Vigna's splitmix64 finaliser: enough to spread waits, and the same on every machine for ever.
const fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
