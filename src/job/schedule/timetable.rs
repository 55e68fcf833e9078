//! A rule that was found good, and the instants it is due at.

use super::{Rule, cron::CronTimetable};
use crate::job::{InvalidEnvelope, Timestamp};

/// The due instants of one rule, from 1970 on, as an endless ascending row. Made by [`Timetable::new`], which checks.
#[derive(Clone, Debug)]
pub enum Timetable {
    Every { every_us: i64, anchor: Timestamp },
    Cron(Box<CronTimetable>),
}

/// Shorter intervals are the work of a loop, not of a schedule: each occurrence is a durable step.
const EVERY_MS_MIN: u64 = 1000;
/// Ten years, like the longest delay of a job.
const EVERY_MS_MAX: u64 = crate::job::Limits::DELAY_MS;

impl Timetable {
    /// # Errors
    /// A sentence on what is wrong with the rule, under the name of the schedule's member that holds it.
    pub fn new(rule: &Rule) -> Result<Self, InvalidEnvelope> {
        match rule {
            Rule::Every { every_ms, anchor } => {
                if !(EVERY_MS_MIN..=EVERY_MS_MAX).contains(every_ms) {
                    let message = format!("must be {EVERY_MS_MIN} (one second) to {EVERY_MS_MAX} (ten years)");
                    return Err(InvalidEnvelope::new("/every_ms", "out_of_range", message));
                }
                Ok(Self::Every { every_us: i64::try_from(*every_ms).unwrap_or(i64::MAX).saturating_mul(1000), anchor: *anchor })
            }
            Rule::Cron { cron, tz } => CronTimetable::new(cron, tz).map(|timetable| Self::Cron(Box::new(timetable))),
        }
    }

    /// The first due instant after `instant`; none when the calendar ends first (year 5000).
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { every_us, anchor } => {
                let passed = instant.0.saturating_sub(anchor.0);
                let steps = if passed < 0 { 0 } else { passed / every_us + 1 };
                let next = anchor.0.checked_add(every_us.checked_mul(steps)?)?;
                (next <= Timestamp::MAX.0).then_some(Timestamp(next))
            }
            Self::Cron(cron) => cron.next_after(instant),
        }
    }

    /// The due instants after `after`, up to and including `through`, oldest first.
    pub fn due(&self, after: Timestamp, through: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after), |instant| self.next_after(*instant)).take_while(move |instant| *instant <= through)
    }

    /// The next `count` due instants after `from`, for people to look at before they trust a rule.
    #[must_use]
    pub fn preview(&self, from: Timestamp, count: usize) -> Vec<Timestamp> {
        self.due(from, Timestamp::MAX).take(count).collect()
    }
}
