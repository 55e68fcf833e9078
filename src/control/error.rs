//! What the control port says when it refuses: RFC 9457 `application/problem+json` with a stable `code`. The inside story of a
//! failure (file names, driver texts) goes to the log under the `instance` id, never into an answer.

use super::wire::{ItemError, ProblemDocument};
use crate::{job::InvalidEnvelope, store};
use axum::{
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use uuid::Uuid;

/// What a client waits before it asks a store again that was away: outages end in seconds or last for minutes, and a second
/// of waiting keeps a thousand clients from being the next outage.
const RETRY_AFTER_SECS: u32 = 1;

/// A refusal on its way out.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<ItemError>,
    retry_after_secs: Option<u32>,
    /// For the log only.
    inside: Option<String>,
    closes: bool,
}

/// Rides on a 5xx answer to the one place that logs failures.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub instance: Uuid,
    pub story: String,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after_secs: None, inside: None, closes: false }
    }

    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} does not exist"))
    }

    /// One or more parts of the input break a rule, each named.
    pub fn invalid(errors: Vec<ItemError>) -> Self {
        let too_large = !errors.is_empty() && errors.iter().all(|e| e.code == "too_large" && e.pointer.ends_with("/payload"));
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.message),
            many => format!("{} items are invalid; nothing was written", many.len()),
        };
        let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        Self { errors, ..Self::new(status, "invalid", detail) }
    }

    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after_secs: Some(RETRY_AFTER_SECS), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// Keeps `story` for the log; the caller sees only the id under which it stands there.
    #[must_use]
    pub fn because(mut self, story: impl Into<String>) -> Self {
        self.inside = Some(story.into());
        self
    }

    /// The connection cannot be used again, because what is left of the request on it was not read.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<InvalidEnvelope> for Problem {
    fn from(error: InvalidEnvelope) -> Self {
        Self::invalid(vec![ItemError::from(error)])
    }
}

/// What each of the store's errors means to a caller.
impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        use store::Error;
        match error {
            Error::Unavailable(story) => {
                Self::unavailable("store_unavailable", "the store cannot take the call just now; nothing was written, try again").because(story)
            }
            Error::Unknown(story) => Self::unavailable(
                "outcome_unknown",
                "the store's answer was lost, so this may or may not have happened; ask again with the same id or Idempotency-Key",
            )
            .because(story),
            Error::Invalid { index, error } => Self::invalid(vec![ItemError::at(index, error)]),
            Error::Duplicate { index, .. } | Error::Conflict { index, .. } => {
                let item = ItemError::of(&error, index);
                let code = item.code.clone();
                let code = if code == "duplicate" { "duplicate" } else { "conflict" };
                Self { errors: vec![item], ..Self::new(StatusCode::CONFLICT, code, unindexed(&error)) }
            }
            Error::NotFound { what } => Self::not_found(what),
            Error::NotAllowed(why) => Self::new(StatusCode::CONFLICT, "not_allowed", why),
            Error::Corrupt(story) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "store_damaged",
                "the stored data is damaged; an operator must look at the daemon's log",
            )
            .because(story),
            Error::Refused(story) => {
                Self::unavailable("store_refused", "the store refuses this daemon; an operator must look at the daemon's log").because(story)
            }
        }
    }
}

/// The sentence of an item's error without its place, which the answer names in a member of its own.
pub(super) fn unindexed(error: &store::Error) -> String {
    match error {
        store::Error::Duplicate { holder, .. } => format!("the unique key is held by job {holder}"),
        store::Error::Conflict { id, .. } => format!("job {id} exists with another body; use a fresh id or idempotency key"),
        store::Error::Invalid { error, .. } => error.message.clone(),
        other => other.label().to_owned(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let instance = self.status.is_server_error().then(Uuid::now_v7);
        let document = ProblemDocument {
            r#type: "about:blank".into(),
            title: self.status.canonical_reason().unwrap_or("Error").into(),
            status: self.status.as_u16(),
            code: self.code.into(),
            detail: self.detail,
            instance: instance.map(|id| format!("urn:uuid:{id}")),
            errors: self.errors,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, secs.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"windlass\""));
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let (Some(instance), Some(story)) = (instance, self.inside) {
            response.extensions_mut().insert(Inside { instance, story });
        }
        response
    }
}

pub(super) async fn no_such_route(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(100).collect();
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", format!("there is nothing at {shown}; the routes begin with /v1/"))
}

/// axum adds the `Allow` header.
pub(super) async fn wrong_method(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(100).collect();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", format!("{shown} does not take this method; see the Allow header"))
}
