//! `/v1/schedules`: recurring rules, shown and changed. When they are due is `job::schedule`'s word, firing them the engine's.

use super::{
    Problem, State,
    body::Sent,
    bulk,
    caller::Caller,
    coded::Coded,
    extract::{Asked, Named, rows},
    wire::{ItemError, PageOf, PreviewAnswer, ScheduleAnswer},
};
use crate::{
    job::{
        self, Name, Scope, Timestamp,
        schedule::{Occurrence, Schedule, ScheduleState},
    },
    store::{Enqueued, Store},
};
use axum::{Json, extract, http::StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listing {
    /// The last name of the page before.
    cursor: Option<Name>,
    /// How many at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

/// `GET /v1/schedules`, by name.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Asked(asked): Asked<Listing>,
) -> Result<Json<PageOf<ScheduleAnswer>>, Problem> {
    let limit = rows(asked.limit)?;
    let store = caller.everything(&state)?;
    let mut states = store.schedules().await?;
    states.sort_by(|a, b| a.schedule.name.cmp(&b.schedule.name));
    states.retain(|s| asked.cursor.as_ref().is_none_or(|cursor| s.schedule.name > *cursor));
    let next = states.get(limit).and_then(|_| states.get(limit - 1)).map(|last| last.schedule.name.to_string());
    states.truncate(limit);
    let now = store.now().await?;
    let shows_payload = caller.may(Scope::ReadPayload);
    // Searching a calendar for the next leap day is work; a thousand of them would hold up everybody on this thread.
    let items = blocking(move || states.into_iter().map(|s| answer(s, now, shows_payload)).collect()).await?;
    Ok(Json(PageOf { items, next }))
}

/// `GET /v1/schedules/{name}`.
pub(super) async fn show(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<ScheduleAnswer>, Problem> {
    let store = caller.everything(&state)?;
    let found = find(store, &name).await?;
    let now = store.now().await?;
    let shows_payload = caller.may(Scope::ReadPayload);
    blocking(move || answer(found, now, shows_payload)).await.map(Json)
}

fn answer(mut state: ScheduleState, now: Timestamp, shows_payload: bool) -> ScheduleAnswer {
    if !shows_payload {
        let job = &mut state.schedule.job;
        job.payload = job::Json::trusted("null");
        (job.meta, job.on_success, job.on_failure) = (None, None, None);
    }
    let next = if state.paused { None } else { state.schedule.check().ok().and_then(|timetable| timetable.next_after(now)) };
    ScheduleAnswer { schedule: state.schedule, generation: state.generation, last: state.last, paused: state.paused, next }
}

async fn find(store: &dyn Store, name: &Name) -> Result<ScheduleState, Problem> {
    let mut states = store.schedules().await?.into_iter();
    states.find(|s| s.schedule.name == *name).ok_or_else(|| Problem::not_found(format!("schedule {name}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    bulk::off_the_way(usize::MAX, work).await
}

/// `PUT /v1/schedules/{name}`: creates it, or changes its rule or job. `name` may be left out of the body.
pub(super) async fn put(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
    Sent(members): Sent<Members>,
) -> Result<Json<ScheduleAnswer>, Problem> {
    let schedule = named(members, &name)?;
    let limits = state.in_force().config.limits();
    let schedule = blocking(move || {
        schedule.check()?;
        // The check allows any payload that fits the contract; this door has its own limit.
        schedule.job.clone().check(limits).map_err(|error| ItemError::new(&format!("/job{}", error.pointer), error.code, error.message))?;
        Ok::<_, Problem>(schedule)
    })
    .await??;
    caller.everything(&state)?.put_schedule(&schedule, &caller.actor(), None).await?;
    show(extract::State(state), caller, Named(name)).await
}

/// A schedule whose name may be left out, member by member, so that the job's payload keeps its bytes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Members(BTreeMap<String, Box<RawValue>>);

impl JsonSchema for Members {
    fn schema_name() -> Cow<'static, str> {
        "NamedSchedule".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let mut schema = Schedule::json_schema(schemas);
        if let Some(needed) = schema.get_mut("required").and_then(|needed| needed.as_array_mut()) {
            needed.retain(|name| name != "name");
        }
        schema
    }
}

fn named(Members(mut members): Members, name: &Name) -> Result<Schedule, Problem> {
    let in_path = serde_json::value::to_raw_value(name).map_err(|error| Problem::bad_request("bad_name", error.to_string()))?;
    let in_body = members.insert("name".into(), in_path);
    if in_body.is_some_and(|own| serde_json::from_str::<&str>(own.get()).ok() != Some(name.as_str())) {
        return Err(ItemError::new("/name", "conflict", "differs from the name in the path; leave it out").into());
    }
    let text = serde_json::to_string(&members).unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| {
        let said = error.to_string();
        // The place is one in a text that the caller never saw.
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(sentence, _)| sentence);
        ItemError::new("", "wrong_type", said).into()
    })
}

/// `DELETE /v1/schedules/{name}`: jobs that it made stay.
pub(super) async fn remove(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
) -> Result<StatusCode, Problem> {
    caller.everything(&state)?.delete_schedule(&name, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/schedules/{name}/pause`.
pub(super) async fn pause(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<ScheduleAnswer>, Problem> {
    caller.everything(&state)?.pause_schedule(&name, true, &caller.actor()).await?;
    show(extract::State(state), caller, Named(name)).await
}

/// `POST /v1/schedules/{name}/resume`.
pub(super) async fn resume(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<ScheduleAnswer>, Problem> {
    caller.everything(&state)?.pause_schedule(&name, false, &caller.actor()).await?;
    show(extract::State(state), caller, Named(name)).await
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Previewed {
    /// How many at most.
    #[schemars(range(min = 1, max = 1000))]
    n: Option<usize>,
}

/// Instants shown when nobody says how many: enough to see a pattern.
const PREVIEWED: usize = 10;

/// `GET /v1/schedules/{name}/preview?n=`: the next instants, paused or not.
pub(super) async fn preview(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
    Asked(asked): Asked<Previewed>,
) -> Result<Json<PreviewAnswer>, Problem> {
    let count = rows(asked.n.or(Some(PREVIEWED)))?;
    let store = caller.everything(&state)?;
    let schedule = find(store, &name).await?.schedule;
    let now = store.now().await?;
    let instants = blocking(move || schedule.check().map(|timetable| timetable.preview(now, count))).await??;
    Ok(Json(PreviewAnswer { name, instants }))
}

/// `GET /v1/schedules/{name}/occurrences?limit=`: what became of its instants.
pub(super) async fn occurrences(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
    Asked(asked): Asked<Listing>,
) -> Result<Json<Vec<Occurrence>>, Problem> {
    let store = caller.everything(&state)?;
    find(store, &name).await?;
    Ok(Json(store.occurrences(&name, rows(asked.limit)?).await?))
}

/// `POST /v1/schedules/{name}/run`: one job now, besides its occurrences.
pub(super) async fn run(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Named(name): Named,
) -> Result<Coded<Enqueued, 200, 201>, Problem> {
    let store = caller.everything(&state)?;
    let job = find(store, &name).await?.schedule.job.check(state.in_force().config.limits())?;
    let label = state.labels().label(&job);
    let run = store.run_schedule(&name, job, &caller.actor()).await;
    let done = run.map_err(|error| Problem::from(error).about_one_item())?;
    bulk::count_enqueued(&state, &[label], std::slice::from_ref(&done));
    Ok(Coded(if done.duplicate { StatusCode::OK } else { StatusCode::CREATED }, done))
}
