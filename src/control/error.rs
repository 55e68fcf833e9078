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

/// As draft-ietf-httpapi-ratelimit-headers names it.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// A refusal on its way out.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<ItemError>,
    /// The bound that was overrun.
    quota: Option<&'static str>,
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
        Self { status, code, detail: detail.into(), errors: Vec::new(), quota: None, retry_after_secs: None, inside: None, closes: false }
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
            [only] => described(only),
            many => format!("{} items are invalid; nothing was written", many.len()),
        };
        let names_others = errors.iter().any(|e| e.code == "other_tenant");
        let status = match (names_others, too_large) {
            (true, _) => StatusCode::FORBIDDEN,
            (_, true) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { errors, ..Self::new(status, "invalid", detail) }
    }

    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after_secs: Some(RETRY_AFTER_SECS), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// The bound `policy` was overrun; later it is not.
    #[must_use]
    pub(super) fn over_quota(mut self, policy: &'static str, retry_after_secs: u32) -> Self {
        (self.quota, self.retry_after_secs) = (Some(policy), Some(retry_after_secs));
        self
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

    /// The call was about one item, so its place in a list of one is not named.
    #[must_use]
    pub(super) fn about_one_item(mut self) -> Self {
        for error in &mut self.errors {
            error.index = None;
            if let Some(within) = error.pointer.strip_prefix("#/0") {
                error.pointer = format!("#{within}");
            }
        }
        if let [only] = self.errors.as_slice() {
            self.detail = described(only);
        }
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

impl From<ItemError> for Problem {
    fn from(error: ItemError) -> Self {
        Self::invalid(vec![error])
    }
}

fn described(error: &ItemError) -> String {
    match error.pointer.as_str() {
        "#" => error.message.clone(),
        pointer => format!("{pointer}: {}", error.message),
    }
}

/// What each of the store's errors means to a caller: the code and the sentence that may leave the house.
pub(super) fn outside(error: &store::Error) -> (&'static str, String) {
    use store::Error;
    match error {
        Error::Unavailable(_) => ("store_unavailable", "the store cannot take the call just now; nothing was written, try again".into()),
        Error::Unknown(_) => (
            "outcome_unknown",
            "the store's answer was lost, so this may or may not have happened; ask again with the same id or Idempotency-Key".into(),
        ),
        Error::Invalid { error, .. } => (error.code, error.message.clone()),
        Error::Duplicate { holder, .. } => ("duplicate", format!("the unique key is held by job {holder}")),
        Error::Conflict { id, .. } => ("conflict", format!("job {id} exists with another body; use a fresh id or idempotency key")),
        Error::NotFound { what } => ("not_found", format!("{what} does not exist")),
        Error::NotAllowed(why) => ("not_allowed", why.clone()),
        Error::Corrupt(_) => ("store_damaged", "the stored data is damaged; an operator must look at the daemon's log".into()),
        Error::Refused(_) => ("store_refused", "the store refuses this daemon; an operator must look at the daemon's log".into()),
    }
}

/// The store's own words, for the log, where they are not for callers.
fn inside(error: store::Error) -> Option<String> {
    use store::Error::{Corrupt, Refused, Unavailable, Unknown};
    match error {
        Unavailable(story) | Unknown(story) | Corrupt(story) | Refused(story) => Some(story),
        _ => None,
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        use store::Error;
        let status = match &error {
            Error::Invalid { index, error } => return Self::invalid(vec![ItemError::at(*index, error.clone())]),
            Error::Unavailable(_) | Error::Unknown(_) | Error::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Duplicate { .. } | Error::Conflict { .. } | Error::NotAllowed(_) => StatusCode::CONFLICT,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Corrupt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let (code, detail) = outside(&error);
        let errors = match &error {
            Error::Duplicate { index, .. } | Error::Conflict { index, .. } => vec![ItemError::of(&error, *index)],
            _ => Vec::new(),
        };
        let retry_after_secs = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_SECS);
        Self { errors, retry_after_secs, inside: inside(error), ..Self::new(status, code, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let instance = self.status.is_server_error().then(Uuid::now_v7);
        let document = ProblemDocument {
            r#type: if self.quota.is_some() { QUOTA_EXCEEDED } else { "about:blank" }.into(),
            title: self.status.canonical_reason().unwrap_or("Error").into(),
            status: self.status.as_u16(),
            code: self.code.into(),
            detail: self.detail,
            instance: instance.map(|id| format!("urn:uuid:{id}")),
            errors: self.errors,
            violated_policies: self.quota.into_iter().map(Into::into).collect(),
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
