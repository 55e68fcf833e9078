//! `/v1/queues`: how many jobs stand where, and holding a queue back.

use super::{
    Problem, State, body,
    caller::Caller,
    extract::Named,
    jobs,
    wire::{Because, PauseAnswer},
};
use crate::{
    job::State as JobState,
    store::{Pause, QueueStatus},
};
use axum::{Json, body::Body, extract, http::HeaderMap};

/// `GET /v1/queues`: per queue the number of jobs in each state, zeros included (contract 5).
pub(super) async fn list(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<Vec<QueueStatus>>, Problem> {
    let mut queues = caller.everything(&state)?.queues(None).await?;
    for queue in &mut queues {
        for state in JobState::ALL {
            queue.jobs.entry(state).or_insert(0);
        }
    }
    Ok(Json(queues))
}

/// `POST /v1/queues/{queue}/pause`.
pub(super) async fn pause(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(queue): Named,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<PauseAnswer>, Problem> {
    let because: Because = body::json_or_default(&state, &headers, sent).await?;
    let reason = jobs::reason(because, "no reason given")?;
    let actor = caller.actor();
    let store = caller.everything(&state)?;
    store.pause(&queue, &reason, &actor, None).await?;
    Ok(Json(PauseAnswer { name: queue, paused: Some(Pause { at: store.now().await?, by: actor.name, reason }) }))
}

/// `POST /v1/queues/{queue}/resume`.
pub(super) async fn resume(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(queue): Named,
) -> Result<Json<PauseAnswer>, Problem> {
    caller.everything(&state)?.resume(&queue, &caller.actor(), None).await?;
    Ok(Json(PauseAnswer { name: queue, paused: None }))
}
