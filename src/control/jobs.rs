//! `/v1/jobs`: enqueue one, many or a stream; look; cancel; try again now; wake a parked one.

use super::{
    Problem, State, body,
    body::Form,
    bulk,
    caller::Caller,
    cloudevent::{self, Mode},
    extract::{Asked, Id, Member},
    listing::Listing,
    ndjson,
    wire::{Because, CancelAnswer, ItemAnswer, ItemError, JobPage, JobRef, Retried, RetryAnswer},
};
use crate::{
    job::{self, InvalidEnvelope, Job, JobError, JobId, Json, NewJob, Scope, explain::Explanation},
    store::{self, Cancelled, Enqueued},
};
use axum::{
    body::Body,
    extract,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(super) struct EnqueueOptions {
    /// A bulk call is answered per item: bad items do not stop good ones.
    partial: bool,
}

/// `POST /v1/jobs`. Object in, object out; array in, array out in the same order; NDJSON in, NDJSON out; CloudEvents as objects and arrays.
pub(super) async fn enqueue(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Asked(options): Asked<EnqueueOptions>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    if let Some(mode) = cloudevent::mode(&headers) {
        return enqueue_events(&state, &caller, mode, options.partial, &headers, sent).await;
    }
    let key = match body::form(&headers).and_then(|form| Ok((form, idempotency_key(&headers)?))) {
        Ok((Form::Json, key)) => key,
        Ok((Form::Ndjson, None)) => return ndjson::enqueue(state, caller, &headers, sent, options.partial).await,
        Ok((Form::Ndjson, Some(_))) => return Err(body::refuse(sent, &headers, one_key_for_many())),
        Err(problem) => return Err(body::refuse(sent, &headers, problem)),
    };
    let limit = state.in_force().config.max_body_bytes;
    let read = body::read(&state, &headers, sent, limit).await?;
    let is_array = read.bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    match (is_array, key) {
        (false, key) => enqueue_one(&state, caller, read.bytes, key).await,
        (true, None) => enqueue_many(&state, &caller, read.bytes, options.partial).await,
        (true, Some(_)) => Err(one_key_for_many()),
    }
}

/// CloudEvents, which bring their own idempotency keys.
async fn enqueue_events(
    state: &State,
    caller: &Caller,
    mode: Mode,
    partial: bool,
    headers: &HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    body::not_encoded(headers)?;
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let problem = Problem::bad_request("conflict", "an event is known by its source and id; leave the Idempotency-Key header out");
        return Err(body::refuse(sent, headers, problem));
    }
    let read = body::read(state, headers, sent, state.in_force().config.max_body_bytes).await?;
    let (whole, heads) = (read.bytes.clone(), headers.clone());
    let envelopes = bulk::off_the_way(whole.len(), move || cloudevent::envelopes(mode, &heads, &whole)).await??;
    match mode {
        Mode::Batch => enqueue_many(state, caller, envelopes.into(), partial).await,
        Mode::Binary | Mode::Structured => enqueue_event(state, caller, envelopes.into()).await,
    }
}

fn one_key_for_many() -> Problem {
    Problem::bad_request("conflict", "an Idempotency-Key header names one job; in a bulk call put `idempotency_key` into each item")
}

async fn enqueue_one(state: &State, caller: Caller, text: bytes::Bytes, key: Option<String>) -> Result<Response, Problem> {
    let job = checked(state, &caller, text).await?;
    let job = with_key(job, key.as_deref()).inspect_err(|_| bulk::count_rejected(state, 1))?;
    let may_be_replayed = job.idempotency_key.is_some();
    let done = written(state, &caller, job).await.map_err(|error| refused(state, error, may_be_replayed))?;
    Ok(one_answer(&done, key.is_some()))
}

/// An event that comes again may have picked up another attribute on its way: it is the same one, and the first is kept.
async fn enqueue_event(state: &State, caller: &Caller, text: bytes::Bytes) -> Result<Response, Problem> {
    let job = checked(state, caller, text).await?;
    let done = match written(state, caller, job).await {
        Err(store::Error::Conflict { id, .. }) => {
            let first = find(state, caller, id).await?;
            Enqueued { id, status: first.state, duplicate: true }
        }
        done => done.map_err(|error| refused(state, error, false))?,
    };
    Ok(one_answer(&done, false))
}

async fn checked(state: &State, caller: &Caller, text: bytes::Bytes) -> Result<NewJob, Problem> {
    let (limits, whose) = (state.in_force().config.limits(), caller.clone());
    let checked = bulk::off_the_way(text.len(), move || whose.check(&text, limits)).await?;
    Ok(checked.inspect_err(|_| bulk::count_rejected(state, 1))?)
}

async fn written(state: &State, caller: &Caller, job: NewJob) -> store::Result<Enqueued> {
    let label = state.labels().label(&job);
    let enqueued = caller.jobs(state).enqueue(vec![job], None).await?;
    bulk::count_enqueued(state, &[label], &enqueued);
    enqueued.into_iter().next().ok_or_else(|| store::Error::Corrupt("the store gave no answer for the job".into()))
}

fn with_key(mut job: NewJob, key: Option<&str>) -> Result<NewJob, InvalidEnvelope> {
    let Some(key) = key else { return Ok(job) };
    if job.idempotency_key.as_deref().is_some_and(|own| own != key) {
        return Err(InvalidEnvelope::new("/idempotency_key", "conflict", "differs from the Idempotency-Key header; send one of them"));
    }
    job.idempotency_key = Some(key.to_owned());
    job.extra.idempotency_key = Some(key.to_owned());
    Ok(job)
}

/// A key that comes again with another body is 422, as the Idempotency-Key draft has it; an id that does is 409.
fn refused(state: &State, error: store::Error, has_idempotency_key: bool) -> Problem {
    let is_conflict = matches!(error, store::Error::Conflict { .. });
    bulk::count_rejected(state, 1);
    let problem = Problem::from(error).about_one_item();
    if is_conflict && has_idempotency_key { problem.with_status(StatusCode::UNPROCESSABLE_ENTITY) } else { problem }
}

fn one_answer(done: &Enqueued, by_header: bool) -> Response {
    let status = if done.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let text = serde_json::to_vec(done).unwrap_or_default();
    let mut response = (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response();
    if !done.duplicate {
        let location = HeaderValue::try_from(format!("/v1/jobs/{}", done.id));
        response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
    } else if by_header {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

async fn enqueue_many(state: &State, caller: &Caller, text: bytes::Bytes, partial: bool) -> Result<Response, Problem> {
    let checked = bulk::check_array(caller, text, state.in_force().config.limits()).await?;
    let answers = if partial { each(state, caller, checked).await? } else { all_or_nothing(state, caller, checked).await? };
    let any_new = answers.iter().any(|answer| matches!(answer, ItemAnswer::Enqueued(done) if !done.duplicate));
    let status = if any_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(answers)).into_response())
}

async fn all_or_nothing(state: &State, caller: &Caller, checked: Vec<bulk::Checked>) -> Result<Vec<ItemAnswer>, Problem> {
    let mut jobs = Vec::with_capacity(checked.len());
    let mut errors = Vec::new();
    for item in checked {
        match item {
            Ok(job) => jobs.push(job),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        bulk::count_rejected(state, errors.len());
        return Err(Problem::invalid(errors));
    }
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let labels = bulk::label_all(state, &jobs);
    let enqueued = caller.jobs(state).enqueue(jobs, None).await.inspect_err(|_| bulk::count_rejected(state, labels.len()))?;
    bulk::count_enqueued(state, &labels, &enqueued);
    Ok(enqueued.into_iter().map(ItemAnswer::Enqueued).collect())
}

async fn each(state: &State, caller: &Caller, checked: Vec<bulk::Checked>) -> Result<Vec<ItemAnswer>, Problem> {
    let bulk::Each { answers, stopped } = bulk::enqueue_each(state, caller, checked, 0).await;
    let Some(error) = stopped else { return Ok(answers.into_iter().flatten().collect()) };
    if !answers.iter().flatten().any(|answer| matches!(answer, ItemAnswer::Enqueued(_))) {
        return Err(error.into());
    }
    let told = |(index, answer): (usize, Option<ItemAnswer>)| {
        answer.unwrap_or_else(|| ItemAnswer::Refused { error: ItemError::of(&error, index) })
    };
    Ok(answers.into_iter().enumerate().map(told).collect())
}

/// The draft's form is a quoted string; most clients send it bare.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let bad = |detail: &str| Problem::bad_request("bad_idempotency_key", detail);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("Idempotency-Key was sent twice; send it once"));
    }
    let text = value.to_str().map_err(|_| bad("Idempotency-Key must be printable ASCII"))?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquoted(rest).ok_or_else(|| bad("Idempotency-Key begins with a quote but is no quoted string"))?,
        None => text.to_owned(),
    };
    if !(1..=255).contains(&key.len()) || !key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(bad("Idempotency-Key must be 1 to 255 printable ASCII characters"));
    }
    Ok(Some(key))
}

/// What follows the opening quote of an RFC 8941 string: only `\"` and `\\` are escapes, and nothing comes after the closing one.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(key),
            '\\' => key.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => key.push(c),
        }
    }
}

/// `GET /v1/jobs`, newest first.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller,
    asked: Listing,
) -> Result<axum::Json<JobPage>, Problem> {
    page(&state, &caller, asked).await.map(axum::Json)
}

pub(super) async fn page(state: &State, caller: &Caller, asked: Listing) -> Result<JobPage, Problem> {
    if asked.filter.text.is_some() && !caller.may(Scope::ReadPayload) {
        let sentence =
            format!("to search payloads is to read them, and this token has not the scope `{}`; leave `text` out", Scope::ReadPayload);
        return Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", sentence));
    }
    let page = caller.jobs(state).list(&asked.filter, asked.cursor.as_deref(), asked.limit).await.map_err(|error| match error {
        store::Error::Invalid { error, .. } => Problem::bad_request(error.code, error.message),
        error => error.into(),
    })?;
    let mut page = JobPage::from(page);
    if !caller.may(Scope::ReadPayload) {
        page.items.iter_mut().filter_map(|item| item.error.as_mut()).for_each(without_words);
    }
    Ok(page)
}

/// A job with `result` named even when there is none, because scripts index into it.
#[derive(Serialize)]
pub(super) struct JobAnswer {
    #[serde(flatten)]
    job: Job,
    #[serde(skip_serializing_if = "Option::is_some")]
    result: Option<()>,
    /// Members that this caller may not see.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hidden: &'static [&'static str],
}

/// What a job carries and answers.
const CARRIED: [&str; 8] = ["payload", "result", "checkpoint", "progress", "meta", "on_success", "on_failure", "attempts.error.message"];

/// What went wrong is told in words that may repeat what the job carries.
fn without_words(error: &mut JobError) {
    error.message = String::new();
}

impl JobAnswer {
    pub fn for_caller(caller: &Caller, mut job: Job) -> Self {
        let is_open = caller.may(Scope::ReadPayload);
        if !is_open {
            job.payload = Json::trusted("null");
            (job.result, job.checkpoint, job.progress) = (None, None, None);
            (job.extra.meta, job.extra.on_success, job.extra.on_failure) = (None, None, None);
            job.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut()).for_each(without_words);
        }
        // Skipped where the job brings its own.
        let result = job.result.is_some().then_some(());
        Self { job, result, hidden: if is_open { &[] } else { &CARRIED } }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Waiting {
    wait_ms: u64,
}

/// Well within the deadline of a request, and of the proxies that people have.
const MOST_WAIT_MS: u64 = 30_000;

/// `GET /v1/jobs/{id}?wait_ms=`: as it stands, or as soon as it is final.
pub(super) async fn show(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
    Asked(Waiting { wait_ms }): Asked<Waiting>,
) -> Result<axum::Json<JobAnswer>, Problem> {
    if wait_ms > MOST_WAIT_MS {
        return Err(Problem::bad_request("out_of_range", format!("wait_ms must be 0 to {MOST_WAIT_MS}; ask again to wait on")));
    }
    let found = caller.jobs(&state).get_when_final(id, Duration::from_millis(wait_ms), || !state.is_draining()).await?;
    let job = found.ok_or_else(|| no_such_job(id))?;
    Ok(axum::Json(JobAnswer::for_caller(&caller, job)))
}

fn no_such_job(id: JobId) -> Problem {
    Problem::not_found(format!("job {id}"))
}

pub(super) async fn find(state: &State, caller: &Caller, id: JobId) -> Result<Job, Problem> {
    caller.jobs(state).get(id).await?.ok_or_else(|| no_such_job(id))
}

/// `GET /v1/jobs/{id}/explain`: what holds it back.
pub(super) async fn explain(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<Explanation>, Problem> {
    Ok(axum::Json(caller.jobs(&state).explain(id).await?.ok_or_else(|| no_such_job(id))?))
}

/// `POST /v1/jobs/{id}/cancel`. 202 while it runs: its holder has been asked.
pub(super) async fn cancel(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    let because: Because = body::json_or_default(&state, &headers, sent).await?;
    let reason = reason(because, "cancelled by a call")?;
    let (status, cancelled) = match caller.jobs(&state).cancel(id, &reason, &caller.actor(), None).await? {
        Cancelled::Now => (StatusCode::OK, "now"),
        Cancelled::Asked => (StatusCode::ACCEPTED, "asked"),
        Cancelled::AlreadyFinal => (StatusCode::OK, "already_final"),
    };
    Ok((status, axum::Json(CancelAnswer { id, cancelled: cancelled.into() })).into_response())
}

/// Reasons are shown in lists; a page of text is none.
const REASON_BYTES: usize = 500;

pub(super) fn reason(because: Because, otherwise: &str) -> Result<String, Problem> {
    match because.reason {
        Some(reason) if reason.len() > REASON_BYTES => {
            let message = format!("at most {REASON_BYTES} bytes");
            Err(Problem::invalid(vec![ItemError::new("/reason", "too_large", message)]))
        }
        Some(reason) => Ok(reason),
        None => Ok(otherwise.to_owned()),
    }
}

/// `POST /v1/jobs/{id}/retry`: due now if it waits for a time or an answer, back in its queue if it is dead.
pub(super) async fn retry(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<RetryAnswer>, Problem> {
    let actor = caller.actor();
    let done = if find(&state, &caller, id).await?.state == job::State::Dead {
        caller.jobs(&state).redrive(id, &actor, None).await?;
        Retried::Redriven
    } else {
        caller.jobs(&state).run_now(id, &actor, None).await?;
        Retried::MadeDue
    };
    Ok(axum::Json(RetryAnswer { id, done }))
}

/// `POST /v1/unpark/{token}`: the outside answer that a parked job waits for. The body, if there is one, is that answer.
pub(super) async fn unpark(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Member(token): Member,
    headers: HeaderMap,
    sent: Body,
) -> Result<axum::Json<JobRef>, Problem> {
    let answer: Option<Json> = body::json_or_default(&state, &headers, sent).await?;
    let id = caller.everything(&state)?.unpark(&token, answer, &caller.actor(), None).await?;
    Ok(axum::Json(JobRef { id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(text: &str) -> Result<Option<String>, Problem> {
        idempotency_key(&HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::from_str(text).expect("a header value"))]))
    }

    #[test]
    fn a_key_is_the_same_quoted_or_bare() {
        for text in ["order-1", "\"order-1\"", "  order-1 "] {
            assert_eq!(key_of(text).expect(text).as_deref(), Some("order-1"), "{text}");
        }
        assert_eq!(key_of(r#""a \"b\" \\c""#).expect("escapes").as_deref(), Some(r#"a "b" \c"#));
        assert_eq!(idempotency_key(&HeaderMap::new()).expect("no header"), None);
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let long = "k".repeat(256);
        for text in ["", "\"\"", "\"open", "\"a\"b", r#""bad \n escape""#, "tab\there", long.as_str()] {
            assert!(key_of(text).is_err(), "{text:?} was taken");
        }
        let twice = HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::from_static("a"))]);
        let mut twice = twice;
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("b"));
        assert!(idempotency_key(&twice).is_err(), "two keys were taken");
    }
}
