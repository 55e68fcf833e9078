//! `webhook.process`: one believed event goes on to its source's endpoint, byte for byte, under our own signature
//! (Standard Webhooks). The event's id is the message's id over all retries, so the receiver can drop repeats. A source
//! without an endpoint only records that the event came.

use super::{
    delivery::{self, Captured, judge_delivery},
    run::{Early, Run, bad_payload},
};
use crate::{
    clients::http::{Call, Http, Keep, UrlFrom},
    engine::worker::{Context, Outcome, Verdict, Worker},
    job::LeasedJob,
    signatures::{self, Event, Signer},
    telemetry::Metrics,
};
use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use url::Url;

pub(super) const KIND: &str = "webhook.process";

/// `[workers.webhook]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The specification says 15 to 30 s: a receiver should queue, not work.
    pub timeout_ms: u64,
    /// The most of an answer's body that becomes part of the result.
    pub capture_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout_ms: 20_000, capture_bytes: delivery::CAPTURE_BYTES }
    }
}

pub struct Webhook {
    config: Config,
    /// By source; None: its events stay here.
    endpoints: BTreeMap<String, Option<(Url, Signer)>>,
    http: Http,
    metrics: Metrics,
}

/// The job's result.
#[derive(Serialize)]
struct Processed<'a> {
    source: &'a str,
    event_id: &'a str,
    event_type: Option<&'a str>,
    forwarded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Captured>,
}

impl Webhook {
    /// # Errors
    /// Which source's endpoint or secret is wrong.
    pub fn new(config: &Config, webhooks: &signatures::Config, http: Http, metrics: Metrics) -> Result<Self, signatures::ConfigError> {
        let endpoint = |(name, source): (&String, &signatures::SourceConfig)| Ok((name.clone(), source.forward(name)?));
        let endpoints = webhooks.sources.iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { config: config.clone(), endpoints, http, metrics })
    }

    async fn process(&self, run: &Run<'_>) -> Result<Outcome, Early> {
        let event: Event = run.payload()?;
        let answer = match self.endpoints.get(&event.source) {
            Some(Some((url, signer))) => Some(self.forward(run, &event, url, signer).await?),
            Some(None) => None,
            None => {
                let sentence = format!("no webhook source `{}` is configured any more; add it again and redrive the job", event.source);
                return Err(Box::new(Outcome::reject("unknown_source", sentence)));
            }
        };
        Ok(Outcome::complete_with(&Processed {
            source: &event.source,
            event_id: &event.event_id,
            event_type: event.event_type.as_deref(),
            forwarded: answer.is_some(),
            answer,
        }))
    }

    async fn forward(&self, run: &Run<'_>, event: &Event, url: &Url, signer: &Signer) -> Result<Captured, Early> {
        let body = event.body_bytes().map_err(|_| bad_payload("`body` is not the base64 it is said to be"))?;
        let mut headers = described(event);
        headers.extend(signer.headers(&event.event_id, run.now().to_utc(), &body));
        let call = Call {
            // The endpoint stands in the operator's own configuration.
            url_from: UrlFrom::Config,
            method: Method::POST,
            url: url.clone(),
            headers,
            body: body.into(),
            timeout: Duration::from_millis(self.config.timeout_ms),
            keep: Keep::First(self.config.capture_bytes),
        };
        let started = Instant::now();
        let judged = judge_delivery(self.http.call(call).await);
        let ended = judged.as_ref().map(Captured::from).map_err(|error| run.failed(error.clone()));
        self.count(&ended, started.elapsed());
        ended
    }

    fn count(&self, ended: &Result<Captured, Early>, took: Duration) {
        let result = match ended {
            Ok(_) => "delivered",
            Err(early) if matches!(early.verdict, Verdict::Reject { .. }) => "failed",
            Err(_) => "retried",
        };
        self.metrics.deliveries.with_label_values(&[result]).inc();
        self.metrics.delivery_duration.with_label_values(&[result]).observe(took.as_secs_f64());
    }
}

/// What the receiver should know beside the body. Values that no header takes are left out; they stand in the body anyway.
fn described(event: &Event) -> HeaderMap {
    let content_type = event.headers.get("content-type").map_or("application/json", String::as_str);
    let event_time = event.event_time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
    let pairs = [
        (header::CONTENT_TYPE, Some(content_type)),
        (HeaderName::from_static("windlass-source"), Some(event.source.as_str())),
        (HeaderName::from_static("windlass-event-type"), event.event_type.as_deref()),
        (HeaderName::from_static("windlass-event-time"), event_time.as_deref()),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?))).collect()
}

#[async_trait]
impl Worker for Webhook {
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome {
        self.process(&Run::begin(job, context)).await.unwrap_or_else(|early| *early)
    }
}
