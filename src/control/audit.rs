//! `/v1/audit`: who did what.

use super::{
    Problem, State,
    caller::Caller,
    extract::{Asked, rows},
    wire::PageOf,
};
use crate::{
    job::{AuditFilter, Audited, Head},
    store::trail,
};
use axum::{Json, extract};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listing {
    cursor: Option<String>,
    /// How many at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    actor: Option<String>,
    action: Option<String>,
    object: Option<String>,
}

/// `GET /v1/audit?limit=&cursor=&actor=&action=&object=`, newest first.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Asked(asked): Asked<Listing>,
) -> Result<Json<PageOf<Audited>>, Problem> {
    let filter = AuditFilter { actor: asked.actor, action: asked.action, object: asked.object };
    let page = trail::list(caller.everything(&state)?, &filter, asked.cursor.as_deref(), rows(asked.limit)?).await?;
    Ok(Json(PageOf { items: page.items, next: page.next }))
}

/// `GET /v1/audit/heads`.
pub(super) async fn heads(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<Vec<Head>>, Problem> {
    Ok(Json(caller.everything(&state)?.audit_heads().await?))
}
