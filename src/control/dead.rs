//! `/v1/dead`: the jobs that gave up, one by one or by filter: look, put back, remove.

use super::{
    Problem, State,
    body::SentIfAny,
    caller::Caller,
    edit,
    extract::{Asked, Id, MOST_ROWS},
    jobs::{self, JobAnswer},
    listing::Listing,
    wire::{ItemError, JobPage, RedriveAnswer, RedriveRequest, Retried, RetryAnswer},
};
use crate::{
    job::{Name, Scope, State as JobState},
    store::{
        self, Filter,
        dead::{Done, Groups, Order},
    },
};
use axum::{Json, extract, http::StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

/// `GET /v1/dead`, newest first.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller,
    mut asked: Listing,
) -> Result<Json<JobPage>, Problem> {
    if asked.filter.state.is_some_and(|state| state != JobState::Dead) {
        return Err(Problem::bad_request("bad_query", "dead letters have no other state; leave `state` out or ask /v1/jobs"));
    }
    asked.filter.state = Some(JobState::Dead);
    jobs::page(&state, &caller, asked).await.map(Json)
}

/// `GET /v1/dead/{id}`.
pub(super) async fn show(extract::State(state): extract::State<State>, caller: Caller, Id(id): Id) -> Result<Json<JobAnswer>, Problem> {
    let job = caller.jobs(&state).get(id).await?.filter(|job| job.state == JobState::Dead);
    let job = job.ok_or_else(|| Problem::not_found(format!("dead letter {id}")))?;
    Ok(Json(JobAnswer::for_caller(&caller, job)))
}

/// `POST /v1/dead/{id}/redrive`.
pub(super) async fn redrive(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<RetryAnswer>, Problem> {
    caller.jobs(&state).redrive(id, &caller.actor(), None).await.map_err(|error| Problem::from(error).about_one_item())?;
    Ok(Json(RetryAnswer { id, done: Retried::Redriven }))
}

/// `DELETE /v1/dead/{id}`: gone for good.
pub(super) async fn purge(extract::State(state): extract::State<State>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    caller.jobs(&state).purge(id, &caller.actor(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/dead/redrive`: those that are named or fit the filter, newest first, a bounded number a call.
pub(super) async fn redrive_many(
    extract::State(state): extract::State<State>,
    caller: Caller,
    SentIfAny(request): SentIfAny<RedriveRequest>,
) -> Result<Json<RedriveAnswer>, Problem> {
    let limit = request.limit.unwrap_or(MOST_ROWS);
    if !(1..=MOST_ROWS).contains(&limit) {
        return Err(Problem::invalid(vec![ItemError::new("/limit", "out_of_range", format!("must be 1 to {MOST_ROWS}"))]));
    }
    let order = ordered(&state, &caller, &request)?;
    let store = caller.jobs(&state);
    if !request.ids.is_empty() {
        let done = store.redrive_named(&order, &request.ids, &caller.actor()).await;
        return Ok(Json(RedriveAnswer::of(refuse_outage(done)?, request.dry_run)));
    }
    let found = store.list(&order.filter, request.cursor.as_deref(), limit).await?;
    let done = store.redrive_each(&order, found.items, &caller.actor()).await;
    let answer = RedriveAnswer::of(refuse_outage(done)?, request.dry_run);
    Ok(Json(RedriveAnswer { more: found.next.is_some(), next: found.next, ..answer }))
}

/// # Errors
/// When the request does not say which, or asks for what the caller may not.
pub(super) fn ordered(state: &State, caller: &Caller, request: &RedriveRequest) -> Result<Order, Problem> {
    if !request.is_clear() {
        let sentence = "say which in one way: ids, a filter (queue, kind, tenant, tag, fingerprint), or `\"all\": true`";
        return Err(Problem::bad_request("no_filter", sentence));
    }
    if request.ids.len() > MOST_ROWS {
        return Err(Problem::invalid(vec![ItemError::new("/ids", "too_many", format!("at most {MOST_ROWS}"))]));
    }
    if let Some(change) = &request.change {
        edit::may_be_made(caller, change)?;
    }
    Ok(request.order(state.in_force().config.limits()))
}

/// When the store was away from the first one on, the call failed. Later, each item tells what became of it.
fn refuse_outage(done: Vec<Done>) -> Result<Vec<Done>, Problem> {
    let is_away = |done: &Done| matches!(done.error, Some(store::Error::Unavailable(_)));
    if done.first().is_some_and(is_away) && done.iter().all(|done| done.error.is_some()) {
        return Err(Problem::from(
            done.into_iter().find_map(|done| done.error).unwrap_or_else(|| store::Error::Unavailable(String::new())),
        ));
    }
    Ok(done)
}

/// `GET /v1/dead/groups`: what dead letters died of, the largest group first; a bounded number is looked at.
pub(super) async fn groups(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Asked(asked): Asked<Which>,
) -> Result<Json<Groups>, Problem> {
    let Which { queue, kind, tenant, tag, cursor } = asked;
    let filter = Filter { queue, kind, tenant, tag, ..Filter::default() };
    let mut found = caller.jobs(&state).dead_groups(&filter, cursor.as_deref()).await?;
    if !caller.may(Scope::ReadPayload) {
        // A worker quotes what it was given.
        found.groups.iter_mut().for_each(|group| group.message = None);
    }
    Ok(Json(found))
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    queue: Option<Name>,
    kind: Option<Name>,
    tenant: Option<Name>,
    tag: Option<Name>,
    cursor: Option<String>,
}
