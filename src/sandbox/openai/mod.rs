//! The OpenAI-compatible stand-in: `POST /v1/chat/completions`, `GET /v1/models` (reference: providers 1.1, 1.2). The
//! protocol; what a request must look like is `request.rs`', what the answer says is `answer/`'s.

mod reply;
mod request;
mod strict;
mod tokens;

use super::{
    Backstage, Call, Fault, Provider, answer,
    marker::Marker,
    switches::Verdict,
    wire::{self, Scissors},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use chrono::Datelike as _;
use reply::{Reply, Usage};
use request::{Form, Request};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// Well above any context window in bytes, so that too long an input is refused by tokens, as the provider does it.
const BODY_BYTES: usize = 32 << 20;

pub(super) fn routes() -> Router<Arc<Backstage>> {
    Router::new().route("/v1/chat/completions", post(complete)).route("/v1/models", get(models)).layer(DefaultBodyLimit::max(BODY_BYTES))
}

/// An error as the provider words it.
#[derive(Debug)]
struct ApiError {
    status: u16,
    kind: &'static str,
    code: Option<String>,
    param: Option<&'static str>,
    message: String,
    retry_after_secs: Option<u64>,
}

impl ApiError {
    fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        let kind = "invalid_request_error";
        Self { status: 400, kind, code: None, param: Some(param), message: message.into(), retry_after_secs: None }
    }

    fn coded(status: u16, kind: &'static str, code: &str, message: impl Into<String>) -> Self {
        Self { status, kind, code: Some(code.to_owned()), param: None, message: message.into(), retry_after_secs: None }
    }

    /// The body that goes with a scripted status.
    fn scripted(status: u16, code: Option<String>, retry_after_secs: Option<u64>) -> Self {
        let (kind, usual, message) = match status {
            401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided."),
            402 => ("insufficient_quota", Some("insufficient_quota"), "Payment is required."),
            404 => ("invalid_request_error", Some("model_not_found"), "The model does not exist."),
            429 => ("requests", Some("rate_limit_exceeded"), "Rate limit reached. Please try again later."),
            400..=499 => ("invalid_request_error", None, "The request was not accepted."),
            503 | 529 => ("server_error", Some("overloaded"), "The engine is currently overloaded, please try again later."),
            _ => ("server_error", None, "The server had an error while processing your request."),
        };
        let code = code.or_else(|| usual.map(str::to_owned));
        Self { status, kind, code, param: None, message: message.to_owned(), retry_after_secs }
    }

    fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }

    fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        if let Some(secs) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}

async fn models(State(backstage): State<Arc<Backstage>>, headers: HeaderMap) -> Response {
    if let Err(error) = check_key(&backstage, &headers) {
        return error.response();
    }
    let names =
        if backstage.config.openai_models.is_empty() { vec!["sandbox-small".to_owned()] } else { backstage.config.openai_models.clone() };
    let models: Vec<Value> = names.iter().map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": "sandbox"})).collect();
    Json(json!({"object": "list", "data": models})).into_response()
}

async fn complete(
    State(backstage): State<Arc<Backstage>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (marker, request) = match check_key(&backstage, &headers).and_then(|()| Request::read(&body, &backstage.config)) {
        Ok(request) => {
            let (marker, data) = Marker::in_text(&request.data);
            (marker, Ok(Request { data, ..request }))
        }
        Err(error) => (None, Err(error)),
    };
    let subject = request.as_ref().map_or("", |request| request.data.as_str()).to_owned();
    let verdict = if request.is_ok() { backstage.switches.judge(Provider::OpenAi, &subject, marker.as_ref()) } else { Verdict::default() };
    tokio::time::sleep(verdict.delay).await;
    let served = serve(&backstage, &verdict, request).await;
    let id = served.id.clone();
    let mut call = Call::new(backstage.clock.now(), Provider::OpenAi, &id, &subject, served.response.status().as_u16());
    call.fault = verdict.name();
    if matches!(verdict.fault, Some(Fault::Hang { .. } | Fault::Reset)) {
        call.status = 0;
    }
    (call.input_tokens, call.output_tokens) = (served.usage.input, served.usage.output);
    backstage.calls.add(call);
    wire::play(verdict.fault.as_ref(), served.response, &scissors, &backstage.closing).await
}

struct Served {
    response: Response,
    id: String,
    /// As billed: nothing for an error.
    usage: Usage,
}

async fn serve(backstage: &Arc<Backstage>, verdict: &Verdict, request: Result<Request, ApiError>) -> Served {
    let id = format!("chatcmpl-{:06}", backstage.calls.list().came() + 1);
    let refused = |error: &ApiError| error.response();
    let unbilled = |response| Served { response, id: id.clone(), usage: Usage::default() };
    let request = match (request, verdict.slow_down, &verdict.fault) {
        (Err(error), _, _) => return unbilled(refused(&error)),
        (_, true, _) => return unbilled(refused(&ApiError::scripted(429, None, Some(1)))),
        (_, _, Some(Fault::Status { status, code, retry_after_secs })) => {
            return unbilled(refused(&ApiError::scripted(*status, code.clone(), *retry_after_secs)));
        }
        (_, _, Some(Fault::ErrorInside { code })) => {
            return unbilled(Json(ApiError::scripted(500, Some(code.clone()), None).body()).into_response());
        }
        (_, _, Some(Fault::Reply { .. })) => return unbilled(refused(&ApiError::scripted(500, None, None))),
        (Ok(request), _, _) => request,
    };
    let fault = verdict.fault.clone();
    let now = backstage.clock.now();
    let work = move || Reply::to(&request, fault.as_ref(), now.to_utc().year());
    // Reading a long text against a wide schema takes milliseconds; a thousand at once must not hold up the sockets.
    match tokio::task::spawn_blocking(work).await {
        Ok(reply) => {
            let usage = reply.usage;
            Served { response: headed(Json(reply.body(&id, now)).into_response(), &id), id, usage }
        }
        Err(_) => unbilled(refused(&ApiError::scripted(500, None, None))),
    }
}

/// The headers by which clients correlate and pace themselves.
fn headed(mut response: Response, id: &str) -> Response {
    let headers = response.headers_mut();
    let request_id = format!("req_{}", id.trim_start_matches("chatcmpl-"));
    headers.extend(request_id.parse().ok().map(|value| (header::HeaderName::from_static("x-request-id"), value)));
    headers.insert("x-ratelimit-limit-requests", 10_000.into());
    headers.insert("x-ratelimit-remaining-requests", 9_999.into());
    headers.insert("x-ratelimit-reset-requests", header::HeaderValue::from_static("6ms"));
    response
}

fn check_key(backstage: &Backstage, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(key) = &backstage.config.openai_key else { return Ok(()) };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    if given == Some(key.expose_secret()) {
        return Ok(());
    }
    let message = if given.is_some() { "Incorrect API key provided." } else { "You didn't provide an API key." };
    Err(ApiError::coded(401, "invalid_request_error", "invalid_api_key", message))
}

/// The text of the answer in the form that was asked for.
fn content(request: &Request, year: i32) -> String {
    match &request.form {
        Form::Schema(schema) | Form::Tool { schema, .. } => answer::answer(&request.data, schema, year).to_string(),
        Form::Object => answer::outline(&request.data, year).to_string(),
        Form::Text => answer::in_words(&request.data),
    }
}
