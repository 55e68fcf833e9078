//! `/v1/session`: what a browser shows in place of a token. Whoever shows a token gets a cookie for it, and is from then on taken for whoever
//! holds it: each request asks the keyring again, so a session ends with its token. Sessions live in this process; a restart asks for the
//! token again.

mod cookie;
mod open;

pub(super) use open::{Sessions, Ticket};

use super::{
    Problem, State,
    auth::{self, Asked},
    body,
    caller::Caller,
    connection::Peer,
    wire::{SessionAnswer, SessionRequest},
};
use crate::{
    job::{Scope, Timestamp},
    secret,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{self, Request},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use std::time::Duration;

/// A working day with its night: whoever is on call shows the token once a shift.
const LASTS: Duration = Duration::from_secs(12 * 3600);
/// A token is 90 bytes, and whoever sends this is nobody yet.
const BODY_BYTES: usize = 4 << 10;

/// Whose session this request shows; None when it shows none that is open.
///
/// # Errors
/// When a browser sends it for a page that is not ours.
pub(super) async fn caller(state: &State, asked: Asked<'_>, peer: Peer) -> Result<Option<Caller>, Problem> {
    let Some(ticket) = cookie::shown(asked.headers, is_over_tls(state, asked)) else { return Ok(None) };
    let Some(holder) = state.sessions.find(ticket, asked.host(), state.clock.now()) else { return Ok(None) };
    cookie::comes_from_our_page(asked)?;
    let holds = auth::still_holds(state, &holder, peer).await?;
    if holds.is_none() {
        state.sessions.end(ticket);
    }
    Ok(holds.map(|caller| caller.by_session(ticket)))
}

/// `POST /v1/session`: `{"token":"…"}` for a cookie.
pub(super) async fn begin(
    extract::State(state): extract::State<State>,
    Extension(peer): Extension<Peer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Problem> {
    let asked = Asked { method: &method, uri: &uri, headers: &headers };
    auth::within_bounds(&state, peer)?;
    cookie::is_not_of_another_site(asked)?;
    let request = read(&state, &headers, sent).await?;
    let (holder, caller) = auth::holder(&state, &request.token, peer).await?;
    auth::spend(&state, &caller)?;
    let now = state.clock.now();
    let end = now.plus(LASTS);
    let until = caller.token().and_then(|token| token.expires_at).map_or(end, |sooner| sooner.min(end));
    let secret: [u8; 32] = chance()?;
    let ticket = state.sessions.begin(&secret, holder, asked.host(), now, until);
    let answer = SessionAnswer::of(&caller.by_session(ticket), Some(until));
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie::given(&secret, until.since(now), is_over_tls(&state, asked)))], Json(answer))
        .into_response())
}

fn is_over_tls(state: &State, asked: Asked<'_>) -> bool {
    state.in_force().tls.is_some() || asked.is_said_to_be_over_tls()
}

async fn read(state: &State, headers: &HeaderMap, sent: Body) -> Result<SessionRequest, Problem> {
    let form = body::form(headers).map_err(|problem| problem.closing())?;
    if form != body::Form::Json {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "send application/json").closing());
    }
    let read = body::read(state, headers, sent, BODY_BYTES).await?;
    // What was sent is a secret, and serde's own sentence might repeat it.
    serde_json::from_slice(&read.bytes).map_err(|_| Problem::bad_request("invalid", "send {\"token\":\"windlass_…\"}"))
}

fn chance() -> Result<[u8; 32], Problem> {
    let chance = secret::chance().map_err(|error| {
        Problem::unavailable("no_randomness", "this machine gives no random numbers; try again").because(error.to_string())
    })?;
    let mut secret = [0; 32];
    secret.copy_from_slice(&chance[..32]);
    Ok(secret)
}

/// `GET /v1/session`: who this is, and what it may do.
pub(super) async fn show(
    extract::State(state): extract::State<State>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<SessionAnswer>, Problem> {
    let (parts, _) = request.into_parts();
    let caller = auth::anybody(&state, Asked { method: &parts.method, uri: &parts.uri, headers: &parts.headers }, peer).await?;
    let until = caller.session().and_then(|ticket| state.sessions.until(ticket));
    let until = until.or_else(|| caller.token().and_then(|token| token.expires_at));
    Ok(Json(SessionAnswer::of(&caller, until)))
}

/// `DELETE /v1/session`: the cookie is worth nothing any more, here and in the browser.
pub(super) async fn end(extract::State(state): extract::State<State>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let asked = Asked { method: &parts.method, uri: &parts.uri, headers: &parts.headers };
    if let Some(ticket) = cookie::shown(asked.headers, is_over_tls(&state, asked)) {
        cookie::comes_from_our_page(asked)?;
        state.sessions.end(ticket);
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie::taken_back(is_over_tls(&state, asked)))]).into_response())
}

impl SessionAnswer {
    fn of(caller: &Caller, expires_at: Option<Timestamp>) -> Self {
        let shown = match (caller.session(), caller.is_this_machine()) {
            (Some(_), _) => "session",
            (None, true) => "nothing",
            (None, false) => "token",
        };
        let scopes = Scope::ALL.into_iter().filter(|scope| caller.may(*scope)).collect();
        Self { name: caller.name().into(), scopes, tenant: caller.tenant().cloned(), expires_at, shown: shown.into() }
    }
}
