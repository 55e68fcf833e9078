//! Changing a job that waits, or a dead letter before it goes back.

use super::{Envelope, InvalidEnvelope, Job, JobId, Json, Limits, NewJob, State, Timestamp, objects_only, patch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is to be different; the rest stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    pub payload: Option<Json>,
    /// It goes to the end of the line of its new priority.
    pub priority: Option<u8>,
    /// When it is due; of a job that is queued or scheduled.
    pub run_at: Option<Timestamp>,
    pub max_attempts: Option<u32>,
    pub timeout_ms: Option<u64>,
    /// The payload that the change was made for: nothing happens when it is another by now.
    pub was: Option<Json>,
}

impl Edit {
    /// Whether it changes where a job stands.
    #[must_use]
    pub const fn moves(&self) -> bool {
        self.priority.is_some() || self.run_at.is_some()
    }

    /// For the audit: what changes, and to what. Payloads are nobody's to read there.
    #[must_use]
    pub fn words(&self) -> String {
        let parts = [
            self.payload.as_ref().map(|payload| format!("payload ({} bytes)", payload.as_str().len())),
            self.priority.map(|priority| format!("priority {priority}")),
            self.run_at.map(|run_at| format!("run_at {run_at}")),
            self.max_attempts.map(|attempts| format!("max_attempts {attempts}")),
            self.timeout_ms.map(|ms| format!("timeout_ms {ms}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether a job in this state can be changed like this. `is_alone`: it is to run alone.
    ///
    /// # Errors
    /// One sentence that says why not.
    pub fn fits(&self, id: JobId, state: State, is_ordered: bool, is_alone: bool) -> Result<(), String> {
        let refusal = match state {
            State::Running | State::Completed | State::Cancelled => ONLY,
            State::Dead | State::Parked if self.run_at.is_some() => WITHOUT_TIME,
            State::Queued if self.moves() && is_ordered => KEEPS_ITS_TURN,
            State::Queued if self.moves() && is_alone => KEEPS_ITS_PLACE,
            _ => return Ok(()),
        };
        Err(format!("job {id} is {state}; {refusal}"))
    }

    /// The change was made for another payload.
    #[must_use]
    pub fn outdated(id: JobId) -> String {
        format!("the payload of job {id} is another by now; read it again")
    }
}

const ONLY: &str = "only a job that waits, or a dead letter, can be edited";
const WITHOUT_TIME: &str = "it has no time to be due at; leave run_at out";
const KEEPS_ITS_TURN: &str = "an ordered job keeps its turn, so neither its priority nor its time can be changed";
const KEEPS_ITS_PLACE: &str = "it runs alone next, so neither its priority nor its time can be changed";

/// A step of a JSON Patch, for those who read its schema; what it means is `json_patch`'s affair.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase", tag = "op")]
#[expect(dead_code, reason = "only its schema is used")]
enum PatchStep {
    Add { path: String, value: Json },
    Remove { path: String },
    Replace { path: String, value: Json },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Json },
}

/// A change as people ask for it: of one job, or of many that have the same fault.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Change {
    /// In place of the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
    /// What to change in the payload: a JSON Patch (RFC 6902).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<PatchStep>>")]
    pub patch: Option<json_patch::Patch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 9))]
    pub priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub timeout_ms: Option<u64>,
}

objects_only!(Change);

impl Change {
    /// What it comes to for this job.
    ///
    /// # Errors
    /// When it changes nothing, does not fit the payload, or makes what no door would take.
    pub fn on(&self, job: &Job, limits: Limits) -> Result<Edit, InvalidEnvelope> {
        let payload = match (&self.payload, &self.patch) {
            (Some(_), Some(_)) => return Err(InvalidEnvelope::new("/patch", "conflict", "send a payload or a patch of it, not both")),
            (Some(payload), None) => Some(payload.clone()),
            (None, Some(patch)) => Some(patch::patched(&job.payload, patch, limits)?),
            (None, None) => None,
        };
        let mut envelope = Envelope::new(job.kind.clone(), payload.clone().unwrap_or_else(|| Json::trusted("null")));
        (envelope.priority, envelope.max_attempts, envelope.timeout_ms) = (self.priority, self.max_attempts, self.timeout_ms);
        NewJob::check(Json::of(&envelope).as_str().as_bytes(), limits)?;
        let was = self.patch.as_ref().map(|_| job.payload.clone());
        let Self { priority, run_at, max_attempts, timeout_ms, .. } = *self;
        let edit = Edit { payload, priority, run_at, max_attempts, timeout_ms, was };
        if edit == Edit::default() {
            let message = "nothing to change; send payload, patch, priority, run_at, max_attempts or timeout_ms";
            return Err(InvalidEnvelope::new("", "empty", message));
        }
        Ok(edit)
    }
}
