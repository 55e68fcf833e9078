//! `/v1/daemons`: who works on what, and how it does.

use super::{Problem, State, caller::Caller, wire::DaemonAnswer};
use crate::store::{self, Store};
use axum::{Json, extract};

/// `GET /v1/daemons`, the oldest first; those that fell silent in the last hour too.
pub(super) async fn list(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<Vec<DaemonAnswer>>, Problem> {
    Ok(Json(all(caller.everything(&state)?).await?))
}

pub(super) async fn all(store: &dyn Store) -> store::Result<Vec<DaemonAnswer>> {
    let now = store.now().await?;
    Ok(DaemonAnswer::list(store.daemons().await?, now))
}
