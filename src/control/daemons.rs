//! `/v1/daemons`: who works on what, and how it does.

use super::{Problem, State, caller::Caller, wire::DaemonAnswer};
use axum::{Json, extract};

/// `GET /v1/daemons`, the oldest first; those that fell silent in the last hour too.
pub(super) async fn list(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<Vec<DaemonAnswer>>, Problem> {
    let store = caller.everything(&state)?;
    let now = store.now().await?;
    Ok(Json(store.daemons().await?.into_iter().map(|seen| DaemonAnswer { live: seen.is_live(now), seen }).collect()))
}
