//! What an OpenAI-compatible server means when it does not answer the question (reference: providers 1.2 to 1.4 and 1.7).
//! Bodies come as `{"error":{…}}`, `{"error":"text"}`, `[{"error":{…}}]`, `{"object":"error",…}` and plain text.

use crate::{
    clients::{ProviderError, excerpt, http::Answer},
    job::ErrorClass,
};
use http::StatusCode;
use serde_json::Value;

/// Money or quota is gone; waiting a minute does not bring it back.
const QUOTA_CODES: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "billing_hard_limit_reached",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
];
/// The input is longer than the model takes.
const TOO_LONG_CODES: [&str; 2] = ["context_length_exceeded", "string_above_max_length"];
const RATE_CODES: [&str; 4] = ["rate_limit_exceeded", "requests", "tokens", "rate_limit_error"];
const AUTH_CODES: [&str; 4] = ["invalid_api_key", "authentication_error", "permission_error", "invalid_authentication"];
const INVALID_CODES: [&str; 3] = ["invalid_request_error", "model_not_found", "content_filter"];

/// The amount of a foreign sentence that is kept.
const MESSAGE_BYTES: usize = 400;

/// The members of an error, whichever are there.
#[derive(Debug, Default)]
struct Said {
    message: String,
    code: Option<String>,
    /// `type` says the same as `code` in wider words, and on some servers it is the only one.
    kind: Option<String>,
    /// A numeric `code` is an HTTP status (OpenRouter, Gemini).
    status: Option<StatusCode>,
}

impl Said {
    fn of(error: &Value) -> Self {
        let text = |member: &str| error.get(member).and_then(Value::as_str).map(str::to_owned);
        Self {
            message: text("message").or_else(|| error.as_str().map(str::to_owned)).unwrap_or_default(),
            code: text("code"),
            kind: text("type"),
            status: error
                .get("code")
                .and_then(Value::as_u64)
                .and_then(|n| u16::try_from(n).ok())
                .and_then(|n| StatusCode::from_u16(n).ok()),
        }
    }

    fn in_body(body: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<Value>(body) else {
            return Self { message: String::from_utf8_lossy(body).into_owned(), ..Self::default() };
        };
        let first = json.get(0).unwrap_or(&json);
        Self::of(first.get("error").unwrap_or(first))
    }

    fn is_one_of(&self, codes: &[&str]) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|code| codes.contains(&code.as_str()))
    }

    /// The most exact stable word there is.
    fn code(&self, status: StatusCode) -> String {
        let word =
            |code: &&String| (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        self.code.as_ref().or(self.kind.as_ref()).filter(word).cloned().unwrap_or_else(|| format!("http_{}", status.as_u16()))
    }
}

/// An answer with another status than 2xx.
pub(super) fn of_status(answer: &Answer) -> ProviderError {
    classify(answer.status, &Said::in_body(&answer.body)).after(answer.retry_after)
}

/// A 200 that holds an `error` instead of choices, which happens when generation fails midway.
pub(super) fn in_success(error: &Value, answer: &Answer) -> ProviderError {
    let said = Said::of(error);
    let status = said.status.unwrap_or_else(|| implied_status(&said));
    classify(status, &said).after(answer.retry_after)
}

fn implied_status(said: &Said) -> StatusCode {
    if said.is_one_of(&RATE_CODES) || said.is_one_of(&QUOTA_CODES) {
        StatusCode::TOO_MANY_REQUESTS
    } else if said.is_one_of(&AUTH_CODES) {
        StatusCode::UNAUTHORIZED
    } else if said.is_one_of(&TOO_LONG_CODES) || said.is_one_of(&INVALID_CODES) {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::BAD_GATEWAY
    }
}

fn classify(status: StatusCode, said: &Said) -> ProviderError {
    let class = class(status, said);
    let message = match excerpt(said.message.trim(), MESSAGE_BYTES) {
        text if text.is_empty() => format!("the provider answered {} without a reason", status.as_u16()),
        text => format!("the provider answered {}: {text}", status.as_u16()),
    };
    let error = ProviderError::new(class, said.code(status), message);
    if status == StatusCode::TOO_MANY_REQUESTS && class == ErrorClass::Retry { error.throttled() } else { error }
}

fn class(status: StatusCode, said: &Said) -> ErrorClass {
    match status.as_u16() {
        402 => ErrorClass::Quota,
        429 if said.is_one_of(&QUOTA_CODES) => ErrorClass::Quota,
        408 | 409 | 429 | 500.. => ErrorClass::Retry,
        401 | 403 => ErrorClass::Auth,
        // A redirect means that the base URL is not the server's; only an operator can put that right.
        300..=399 => ErrorClass::Auth,
        _ => ErrorClass::Permanent,
    }
}
