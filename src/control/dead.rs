//! `/v1/dead`: the jobs that gave up, one by one or by filter: look, put back, remove.

use super::{
    Problem, State, body,
    caller::Caller,
    extract::{Asked, Id, MOST_ROWS},
    jobs::{self, JobAnswer, Listing},
    wire::{ItemError, JobSummary, PageOf, RedriveAnswer, RedriveRequest, RedrivenItem, Retried, RetryAnswer},
};
use crate::{
    job::{JobId, State as JobState},
    store::{self, Filter, within::Within},
};
use axum::{
    Json,
    body::Body,
    extract,
    http::{HeaderMap, StatusCode},
};
use futures_util::{StreamExt as _, stream};

/// Redrives in flight at once: enough that they share commits, few enough that others get in between.
const AT_ONCE: usize = 64;

/// `GET /v1/dead`, newest first.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Asked(asked): Asked<Listing>,
) -> Result<Json<PageOf<JobSummary>>, Problem> {
    if asked.state.is_some_and(|state| state != JobState::Dead) {
        return Err(Problem::bad_request("bad_query", "dead letters have no other state; leave `state` out or ask /v1/jobs"));
    }
    let filter = Filter { state: Some(JobState::Dead), queue: asked.queue, kind: asked.kind, tenant: asked.tenant, tag: asked.tag };
    jobs::page(&state, &caller, &filter, asked.cursor.as_deref(), asked.limit).await.map(Json)
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

/// `POST /v1/dead/redrive`: those that fit the filter, newest first, a bounded number a call.
pub(super) async fn redrive_many(
    extract::State(state): extract::State<State>,
    caller: Caller,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<RedriveAnswer>, Problem> {
    let request: RedriveRequest = body::json_or_default(&state, &headers, sent).await?;
    let filter = request.filter();
    let limit = request.limit.unwrap_or(MOST_ROWS);
    if !(1..=MOST_ROWS).contains(&limit) {
        return Err(Problem::invalid(vec![ItemError::new("/limit", "out_of_range", format!("must be 1 to {MOST_ROWS}"))]));
    }
    let is_filtered = filter != Filter { state: filter.state, ..Filter::default() };
    if request.all == is_filtered {
        return Err(Problem::bad_request("no_filter", "say which: a filter (queue, kind, tenant, tag), or `\"all\": true` without one"));
    }
    // One more than asked for tells whether there is more.
    let mut ids = matching(caller.jobs(&state), &filter, limit + 1).await?;
    let more = ids.len() > limit;
    ids.truncate(limit);
    let items = redrive_each(&caller, caller.jobs(&state), ids).await?;
    let redriven = items.iter().filter(|item| item.error.is_none()).count();
    Ok(Json(RedriveAnswer { redriven, items, more }))
}

async fn matching(store: Within<'_>, filter: &Filter, most: usize) -> Result<Vec<JobId>, Problem> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(filter, cursor.as_deref(), (most - ids.len()).min(MOST_ROWS)).await?;
        ids.extend(page.items.iter().map(|job| job.id));
        cursor = page.next;
        if cursor.is_none() || ids.len() >= most {
            return Ok(ids);
        }
    }
}

/// # Errors
/// When the store was away from the first one on. Later, each item tells what became of it.
async fn redrive_each(caller: &Caller, store: Within<'_>, ids: Vec<JobId>) -> Result<Vec<RedrivenItem>, Problem> {
    let one = |id: JobId| {
        // An audit row each, so an id each.
        let actor = caller.actor();
        async move { (id, store.redrive(id, &actor, None).await) }
    };
    let done: Vec<_> = stream::iter(ids).map(one).buffered(AT_ONCE).collect().await;
    if let [(_, Err(store::Error::Unavailable(_))), ..] = done.as_slice()
        && done.iter().all(|(_, redriven)| redriven.is_err())
    {
        return done.into_iter().next().map_or(Ok(Vec::new()), |(_, redriven)| redriven.map(|()| Vec::new()).map_err(Problem::from));
    }
    let told = |(index, (id, redriven)): (usize, (JobId, store::Result<()>))| RedrivenItem {
        id,
        error: redriven.err().map(|error| ItemError::of(&error, index)),
    };
    Ok(done.into_iter().enumerate().map(told).collect())
}
