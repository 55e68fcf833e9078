//! Reading request bodies within bounds: of size, declared and counted; of time, between chunks and over all; and of the
//! memory that all bodies together may take (`memory.rs`). What is refused is refused before it is buffered.

use super::{
    Problem, State,
    memory::{Growing, Share},
};
use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use std::{marker::PhantomData, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// A body that does not come in one piece begins with so much room, and doubles it.
const FIRST_ROOM_BYTES: usize = 64 << 10;

/// Of a refused body so much is still read and thrown away, so long: a client that writes all before it reads would see a reset
/// connection instead of our answer. Beyond that it may see the reset.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Bodies of the administrative calls: a reason, a filter, one schedule with its envelope.
const SMALL_BYTES: usize = 2 << 20;

/// A JSON body of at most `MOST` bytes.
pub(super) struct Sent<T, const MOST: usize = SMALL_BYTES>(pub T);

impl<T: DeserializeOwned, const MOST: usize> FromRequest<State> for Sent<T, MOST> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        parse(&read(state, &parts.headers, body, MOST).await?.bytes).map(Self)
    }
}

/// A JSON body of at most `control.max_body_bytes`, which whoever takes it reads by itself as a `T`.
pub(super) struct SentText<T> {
    pub text: Buffered,
    is: PhantomData<T>,
}

impl<T: Send> FromRequest<State> for SentText<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        let text = read(state, &parts.headers, body, state.in_force().config.max_body_bytes).await?;
        Ok(Self { text, is: PhantomData })
    }
}

/// The same as [`Sent`], or no body at all, which is `T`'s default.
pub(super) struct SentIfAny<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<State> for SentIfAny<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        not_encoded(&parts.headers)?;
        let read = read(state, &parts.headers, body, SMALL_BYTES).await?;
        if read.bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        is_json(&parts.headers)?;
        parse(&read.bytes).map(Self)
    }
}

/// A body in memory, with its share of the budget for as long as it lives.
#[derive(Debug)]
pub(super) struct Buffered {
    pub bytes: Bytes,
    pub share: Share,
}

/// The whole body of a known caller, at most `limit` bytes of it.
///
/// # Errors
/// 413 by the declared length or by the counted bytes; 408 when the sender is too slow; 400 when it ends early.
pub(super) async fn read(state: &State, headers: &HeaderMap, body: Body, limit: usize) -> Result<Buffered, Problem> {
    let body = not_declared_larger(headers, body, limit)?;
    let mut stream = body.into_data_stream();
    let expected = declared_length(headers).map_or(limit, |length| usize::try_from(length).unwrap_or(limit));
    let share = state.body_budget.whole(expected).await?;
    let idle = state.in_force().config.idle_deadline();
    let first = next_chunk(&mut stream, idle).await?.unwrap_or_default();
    let Some(second) = next_chunk(&mut stream, idle).await? else {
        return if first.len() > limit { Err(too_large(limit as u64)) } else { Ok(Buffered { bytes: first, share }) };
    };
    let mut whole = BytesMut::with_capacity(expected.min(limit).min(first.len().saturating_mul(4).max(FIRST_ROOM_BYTES)));
    whole.extend_from_slice(&first);
    let mut chunk = Some(second);
    while let Some(bytes) = chunk {
        if whole.len() + bytes.len() > limit {
            drain(stream, headers);
            return Err(too_large(limit as u64));
        }
        whole.extend_from_slice(&bytes);
        chunk = next_chunk(&mut stream, idle).await?;
    }
    Ok(Buffered { bytes: whole.freeze(), share })
}

/// The whole body of a sender whom nobody knows yet, at most `limit` bytes of it, all of them here by `deadline`. Its memory is
/// reserved as it arrives; the second half of the answer holds it.
///
/// # Errors
/// As [`read`]; 503 when there was no memory for it in time.
pub(super) async fn read_unknown<'s>(
    state: &'s State,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    deadline: Instant,
) -> Result<(Bytes, Growing<'s>), Problem> {
    let idle = state.in_force().config.idle_deadline();
    let mut stream = body.into_data_stream();
    let mut memory = state.hook_budget.growing();
    let mut whole = BytesMut::new();
    loop {
        let chunk =
            timeout_at(deadline, next_chunk(&mut stream, idle)).await.map_err(|_| too_slow("the body did not arrive in time"))??;
        let Some(bytes) = chunk else { return Ok((whole.freeze(), memory)) };
        let length = whole.len() + bytes.len();
        if length > limit {
            drain(stream, headers);
            return Err(too_large(limit as u64));
        }
        timeout_at(deadline, memory.reach(length, limit)).await.map_err(|_| no_memory())??;
        if length > whole.capacity() {
            // No more than what is reserved, and no more than is needed for a body that comes in one piece.
            let room = if whole.is_empty() { length } else { memory.room().min(length * 2) };
            whole.reserve(room - whole.len());
        }
        whole.extend_from_slice(&bytes);
    }
}

/// # Errors
/// 413 for a body that says itself that it is too large.
pub(super) fn not_declared_larger(headers: &HeaderMap, body: Body, limit: usize) -> Result<Body, Problem> {
    match declared_length(headers) {
        Some(length) if length > limit as u64 => Err(refuse(body, headers, too_large(limit as u64))),
        _ => Ok(body),
    }
}

fn too_slow(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", why).closing()
}

fn no_memory() -> Problem {
    Problem::unavailable("busy", "too many large bodies at once; try again").closing()
}

/// The next piece of a body; None at its end.
///
/// # Errors
/// 408 after `idle` of silence; 400 when the sender went away or broke the framing.
pub(super) async fn next_chunk(stream: &mut BodyDataStream, idle: Duration) -> Result<Option<Bytes>, Problem> {
    match timeout(idle, stream.next()).await {
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(None) => Ok(None),
        Ok(Some(Err(_))) => Err(Problem::bad_request("body_ended_early", "the body ended before it was complete").closing()),
        Err(_) => Err(too_slow(format!("nothing of the body arrived for {} ms; send it without pauses", idle.as_millis()))),
    }
}

pub(super) fn too_large(limit: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body is larger than {limit} bytes; send fewer jobs a call, or NDJSON with ?partial=true"),
    )
}

pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Refuses a request without having read its body.
pub(super) fn refuse(body: Body, headers: &HeaderMap, problem: Problem) -> Problem {
    drain(body.into_data_stream(), headers);
    problem
}

/// Throws the rest of a refused body away in the background. A client that asked first (`Expect: 100-continue`) has not begun.
fn drain(mut stream: BodyDataStream, headers: &HeaderMap) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    tokio::spawn(timeout(DRAIN_TIME, async move {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(bytes)) = stream.next().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    }));
}

/// What the body is said to be. Compressed bodies are refused: sixteen kilobytes of them can hold half a gigabyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Ndjson,
}

/// # Errors
/// 415 with what to send instead.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    not_encoded(headers)?;
    let unsupported = |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = given.split_once(';').unwrap_or((given, ""));
    let foreign_charset = parameters
        .split(';')
        .filter_map(|p| p.split_once('='))
        .any(|(name, value)| name.trim().eq_ignore_ascii_case("charset") && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"));
    if foreign_charset {
        return Err(unsupported("send JSON in UTF-8".into()));
    }
    let essence = essence.trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(Form::Json)
    } else if ["application/x-ndjson", "application/ndjson", "application/jsonl"].iter().any(|name| essence.eq_ignore_ascii_case(name)) {
        Ok(Form::Ndjson)
    } else {
        let shown: String = given.chars().take(80).collect();
        Err(unsupported(format!("content-type {shown:?} is not taken; send application/json, or application/x-ndjson for bulk")))
    }
}

pub(super) fn not_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            "compressed bodies are not taken; send the body as it is, without Content-Encoding",
        )),
        _ => Ok(()),
    }
}

/// # Errors
/// 415 with what to send instead.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    match form(headers)? {
        Form::Json => Ok(()),
        Form::Ndjson => Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "send application/json")),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde_json itself stops at 128 levels, so a nesting bomb ends here as a sentence.
    serde_json::from_slice(bytes).map_err(|error| {
        let code = match error.classify() {
            // What serde says of a member that is not in a struct; it has no kind of its own.
            serde_json::error::Category::Data if error.to_string().starts_with("unknown field") => "unknown_member",
            serde_json::error::Category::Data => "wrong_type",
            _ => "not_json",
        };
        Problem::invalid(vec![super::wire::ItemError::new("", code, error.to_string())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a header name"), value.parse().expect("a header value"))).collect()
    }

    #[test]
    fn json_and_ndjson_are_told_apart_and_everything_else_is_refused() {
        for (given, is) in [
            ("application/json", Form::Json),
            ("Application/JSON; charset=UTF-8", Form::Json),
            ("application/json;charset=\"utf-8\"", Form::Json),
            ("application/x-ndjson", Form::Ndjson),
        ] {
            assert_eq!(form(&headers(&[("content-type", given)])).expect(given), is, "{given}");
        }
        for given in ["", "text/plain", "application/json5", "application/json; charset=utf-16", "application/x-www-form-urlencoded"] {
            let problem = form(&headers(&[("content-type", given)])).expect_err(given);
            assert_eq!(problem.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{given}");
        }
    }

    #[test]
    fn a_compressed_body_is_refused_whatever_its_type() {
        for encoding in ["gzip", "br", "zstd", "deflate", "identity, gzip"] {
            let problem = form(&headers(&[("content-type", "application/json"), ("content-encoding", encoding)])).expect_err(encoding);
            assert_eq!(problem.code(), "unsupported_encoding");
        }
    }
}
