//! `POST /v1/jobs`: enqueue one, many or a stream, as envelopes or as CloudEvents.

use super::{
    Problem, State, body,
    body::Form,
    bulk,
    caller::Caller,
    cloudevent::{self, Mode},
    extract::Asked,
    jobs::find,
    ndjson,
    openapi::{Answers, JSON, NDJSON, Operation, Schemas, Takes},
    wire::{ItemAnswer, ItemError},
};
use crate::{
    job::{Envelope, InvalidEnvelope, NewJob},
    store::{self, Enqueued},
};
use axum::{
    body::Body,
    extract::{self, FromRequest, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(super) struct EnqueueOptions {
    /// A bulk call is answered per item: bad items do not stop good ones.
    partial: bool,
}

/// Envelopes, in one of their forms.
pub(super) struct Envelopes(Body);

impl<S: Send + Sync> FromRequest<S> for Envelopes {
    type Rejection = Infallible;
    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request.into_body()))
    }
}

impl Takes for Envelopes {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let one = schemas.sent::<Envelope>();
        let key = json!({"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"});
        operation.in_header(IDEMPOTENCY_KEY.as_str(), "The same key again within a day is a question about the same job.", key);
        let lines = json!({"type": "string", "description": "an envelope a line"});
        let whole = json!({"anyOf": [one, {"type": "array", "items": one}]});
        operation.takes(true, &[(JSON, whole), (NDJSON, lines)]);
    }
}

/// What became of them, in the form in which they came.
pub(super) struct Taken(Response);

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Taken {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let (one, item) = (schemas.told::<Enqueued>(), schemas.told::<ItemAnswer>());
        let whole = json!({"anyOf": [one, {"type": "array", "items": item}]});
        let lines = json!({"type": "string", "description": "an answer a line"});
        operation.answers("200", "Each was there before, or was streamed.", &[(JSON, whole.clone()), (NDJSON, lines)]);
        operation.answers("201", "At least one is new.", &[(JSON, whole)]);
    }
}

/// `POST /v1/jobs`. Object in, object out; array in, array out in the same order; NDJSON in, NDJSON out; CloudEvents as objects and arrays.
pub(super) async fn enqueue(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Asked(options): Asked<EnqueueOptions>,
    headers: HeaderMap,
    Envelopes(sent): Envelopes,
) -> Result<Taken, Problem> {
    taken(state, caller, options.partial, headers, sent).await.map(Taken)
}

async fn taken(state: State, caller: Caller, partial: bool, headers: HeaderMap, sent: Body) -> Result<Response, Problem> {
    if let Some(mode) = cloudevent::mode(&headers) {
        return enqueue_events(&state, &caller, mode, partial, &headers, sent).await;
    }
    let key = match body::form(&headers).and_then(|form| Ok((form, idempotency_key(&headers)?))) {
        Ok((Form::Json, key)) => key,
        Ok((Form::Ndjson, None)) => return ndjson::enqueue(state, caller, &headers, sent, partial).await,
        Ok((Form::Ndjson, Some(_))) => return Err(body::refuse(sent, &headers, one_key_for_many())),
        Err(problem) => return Err(body::refuse(sent, &headers, problem)),
    };
    let limit = state.in_force().config.max_body_bytes;
    let read = body::read(&state, &headers, sent, limit).await?;
    let is_array = read.bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    match (is_array, key) {
        (false, key) => enqueue_one(&state, caller, read.bytes, key).await,
        (true, None) => enqueue_many(&state, &caller, read.bytes, partial).await,
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
