//! `http.call`: one request to any public URL. 2xx completes with the answer; the address guard is on unless
//! `outbound.allow` opens it.

mod request;

use super::{
    delivery::{self, Captured},
    run::{Early, Run, bad_payload},
};
use crate::{
    clients::{
        ProviderError,
        http::{Answer, CallError, Http},
        measured,
    },
    engine::worker::{Context, Outcome, Worker},
    job::{ErrorClass, LeasedJob},
    telemetry::Metrics,
};
use async_trait::async_trait;
use serde::Deserialize;

pub(super) const KIND: &str = "http.call";

/// `[workers.http]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For calls that name no time of their own.
    pub timeout_ms: u64,
    /// What a payload may ask for at most; the kind's own timeout should be longer.
    pub max_timeout_ms: u64,
    /// The most of an answer's body that becomes part of the result.
    pub capture_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout_ms: 30_000, max_timeout_ms: 300_000, capture_bytes: delivery::CAPTURE_BYTES }
    }
}

#[derive(Debug)]
pub struct HttpCall {
    config: Config,
    http: Http,
    metrics: Metrics,
}

impl HttpCall {
    #[must_use]
    pub fn new(config: &Config, http: Http, metrics: Metrics) -> Self {
        Self { config: config.clone(), http, metrics }
    }

    async fn call(&self, run: &Run<'_>) -> Result<Outcome, Early> {
        let payload: request::Payload<'_> = run.payload()?;
        let call = payload.call(run.job, &self.config).map_err(|sentence| bad_payload(&sentence))?;
        let answer = measured(&self.metrics, "http", KIND, async { judge(self.http.call(call).await) }).await;
        let answer = answer.map_err(|error| run.failed(error))?;
        Ok(Outcome::complete_with(&Captured::from(&answer)))
    }
}

#[async_trait]
impl Worker for HttpCall {
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome {
        self.call(&Run::begin(job, context)).await.unwrap_or_else(|early| *early)
    }
}

/// 408, 409, 425 and 429 are about the moment, other 4xx about the request; a redirect is not followed and will be one
/// next time too. A 429 that says when to come back costs no attempt.
fn judge(answer: Result<Answer, CallError>) -> Result<Answer, ProviderError> {
    let answer = answer?;
    match answer.status.as_u16() {
        200..=299 => Ok(answer),
        429 if answer.retry_after.is_some() => Err(delivery::refused(ErrorClass::Retry, &answer).throttled()),
        408 | 409 | 425 | 429 | 500.. => Err(delivery::refused(ErrorClass::Retry, &answer)),
        300..=399 => {
            let redirected = delivery::refused(ErrorClass::Permanent, &answer);
            let message = format!("the server answered {}, and redirects are not followed; call the final URL", answer.status.as_u16());
            Err(ProviderError { message, ..redirected })
        }
        _ => Err(delivery::refused(ErrorClass::Permanent, &answer)),
    }
}
