//! `POST /hooks/{source}`: the door for other people's events. The signature is verified over the bytes as they came, the event
//! becomes one `webhook.process` job however often it is sent, and the sender hears 200 only when the job is durable. What is
//! done with the event is the worker's affair (reference: providers 3.1).

use super::{Problem, State, body, bulk, extract::Member};
use crate::{
    job::{Json, Limits, Name, NewJob, Timestamp},
    signatures::{self, Event, Rejection, Verified},
    store,
    telemetry::Metrics,
};
use axum::{
    Json as JsonAnswer,
    body::Body,
    extract,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::time::Instant;

const KIND: &str = "webhook.process";

/// `hook:<source>:<identity>` must fit the 255 characters of an idempotency key beside an identity of 200.
const SOURCE_BYTES: usize = 48;

/// Event ids are remembered for longer than the longest retry and redelivery window of any sender (reference: providers 3.4).
const REMEMBERED_MS: u64 = 35 * 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HookAnswer {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// The sources of the configuration, with their secrets read.
///
/// # Errors
/// One sentence about the first that cannot be used.
pub(super) fn sources(config: &signatures::Config) -> Result<BTreeMap<Name, signatures::Source>, String> {
    let one = |(name, source): (&String, &signatures::SourceConfig)| {
        Ok((source_name(name)?, source.source(name).map_err(|error| error.to_string())?))
    };
    config.sources.iter().map(one).collect()
}

/// A `:` would make the keys of two sources the same: `a` with the id `b:1`, and `a:b` with the id `1`.
///
/// # Errors
/// One sentence about a name that cannot be used.
pub(super) fn source_name(name: &str) -> Result<Name, String> {
    let usable = Name::new(name).ok().filter(|name| name.len() <= SOURCE_BYTES && !name.contains(':'));
    usable.ok_or_else(|| format!("webhooks.sources.{name:?} is no usable name; use at most {SOURCE_BYTES} letters, digits and _ . -"))
}

/// What can become of an event, for the metric's `result` label.
const RESULTS: [&str; 5] = ["accepted", "duplicate", "changed", "rejected", "failed"];

/// Counters that exist from the start: a rate over one that appears with its first event misses that event.
pub(super) fn begin_counting(metrics: &Metrics, sources: &BTreeMap<Name, signatures::Source>) {
    for (name, result) in sources.keys().flat_map(|name| RESULTS.map(|result| (name, result))) {
        metrics.webhooks_received.with_label_values(&[name.as_str(), result]).inc_by(0);
    }
}

pub(super) async fn receive(
    extract::State(state): extract::State<State>,
    Member(name): Member,
    headers: HeaderMap,
    sent: Body,
) -> Result<JsonAnswer<HookAnswer>, Problem> {
    let in_force = state.in_force();
    let Some((name, source)) = in_force.sources.get_key_value(name.as_str()) else {
        return Err(body::refuse(sent, &headers, Problem::not_found("this webhook source")));
    };
    let counted = |result: &str| state.metrics.webhooks_received.with_label_values(&[name.as_str(), result]).inc();
    let unbelieved = |rejection: Rejection| {
        counted("rejected");
        state.metrics.webhook_rejections.with_label_values(&[name.as_str(), rejection.reason()]).inc();
        tracing::debug!(source = %name, reason = rejection.reason(), "a webhook was not believed");
        // One answer for every reason: saying more would help nobody but a forger.
        Problem::new(StatusCode::UNAUTHORIZED, "bad_signature", "the signature does not verify")
    };
    if let Err(problem) = body::not_encoded(&headers) {
        counted("rejected");
        return Err(body::refuse(sent, &headers, problem));
    }
    let (limit, deadline) = (in_force.config.max_hook_bytes, Instant::now() + in_force.config.hook_deadline());
    let sent = body::not_declared_larger(&headers, sent, limit).inspect_err(|_| counted("rejected"))?;
    let now = state.clock.now();
    // Nobody reads on for a sender who shows nothing that could be a signature.
    let expected = match source.expect(&headers, now.to_utc()) {
        Ok(expected) => expected,
        Err(rejection) => return Err(body::refuse(sent, &headers, unbelieved(rejection))),
    };
    let (bytes, _memory) = body::read_unknown(&state, &headers, sent, limit, deadline).await.inspect_err(|_| counted("rejected"))?;
    let verified = expected.verify(&bytes).map_err(unbelieved)?;
    let event = Event::new(name, verified.clone(), state.clock.now().to_utc(), &headers, &bytes);
    let taken = take(&state, &job(name, &verified, &event)?, &event).await;
    counted(match &taken {
        Ok(Taken::New) => "accepted",
        Ok(Taken::Repeat) => "duplicate",
        Ok(Taken::Changed) => "changed",
        Err(_) => "failed",
    });
    let taken = taken?;
    if taken == Taken::Changed {
        tracing::warn!(source = %name, event_id = verified.event_id, "an event came again with another body; the first one is kept");
    }
    Ok(JsonAnswer(HookAnswer { ok: true, duplicate: taken != Taken::New }))
}

fn job(source: &Name, verified: &Verified, event: &Event) -> Result<NewJob, Problem> {
    let payload = Json::of(event);
    if payload.as_str().len() > Limits::PAYLOAD_HARD {
        return Err(body::too_large(Limits::PAYLOAD_HARD as u64));
    }
    let key = format!("hook:{source}:{}", verified.identity);
    let mut job = NewJob::new(Name::literal(KIND), payload);
    job.idempotency_ms = REMEMBERED_MS;
    job.idempotency_key = Some(key.clone());
    job.extra.idempotency_key = Some(key);
    job.extra.event_time = verified.event_time.map(Timestamp::from_utc);
    Ok(job)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    New,
    /// The same event again.
    Repeat,
    /// The same id with another body. Stripe counts its pending deliveries in the body, so this is no reason to refuse it, and a
    /// refusal would only be tried again for days.
    Changed,
}

/// Durable once it returns `Ok`.
async fn take(state: &State, job: &NewJob, event: &Event) -> Result<Taken, Problem> {
    let label = state.labels().label(job);
    match state.store().enqueue(vec![job.clone()], None).await {
        Ok(enqueued) => {
            bulk::count_enqueued(state, &[label], &enqueued);
            Ok(if enqueued.iter().any(|done| done.duplicate) { Taken::Repeat } else { Taken::New })
        }
        // The payload says when the event was received, so a repeat is never the same job text; the body decides.
        Err(store::Error::Conflict { id, .. }) => {
            let first = state.store().get(id).await?.and_then(|first| first.payload.read::<Event>().ok());
            let same = first.is_none_or(|first| first.body == event.body);
            Ok(if same { Taken::Repeat } else { Taken::Changed })
        }
        Err(error) => Err(error.into()),
    }
}
