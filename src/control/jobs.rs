//! `/v1/jobs`: look; cancel; try again now; wake a parked one. Enqueueing is `enqueue.rs`' affair.

use super::{
    Problem, State,
    body::SentIfAny,
    caller::Caller,
    coded::Coded,
    extract::{Asked, Id, Member},
    listing::Listing,
    wire::{Because, CancelAnswer, ItemError, JobPage, JobRef, Retried, RetryAnswer},
};
use crate::{
    job::{self, Job, JobError, JobId, Json, Scope, explain::Explanation},
    store::{self, Cancelled},
};
use axum::{extract, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `GET /v1/jobs`, newest first.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller,
    asked: Listing,
) -> Result<axum::Json<JobPage>, Problem> {
    page(&state, &caller, asked).await.map(axum::Json)
}

pub(super) async fn page(state: &State, caller: &Caller, asked: Listing) -> Result<JobPage, Problem> {
    if asked.filter.text.is_some() && !caller.may(Scope::ReadPayload) {
        let sentence =
            format!("to search payloads is to read them, and this token has not the scope `{}`; leave `text` out", Scope::ReadPayload);
        return Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", sentence));
    }
    let page = caller.jobs(state).list(&asked.filter, asked.cursor.as_deref(), asked.limit).await.map_err(|error| match error {
        store::Error::Invalid { error, .. } => Problem::bad_request(error.code, error.message),
        error => error.into(),
    })?;
    let mut page = JobPage::from(page);
    if !caller.may(Scope::ReadPayload) {
        page.items.iter_mut().filter_map(|item| item.error.as_mut()).for_each(without_words);
    }
    Ok(page)
}

/// A job with `result` named even when there is none, because scripts index into it.
#[derive(Serialize, JsonSchema)]
pub(super) struct JobAnswer {
    #[serde(flatten)]
    job: Job,
    #[serde(skip_serializing_if = "Option::is_some")]
    #[schemars(skip)]
    result: Option<()>,
    /// Members that this caller may not see.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hidden: &'static [&'static str],
}

/// What a job carries and answers.
const CARRIED: [&str; 8] = ["payload", "result", "checkpoint", "progress", "meta", "on_success", "on_failure", "attempts.error.message"];

/// What went wrong is told in words that may repeat what the job carries.
fn without_words(error: &mut JobError) {
    error.message = String::new();
}

impl JobAnswer {
    pub fn for_caller(caller: &Caller, mut job: Job) -> Self {
        let is_open = caller.may(Scope::ReadPayload);
        if !is_open {
            job.payload = Json::trusted("null");
            (job.result, job.checkpoint, job.progress) = (None, None, None);
            (job.extra.meta, job.extra.on_success, job.extra.on_failure) = (None, None, None);
            job.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut()).for_each(without_words);
        }
        // Skipped where the job brings its own.
        let result = job.result.is_some().then_some(());
        Self { job, result, hidden: if is_open { &[] } else { &CARRIED } }
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Waiting {
    /// Wait so long for its end, if it has none yet.
    #[schemars(range(max = 30_000))]
    wait_ms: u64,
}

/// Well within the deadline of a request, and of the proxies that people have.
const MOST_WAIT_MS: u64 = 30_000;

/// `GET /v1/jobs/{id}?wait_ms=`: as it stands, or as soon as it is final.
pub(super) async fn show(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
    Asked(Waiting { wait_ms }): Asked<Waiting>,
) -> Result<axum::Json<JobAnswer>, Problem> {
    if wait_ms > MOST_WAIT_MS {
        return Err(Problem::bad_request("out_of_range", format!("wait_ms must be 0 to {MOST_WAIT_MS}; ask again to wait on")));
    }
    let found = caller.jobs(&state).get_when_final(id, Duration::from_millis(wait_ms), || !state.is_draining()).await?;
    if wait_ms > 0 {
        caller.is_let_in_still(&state).await?;
    }
    let job = found.ok_or_else(|| no_such_job(id))?;
    Ok(axum::Json(JobAnswer::for_caller(&caller, job)))
}

fn no_such_job(id: JobId) -> Problem {
    Problem::not_found(format!("job {id}"))
}

pub(super) async fn find(state: &State, caller: &Caller, id: JobId) -> Result<Job, Problem> {
    caller.jobs(state).get(id).await?.ok_or_else(|| no_such_job(id))
}

/// `GET /v1/jobs/{id}/explain`: what holds it back.
pub(super) async fn explain(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<Explanation>, Problem> {
    Ok(axum::Json(caller.jobs(&state).explain(id).await?.ok_or_else(|| no_such_job(id))?))
}

/// `POST /v1/jobs/{id}/cancel`. 202 while it runs: its holder has been asked.
pub(super) async fn cancel(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
    SentIfAny(because): SentIfAny<Because>,
) -> Result<Coded<CancelAnswer, 200, 202>, Problem> {
    let reason = reason(because, "cancelled by a call")?;
    let (status, cancelled) = match caller.jobs(&state).cancel(id, &reason, &caller.actor(), None).await? {
        Cancelled::Now => (StatusCode::OK, "now"),
        Cancelled::Asked => (StatusCode::ACCEPTED, "asked"),
        Cancelled::AlreadyFinal => (StatusCode::OK, "already_final"),
    };
    Ok(Coded(status, CancelAnswer { id, cancelled: cancelled.into() }))
}

/// Reasons are shown in lists; a page of text is none.
const REASON_BYTES: usize = 500;

pub(super) fn reason(because: Because, otherwise: &str) -> Result<String, Problem> {
    match because.reason {
        Some(reason) if reason.len() > REASON_BYTES => {
            let message = format!("at most {REASON_BYTES} bytes");
            Err(Problem::invalid(vec![ItemError::new("/reason", "too_large", message)]))
        }
        Some(reason) if reason.contains('\0') => Err(ItemError::new("/reason", "wrong_type", "must be without NUL").into()),
        Some(reason) => Ok(reason),
        None => Ok(otherwise.to_owned()),
    }
}

/// `POST /v1/jobs/{id}/retry`: due now if it waits for a time or an answer, back in its queue if it is dead.
pub(super) async fn retry(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<RetryAnswer>, Problem> {
    let actor = caller.actor();
    let done = if find(&state, &caller, id).await?.state == job::State::Dead {
        caller.jobs(&state).redrive(id, &actor, None).await?;
        Retried::Redriven
    } else {
        caller.jobs(&state).run_now(id, &actor, None).await?;
        Retried::MadeDue
    };
    Ok(axum::Json(RetryAnswer { id, done }))
}

/// `POST /v1/unpark/{token}`: the outside answer that a parked job waits for. The body, if there is one, is that answer.
pub(super) async fn unpark(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Member(token): Member,
    SentIfAny(answer): SentIfAny<Option<Json>>,
) -> Result<axum::Json<JobRef>, Problem> {
    let id = caller.everything(&state)?.unpark(&token, answer, &caller.actor(), None).await?;
    Ok(axum::Json(JobRef { id }))
}
