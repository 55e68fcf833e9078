//! `PATCH /v1/jobs/{id}`: changing a job that waits, or a dead letter.

use super::{
    Problem, State,
    body::Sent,
    bulk,
    caller::Caller,
    extract::Id,
    jobs::{self, JobAnswer},
};
use crate::job::{Change, Scope};
use axum::{Json, extract, http::StatusCode};

/// Answers the job as it is then.
pub(super) async fn edit(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
    Sent(change): Sent<Change>,
) -> Result<Json<JobAnswer>, Problem> {
    may_be_made(&caller, &change)?;
    let job = jobs::find(&state, &caller, id).await?;
    let limits = state.in_force().config.limits();
    let edit = bulk::off_the_way(job.payload.as_str().len(), move || change.on(&job, limits)).await??;
    caller.jobs(&state).edit(id, &edit, &caller.actor(), None).await?;
    Ok(Json(JobAnswer::for_caller(&caller, jobs::find(&state, &caller, id).await?)))
}

/// A patch that tests what is there tells its caller what is there.
///
/// # Errors
/// When the caller may not see payloads.
pub(super) fn may_be_made(caller: &Caller, change: &Change) -> Result<(), Problem> {
    if change.patch.is_none() || caller.may(Scope::ReadPayload) {
        return Ok(());
    }
    let sentence = "a patch needs the scope `read.payload`; send a whole payload instead, or ask an operator for a token that has it";
    Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", sentence))
}
