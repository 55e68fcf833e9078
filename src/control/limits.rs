//! `/v1/queues/{queue}/limits`: how many jobs of a queue run at once and how fast they start, changed while the daemons run.

use super::{
    Problem, State,
    body::{Sent, SentIfAny},
    caller::Caller,
    extract::Named,
    jobs,
    wire::{Because, ItemError, LimitsAnswer, LimitsRequest},
};
use crate::{job::LiveLimits, store};
use axum::{Json, extract};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// `GET /v1/queues/{queue}/limits`. A queue that nobody knows has those that it would have.
pub(super) async fn show(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(queue): Named,
) -> Result<Json<LimitsAnswer>, Problem> {
    let limits = store::limits(caller.everything(&state)?, &queue).await?;
    Ok(Json(LimitsAnswer { name: queue, limits }))
}

/// `PATCH /v1/queues/{queue}/limits`: what is left out stays, and `null` is no limit.
pub(super) async fn change(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(queue): Named,
    Sent(Members(mut members)): Sent<Members>,
) -> Result<Json<LimitsAnswer>, Problem> {
    let reason = jobs::reason(Because { reason: taken(&mut members)? }, NO_REASON)?;
    let limits = LiveLimits::read(members)?;
    let changed = caller.everything(&state)?.set_limits(&queue, Some(&limits), &reason, &caller.actor(), None).await;
    let limits = changed.map_err(|error| Problem::from(error).about_one_item())?;
    Ok(Json(LimitsAnswer { name: queue, limits }))
}

/// `DELETE /v1/queues/{queue}/limits`: back to what the daemons' configuration says.
pub(super) async fn lift(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(queue): Named,
    SentIfAny(because): SentIfAny<Because>,
) -> Result<Json<LimitsAnswer>, Problem> {
    let reason = jobs::reason(because, NO_REASON)?;
    let limits = caller.everything(&state)?.set_limits(&queue, None, &reason, &caller.actor(), None).await?;
    Ok(Json(LimitsAnswer { name: queue, limits }))
}

const NO_REASON: &str = "no reason given";

/// A [`LimitsRequest`], read member by member so that the one at fault is named.
#[derive(Deserialize)]
pub(super) struct Members(Map<String, Value>);

impl JsonSchema for Members {
    fn schema_name() -> Cow<'static, str> {
        LimitsRequest::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        LimitsRequest::json_schema(generator)
    }
}

/// The reason among the members, out of their way.
fn taken(members: &mut Map<String, Value>) -> Result<Option<String>, Problem> {
    match members.remove("reason") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(reason)) => Ok(Some(reason)),
        Some(_) => Err(Problem::invalid(vec![ItemError::new("/reason", "wrong_type", "must be a text")])),
    }
}
