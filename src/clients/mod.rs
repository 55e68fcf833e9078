//! Providers, one file each: a request, a typed answer, and an error that says retry, wait, stop or park.
//!
//! Rules for every client (reference: providers, "rules that follow"): one HTTP attempt per job attempt, never a retry of its
//! own; hosts, models and versions are configuration; every answer is classified, the status code alone never decides.

pub mod dataforseo;
pub mod guard;
pub mod http;
pub mod lookup;
mod micros;
pub mod openai;
mod retry_after;
pub mod smtp;
mod tls;

use crate::{
    job::{ErrorClass, JobError},
    telemetry::Metrics,
};
use serde::Deserialize;
use std::{
    future::Future,
    time::{Duration, Instant},
};

/// `[providers]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub openai: openai::Config,
    pub dataforseo: dataforseo::Config,
    pub smtp: smtp::Config,
}

/// What a provider's refusal means for the job (reference: providers, rule 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    pub class: ErrorClass,
    /// Stable, such as `rate_limit_exceeded`, `http_503`, `connect`.
    pub code: String,
    /// A sentence for people; never a credential, never a whole body.
    pub message: String,
    /// The provider said not before then.
    pub retry_after: Option<Duration>,
    /// The provider asked us to slow down and did not look at the request: such an answer never costs an attempt.
    pub throttled: bool,
    /// The request may have been received, done and billed all the same: the answer is what was lost.
    pub unanswered: bool,
}

impl ProviderError {
    pub fn new(class: ErrorClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class, code: code.into(), message: message.into(), retry_after: None, throttled: false, unanswered: false }
    }

    /// The credential or the address is not configured: an operator must act before any call makes sense.
    pub fn not_configured(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Auth, "not_configured", message)
    }

    #[must_use]
    pub fn throttled(self) -> Self {
        Self { throttled: true, ..self }
    }

    #[must_use]
    pub fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }
}

impl From<ProviderError> for JobError {
    fn from(error: ProviderError) -> Self {
        Self::new(error.class, error.code, error.message)
    }
}

/// Makes the call, and counts its time and class under the provider's name and the job's kind.
///
/// # Errors
/// The call's own.
pub async fn measured<T>(
    metrics: &Metrics,
    provider: &str,
    kind: &str,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let started = Instant::now();
    let answer = call.await;
    let class = match &answer {
        Ok(_) => "ok",
        // The metric knows five classes; a call without an answer is one to be made again.
        Err(error) => match error.class {
            ErrorClass::Timeout => ErrorClass::Retry.as_str(),
            class => class.as_str(),
        },
    };
    metrics.provider_call(provider, kind, class, started.elapsed().as_secs_f64());
    answer
}

/// At most `max` bytes of `text`, cut between characters, control characters as spaces: what of a foreign text goes into a
/// message of ours.
fn excerpt(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let shown: String = text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if end < text.len() { shown + "…" } else { shown }
}
