//! Around every request: its count, its duration, its deadline, the headers that every answer carries, and the one place where
//! a failure is logged. Nothing is logged of a request that went well: at 20,000 a second that would be the daemon's main work.

use super::{Problem, State, error::Inside};
use axum::{
    extract::{self, MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

pub(super) async fn observe(
    extract::State(state): extract::State<State>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let deadline = state.in_force().config.request_deadline();
    // A panic in a handler is a bug; it must cost its own request and not the connection, on which others may wait.
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(deadline, handled).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the daemon failed on this request; this is a bug");
            problem.because(format!("a handler panicked: {method} {route}")).into_response()
        }
        Err(_) => {
            let sentence = "the request took too long, so a write may or may not have happened; ask again with the same id";
            Problem::unavailable("deadline", sentence).because("request_deadline_ms passed").closing().into_response()
        }
    };
    add_headers(response.headers_mut());
    state.metrics.http_requests.with_label_values(&[route, method, status_class(response.status())]).inc();
    state.metrics.http_request_duration.with_label_values(&[route]).observe(started.elapsed().as_secs_f64());
    if let Some(inside) = response.extensions_mut().remove::<Inside>() {
        state.log_gate.log(route, &inside, state.started);
    }
    response
}

/// Answers are data for programs: no browser may sniff or keep them. What has an ETag is a file of the page's, and says itself how long it may
/// be kept.
fn add_headers(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::ETAG) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// A client can invent methods; a label cannot.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        0..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Lets one failure a second through to the log: during an outage of the store every request fails, and a full disk would be
/// the next outage.
#[derive(Default)]
pub(super) struct LogGate {
    /// The second, since start, of the last line, plus one.
    last: AtomicU64,
    held_back: AtomicU64,
}

impl LogGate {
    fn log(&self, route: &str, inside: &Inside, started: Instant) {
        let second = started.elapsed().as_secs() + 1;
        if self.last.swap(second, Ordering::Relaxed) == second {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let more = self.held_back.swap(0, Ordering::Relaxed);
        tracing::warn!(route, instance = %inside.instance, more, "a request failed: {}", inside.story);
    }
}
