//! An HTTP delivery to somebody's endpoint: what its answer means, and as much of the answer as is kept (reference:
//! providers 4.2). Shared by the kinds that deliver; what is delivered is theirs.

use crate::{
    clients::{
        ProviderError,
        http::{Answer, CallError},
    },
    job::ErrorClass,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use std::collections::BTreeMap;

/// What of an answer's body is kept by default: Svix' cap, enough for any error page's first words.
pub(super) const CAPTURE_BYTES: usize = 20_000;

/// Headers that say something about the answer and nothing about its reader.
const KEPT_HEADERS: [&str; 8] =
    ["content-type", "content-length", "date", "etag", "last-modified", "location", "retry-after", "x-request-id"];

/// The answer as the job's result.
#[derive(Debug, Serialize)]
pub(super) struct Captured {
    pub status: u16,
    pub headers: BTreeMap<&'static str, String>,
    pub body: String,
    /// The body was not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<&'static str>,
    /// There was more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub body_truncated: bool,
}

impl From<&Answer> for Captured {
    fn from(answer: &Answer) -> Self {
        let header = |name: &&'static str| Some((*name, answer.headers.get(*name)?.to_str().ok()?.to_owned()));
        let (body, body_encoding) = text(&answer.body, answer.truncated);
        Self {
            status: answer.status.as_u16(),
            headers: KEPT_HEADERS.iter().filter_map(header).collect(),
            body,
            body_encoding,
            body_truncated: answer.truncated,
        }
    }
}

fn text(body: &[u8], truncated: bool) -> (String, Option<&'static str>) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), None),
        // The cap fell into the middle of a character.
        Err(error) if truncated && error.error_len().is_none() => {
            (String::from_utf8_lossy(&body[..error.valid_up_to()]).into_owned(), None)
        }
        Err(_) => (BASE64_STANDARD.encode(body), Some("base64")),
    }
}

/// Judges a delivery to an endpoint that speaks webhooks: 2xx took it, 410 or a word in the headers says never again, all
/// else is tried again on the schedule, not before `Retry-After`.
pub(super) fn judge_delivery(answer: Result<Answer, CallError>) -> Result<Answer, ProviderError> {
    let answer = answer?;
    let word = answer.headers.get("webhook-delivery").and_then(|value| value.to_str().ok());
    let status = answer.status.as_u16();
    if answer.status.is_success() {
        return Ok(answer);
    }
    let class = if status == 410 || matches!(word, Some("disable" | "abort-message")) { ErrorClass::Permanent } else { ErrorClass::Retry };
    Err(refused(class, &answer))
}

/// An answer that was not the one wanted, with the beginning of what it said.
pub(super) fn refused(class: ErrorClass, answer: &Answer) -> ProviderError {
    let status = answer.status.as_u16();
    let (said, encoding) = text(&answer.body[..answer.body.len().min(300)], true);
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let message = match (encoding, said.trim()) {
        (Some(_), _) | (None, "") => format!("the server answered {status}"),
        (None, said) => format!("the server answered {status}: {said}"),
    };
    ProviderError::new(class, format!("http_{status}"), message).after(answer.retry_after)
}
