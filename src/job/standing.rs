//! What a store knows of what holds one job: facts alone. What follows from them is `explain.rs`' affair.
//!
//! Nothing here takes a scan: what could be many is counted up to [`Standing::MOST`] and one more.

use super::{Job, JobId, Pause, State, Timestamp};
use serde::{Deserialize, Deserializer};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// By the store's clock.
    #[serde(deserialize_with = "at")]
    pub now: Timestamp,
    pub place: Place,
    pub pause: Option<Pause>,
    pub queue: QueueUse,
    /// The job's tenant has as many jobs running as it may, and this is how many that is.
    pub tenant_full: Option<u64>,
    /// Of a job with a concurrency key.
    pub key: Option<KeyUse>,
    /// Of a job that runs.
    pub lease: Option<LeaseUse>,
    /// Of a parked job: an outside answer wakes it.
    pub awaits_answer: bool,
    /// The parents that it waits for.
    pub parents: Vec<Parent>,
    /// Another job has the unique key that a dead one would need.
    pub unique_holder: Option<JobId>,
    /// Of a job that stands in a line.
    pub before: Before,
}

/// Where a live job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In no line: it is scheduled, parked or final.
    #[default]
    Nowhere,
    Line,
    /// Behind the gate of its key.
    Gate,
    /// Among those that run alone, since a process died under them.
    Alone,
    Lease,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueUse {
    pub running: u64,
    /// As many may run over all daemons.
    pub slots: Option<u64>,
    /// The queue's rate admits no start before.
    #[serde(deserialize_with = "maybe_at")]
    pub rate_opens_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct KeyUse {
    pub slots: u64,
    pub running: u64,
    /// The first of those that run, at most [`Standing::SHOWN`].
    pub holders: Vec<JobId>,
    /// The ordered job whose turn it is.
    pub head: Option<JobId>,
    /// The key's rate admits no start before.
    #[serde(deserialize_with = "maybe_at")]
    pub rate_opens_at: Option<Timestamp>,
    /// Jobs that stand behind the gate and before this one.
    pub before: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LeaseUse {
    /// Unless its holder speaks again.
    #[serde(deserialize_with = "at")]
    pub until: Timestamp,
    /// Somebody asked to cancel it, and why.
    pub cancel: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Parent {
    pub id: JobId,
    /// None: there is no such job of this tenant.
    pub state: Option<State>,
}

/// Who is served first, of those that stand in lines.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Before {
    /// In its own line.
    pub line: u64,
    /// In lines of more urgent priorities.
    pub urgent: u64,
    /// Its own line's share.
    pub own: Share,
    /// Lines of others of its priority, by virtual time.
    pub others: Vec<Share>,
    /// There are more lines than were looked at.
    pub is_cut: bool,
}

/// What decides how often a line is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Share {
    pub waiting: u64,
    /// The line of the lowest is served next; each grant adds `step`.
    #[serde(deserialize_with = "number")]
    pub vtime: i64,
    #[serde(deserialize_with = "number")]
    pub step: i64,
}

impl Standing {
    /// Whether it is of the job as it was read; one that moves may be elsewhere by then.
    #[must_use]
    pub fn is_of(&self, job: &Job) -> bool {
        match job.state {
            State::Running => self.place == Place::Lease,
            State::Queued => matches!(self.place, Place::Line | Place::Gate | Place::Alone),
            _ => self.place == Place::Nowhere,
        }
    }

    /// Jobs that are counted; one more says that there are more.
    pub const MOST: usize = 1000;
    /// Jobs that are named.
    pub const SHOWN: usize = 20;
    /// Lines that are looked at.
    pub const LINES: usize = 250;
}

impl Before {
    /// How many of other tenants' jobs are served before a job that has `line` before it in its own line.
    pub(super) fn of_others(&self) -> u64 {
        let turn = self.own.vtime.saturating_add(self.own.step.saturating_mul(i64::try_from(self.line).unwrap_or(i64::MAX)));
        let before = |share: &Share| {
            let grants = if share.vtime < turn { (turn - share.vtime - 1) / share.step.max(1) + 1 } else { 0 };
            share.waiting.min(u64::try_from(grants).unwrap_or(0))
        };
        self.others.iter().map(before).sum()
    }
}

/// Some stores can say large numbers only as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(i64),
    Text(String),
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Number::deserialize(deserializer)? {
        Number::Whole(number) => Ok(number),
        Number::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

fn at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    number(deserializer).map(Timestamp)
}

fn maybe_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    #[derive(Deserialize)]
    struct At(#[serde(deserialize_with = "at")] Timestamp);
    Option::<At>::deserialize(deserializer).map(|at| at.map(|At(at)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(waiting: u64, vtime: i64, step: i64) -> Share {
        Share { waiting, vtime, step }
    }

    #[test]
    fn lines_of_lower_virtual_time_are_served_first_and_as_long_as_they_have_jobs() {
        let before = Before {
            line: 3,
            own: share(10, 100, 10),
            others: vec![share(50, 95, 10), share(2, 0, 10), share(50, 130, 10), share(50, 100, 30)],
            ..Before::default()
        };
        // Its turn comes at 130: the first had 95, 105, 115 and 125; the second has only two; the third joins after; the last 100.
        assert_eq!(before.of_others(), 4 + 2 + 1);
    }

    #[test]
    fn large_numbers_may_be_text() {
        let text = r#"{"now":"1764000000123456","place":"gate","key":{"slots":1,"rate_opens_at":"7"},"queue":{"rate_opens_at":8}}"#;
        let standing: Standing = serde_json::from_str(text).expect("it is one");
        assert_eq!(standing.now, Timestamp(1_764_000_000_123_456));
        assert_eq!(standing.key.expect("it has a key").rate_opens_at, Some(Timestamp(7)));
        assert_eq!(standing.queue.rate_opens_at, Some(Timestamp(8)));
    }
}
