//! `/v1/queues`: how many jobs stand where, and holding a queue back.

use super::{
    Problem, State,
    body::SentIfAny,
    caller::Caller,
    extract::Named,
    jobs,
    wire::{Because, ItemError, PauseAnswer, PauseRequest},
};
use crate::{
    job::Pause,
    store::{self, QueueStatus},
};
use axum::{Json, extract};

/// `GET /v1/queues`: per queue the number of jobs in each state, zeros included (contract 5), and its limits.
pub(super) async fn list(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<Vec<QueueStatus>>, Problem> {
    Ok(Json(store::queues(caller.everything(&state)?).await?))
}

/// A pause that is meant to last longer is meant to last until it is resumed.
const YEAR_MS: u64 = 365 * 86_400_000;

/// `POST /v1/queues/{queue}/pause`.
pub(super) async fn pause(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(queue): Named,
    SentIfAny(asked): SentIfAny<PauseRequest>,
) -> Result<Json<PauseAnswer>, Problem> {
    if asked.for_ms.is_some_and(|ms| ms > YEAR_MS || ms == 0) {
        return Err(Problem::invalid(vec![ItemError::new("/for_ms", "out_of_range", format!("must be 1 to {YEAR_MS}"))]));
    }
    let reason = jobs::reason(Because { reason: asked.reason }, "no reason given")?;
    let actor = caller.actor();
    let store = caller.everything(&state)?;
    let at = store.now().await?;
    let until = asked.for_ms.map(|ms| at.plus_ms(ms));
    store.pause(&queue, &reason, until, &actor, None).await?;
    Ok(Json(PauseAnswer { name: queue, paused: Some(Pause { at, by: actor.name, reason, until }) }))
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
