//! One run as every worker begins and ends it: reading the payload, and turning a provider's refusal into a verdict.

use crate::{
    clients::ProviderError,
    engine::worker::{Context, Outcome, Verdict},
    job::{ErrorClass, LeasedJob, Timestamp, jitter_seed},
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

pub(super) struct Run<'a> {
    pub job: &'a LeasedJob,
    pub context: &'a Context,
    began: Instant,
}

/// A run that ends before its work is done; boxed, because most runs do not.
pub(super) type Early = Box<Outcome>;

/// The checkpoint of a job that was told to slow down: how often in a row.
#[derive(Default, Deserialize, Serialize)]
struct Throttled {
    throttled: u32,
}

impl Throttled {
    /// After so many the attempt is charged after all: at up to ten minutes each that is most of a working day, and a far
    /// side that says 429 to everything for that long is not busy but closed.
    const FREE: u32 = 50;
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(600);
    /// As retries are clamped: one wrong header cannot hide a job for a year.
    const LONGEST_ASKED: Duration = Duration::from_secs(86_400);

    /// What was asked for, else doubling from a second; with up to a fifth on top, so that jobs turned away together do
    /// not come back together.
    fn wait(&self, asked: Option<Duration>, seed: u64) -> Duration {
        let doubled = Self::FIRST.saturating_mul(1_u32.checked_shl(self.throttled).unwrap_or(u32::MAX)).min(Self::LONGEST);
        let wait = asked.map_or(doubled, |asked| asked.min(Self::LONGEST_ASKED));
        wait + wait.mul_f64(0.2 * (seed % 1000) as f64 / 1000.0)
    }
}

impl<'a> Run<'a> {
    pub fn begin(job: &'a LeasedJob, context: &'a Context) -> Self {
        Self { job, context, began: Instant::now() }
    }

    /// The store's time now: the attempt's start plus what has passed here since.
    pub fn now(&self) -> Timestamp {
        self.context.now.plus(self.began.elapsed())
    }

    /// As [`payload`].
    pub fn payload<T: Deserialize<'a>>(&self) -> Result<T, Early> {
        payload(self.job)
    }

    /// What becomes of the job after `error` (reference: providers, rule 3).
    pub fn failed(&self, error: ProviderError) -> Early {
        Box::new(match error.class {
            ErrorClass::Permanent => Outcome::new(Verdict::Reject { error: error.into() }),
            ErrorClass::Auth => park("provider_auth", error),
            // A quota that comes back by itself at a known time is only a wait; any other needs a person.
            ErrorClass::Quota => match error.retry_after {
                Some(wait) => Outcome::new(Verdict::Snooze { until: self.now().plus(wait.min(Throttled::LONGEST_ASKED)) }),
                None => park("provider_quota", error),
            },
            _ if error.throttled => self.throttled(error),
            _ => Outcome::new(Verdict::Retry { after: error.retry_after, error: error.into() }),
        })
    }

    /// Being told to slow down costs no attempt (contract 1), as long as it ends some day.
    fn throttled(&self, error: ProviderError) -> Outcome {
        let before: Throttled = self.job.checkpoint.as_ref().and_then(|json| json.read().ok()).unwrap_or_default();
        let wait = before.wait(error.retry_after, jitter_seed(self.job.id, before.throttled));
        let verdict = if before.throttled < Throttled::FREE {
            Verdict::Snooze { until: self.now().plus(wait) }
        } else {
            Verdict::Retry { after: Some(wait), error: error.into() }
        };
        Outcome::new(verdict).with_checkpoint(&Throttled { throttled: before.throttled.saturating_add(1) })
    }
}

/// The payload as `T`, or the job's end with a sentence that names what does not fit.
pub(super) fn payload<'a, T: Deserialize<'a>>(job: &'a LeasedJob) -> Result<T, Early> {
    // serde would take an array for a struct, member by member.
    if !job.payload.as_str().trim_start().starts_with('{') {
        return Err(bad_payload(&format!("the payload of `{}` must be a JSON object", job.kind)));
    }
    job.payload.read().map_err(|error| {
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or(&said);
        bad_payload(&format!("the payload of `{}` does not fit: {said}", job.kind))
    })
}

fn park(reason: &str, error: ProviderError) -> Outcome {
    Outcome::new(Verdict::Park { reason: reason.to_owned(), until: None, token: None, error: Some(error.into()) })
}

pub(super) fn bad_payload(message: &str) -> Early {
    Box::new(Outcome::reject("bad_payload", message))
}
