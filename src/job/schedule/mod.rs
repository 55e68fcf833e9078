//! Recurring rules: when they are due, what to do with instants that were missed, across every change of the clocks.
//! Pure; `engine/scheduler.rs` asks, the store remembers (contract P8).
//!
//! [`Schedule::check`] turns a rule into a [`Timetable`], which knows its instants; [`plan`] decides what becomes of
//! those that have passed; `Store::fire` records that decision in one step.

mod cron;
mod plan;
mod timetable;

pub use plan::{DueJob, Plan, SkippedRun, plan};
pub use timetable::Timetable;

use super::{Envelope, InvalidEnvelope, JobId, Limits, Name, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Every so many milliseconds, counted from `anchor` (itself the first instant), so that restarts do not move it.
    Every { every_ms: u64, anchor: Timestamp },
    /// A cron expression of five fields, or six with seconds first, read in an IANA time zone.
    Cron { cron: String, tz: String },
}

/// What to do with due instants that passed while no daemon looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Record them as skipped, but for the newest if it is not older than a minute.
    Skip,
    /// One job for the newest, the others recorded as skipped.
    #[default]
    Once,
    /// A job for each of the newest `n` (at most [`Missed::MAX_JOBS`]), the others recorded as skipped.
    All { n: u32 },
}

impl Missed {
    /// All these jobs are enqueued in one step; a thousand is what a step bears without holding others up.
    pub const MAX_JOBS: u32 = 1000;
}

/// A recurring rule and the job it makes. In JSON, one flat object: `{"name", "cron", "tz", "missed", "job"}` or
/// `{"name", "every_ms", "anchor", "missed", "job"}`; `tz` is UTC, `anchor` the epoch and `missed` `once` when left out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Schedule {
    pub name: Name,
    pub rule: Rule,
    pub missed: Missed,
    /// The job of each occurrence; what belongs to one occurrence only (`id`, `run_at`, …) must be left out.
    pub job: Envelope,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Schedule")]
struct Wire {
    name: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tz: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anchor: Option<Timestamp>,
    #[serde(default)]
    missed: Missed,
    job: Envelope,
}

impl TryFrom<Wire> for Schedule {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let rule = match (wire.cron, wire.tz, wire.every_ms, wire.anchor) {
            (Some(cron), tz, None, None) => Rule::Cron { cron, tz: tz.unwrap_or_else(|| "UTC".into()) },
            (None, None, Some(every_ms), anchor) => Rule::Every { every_ms, anchor: anchor.unwrap_or_default() },
            _ => return Err("a schedule has either `cron` (and `tz`) or `every_ms` (and `anchor`); send one of the two"),
        };
        Ok(Self { name: wire.name, rule, missed: wire.missed, job: wire.job })
    }
}

impl From<Schedule> for Wire {
    fn from(schedule: Schedule) -> Self {
        let (cron, tz, every_ms, anchor) = match schedule.rule {
            Rule::Cron { cron, tz } => (Some(cron), Some(tz), None, None),
            Rule::Every { every_ms, anchor } => (None, None, Some(every_ms), Some(anchor)),
        };
        Self { name: schedule.name, cron, tz, every_ms, anchor, missed: schedule.missed, job: schedule.job }
    }
}

impl Schedule {
    /// Checks the rule, the policy and the job's envelope, as every door does before it stores a schedule.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place in the schedule's JSON and a sentence that says what to do.
    pub fn check(&self) -> Result<Timetable, InvalidEnvelope> {
        let timetable = Timetable::new(&self.rule)?;
        if let Missed::All { n } = self.missed
            && !(1..=Missed::MAX_JOBS).contains(&n)
        {
            let message = format!("must be 1 to {} jobs; use `once` for the newest only", Missed::MAX_JOBS);
            return Err(InvalidEnvelope::new("/missed/all/n", "out_of_range", message));
        }
        without_single_use_members(&self.job, "/job")?;
        self.job
            .clone()
            .check(Limits::default())
            .map_err(|error| InvalidEnvelope { pointer: format!("/job{}", error.pointer), ..error })?;
        Ok(timetable)
    }
}

/// Members that name one job or one moment cannot be shared by a thousand occurrences.
fn without_single_use_members(job: &Envelope, at: &str) -> Result<(), InvalidEnvelope> {
    let single_use = [
        ("id", job.id.is_some(), "each occurrence gets an id of its own; leave it out"),
        ("run_at", job.run_at.is_some(), "the schedule says when; leave it out, or use `delay_ms`"),
        ("expires_at", job.expires_at.is_some(), "one instant cannot serve every occurrence; leave it out"),
        ("event_time", job.event_time.is_some(), "it is the occurrence's due instant; leave it out"),
        ("idempotency_key", job.idempotency_key.is_some(), "it would make all occurrences one job; use `unique_key` against overlap"),
    ];
    for (member, set, message) in single_use {
        if set {
            return Err(InvalidEnvelope::new(format!("{at}/{member}"), "conflict", message));
        }
    }
    for (member, follow_up) in [("on_success", &job.on_success), ("on_failure", &job.on_failure)] {
        if let Some(follow_up) = follow_up {
            without_single_use_members(follow_up, &format!("{at}/{member}"))?;
        }
    }
    Ok(())
}

/// A schedule with what the store remembers of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleState {
    pub schedule: Schedule,
    /// Grows with every change of the rule; occurrences belong to one generation.
    pub generation: i64,
    /// Everything up to and including this instant has a job or a recorded skip.
    pub last: Timestamp,
    pub paused: bool,
}

/// What became of a due instant, or of a run of them: how a store tells the history of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Occurrence {
    pub due: Timestamp,
    #[serde(flatten)]
    pub fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Enqueued as `id`.
    Job { id: JobId },
    /// Skipped: all `count` instants of the rule from `due` to `through`, both included, for one reason.
    Skipped { reason: SkipReason, through: Timestamp, count: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// No daemon looked in time, and the schedule's `missed` does not ask for a job.
    Missed,
    /// The schedule was paused.
    Paused,
    /// A live job held the `unique_key` of the schedule's job. Only the store can know, so only the store records it.
    Duplicate,
}

impl SkipReason {
    pub const ALL: [Self; 3] = [Self::Missed, Self::Paused, Self::Duplicate];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Paused => "paused",
            Self::Duplicate => "duplicate",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
