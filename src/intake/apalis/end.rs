//! The end of a job in their words: the status of the task, and the result that a producer which waits for it reads.

use super::task::{Open, Task};
use crate::job::{Job, Json, State};
use serde_json::json;

/// What is written of a task for good.
pub(super) struct End {
    pub(super) id: Vec<u8>,
    /// `Done`; `Failed` once its attempts are spent; `Killed` where nobody is going to try again.
    pub(super) status: &'static str,
    pub(super) attempts: i32,
    /// Rust's `Result<_, String>` in JSON: `{"Ok": …}` or `{"Err": "…"}`.
    pub(super) result: String,
}

impl End {
    /// None: the job goes on. A job that is `None` was enqueued and is not kept any more.
    pub(super) fn of(open: &Open, job: Option<&Job>) -> Option<Self> {
        let Some(job) = job else {
            return Some(Self::new(open, open.attempts, "Killed", failure("Windlass does not keep this job any more")));
        };
        let attempts = open.attempts.saturating_add(job.attempt);
        match job.state {
            State::Completed => Some(Self::new(open, attempts, "Done", success(job.result.as_ref()))),
            // Apalis takes one for ended when as many attempts are counted as it may have.
            State::Dead if job.attempt >= job.max_attempts => {
                Some(Self::new(open, attempts.max(open.max_attempts), "Failed", failure(&why(job))))
            }
            State::Dead | State::Cancelled => Some(Self::new(open, attempts, "Killed", failure(&why(job)))),
            _ => None,
        }
    }

    /// Of one that can be no job.
    pub(super) fn unfit(task: &Task, reason: &str) -> Self {
        Self { id: task.id.clone(), status: "Killed", attempts: signed(task.attempts), result: failure(reason) }
    }

    /// The same without its result, for a store that cannot hold it.
    pub(super) fn without_result(&self) -> Self {
        let result = failure("the result cannot be held by this database; Windlass keeps it with the job");
        Self { id: self.id.clone(), status: self.status, attempts: self.attempts, result }
    }

    fn new(open: &Open, attempts: u32, status: &'static str, result: String) -> Self {
        Self { id: open.id.clone(), status, attempts: signed(attempts), result }
    }
}

fn signed(attempts: u32) -> i32 {
    i32::try_from(attempts).unwrap_or(i32::MAX)
}

fn success(result: Option<&Json>) -> String {
    format!(r#"{{"Ok":{}}}"#, result.map_or("null", Json::as_str))
}

fn failure(reason: &str) -> String {
    json!({ "Err": reason }).to_string()
}

/// The reason of the end, and what the last attempt said.
fn why(job: &Job) -> String {
    let said = job.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref());
    let reason = job.reason.as_deref().unwrap_or(job.state.as_str());
    said.map_or_else(|| reason.to_owned(), |error| format!("{reason}: {}", error.message))
}
