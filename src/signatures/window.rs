//! The time a signature is good for: the sender's second must be near ours, before or after.

use super::Rejection;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// Twelve digits reach the year 33658; more is no clock.
const MAX_DIGITS: usize = 12;

#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub now: DateTime<Utc>,
    pub tolerance: Duration,
}

impl Window {
    /// Age 300 passes and 301 fails with the usual tolerance, in whole seconds, as the official libraries count; the future
    /// is bounded alike, which some libraries leave open.
    pub fn check(self, timestamp: &str) -> Result<(), Rejection> {
        let sent_at = seconds(timestamp).ok_or(Rejection::BadTimestamp)?;
        let now = self.now.timestamp();
        let tolerance = i64::try_from(self.tolerance.as_secs()).unwrap_or(i64::MAX);
        if now.saturating_sub(sent_at) > tolerance {
            Err(Rejection::TooOld)
        } else if sent_at.saturating_sub(now) > tolerance {
            Err(Rejection::TooNew)
        } else {
            Ok(())
        }
    }
}

/// Decimal digits only: `+1`, ` 1`, `1e9` and `0x1` are numbers to some parser somewhere, and never to a signer.
fn seconds(text: &str) -> Option<i64> {
    let digits = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
