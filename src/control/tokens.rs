//! `/v1/tokens`, where tokens are made and ended. The first is made on the store itself: who can call a port is not yet who runs it.

use super::{
    Problem, State,
    body::Sent,
    caller::Caller,
    coded::Coded,
    extract::{Asked, Member},
    openapi::{Operation, Schemas, Takes},
    wire::{ItemError, TokenAnswer, TokenMade},
};
use crate::job::{Timestamp, Token, TokenId, TokenRequest};
use axum::{
    Json,
    extract::{self, FromRequestParts},
    http::{StatusCode, request::Parts},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// `GET /v1/tokens`, oldest first; those that ended too.
pub(super) async fn list(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<Vec<TokenAnswer>>, Problem> {
    Ok(Json(TokenAnswer::list(caller.everything(&state)?.tokens().await?, state.clock.now())))
}

/// `POST /v1/tokens`: the answer is the only place where the token itself ever stands.
pub(super) async fn create(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Sent(request): Sent<TokenRequest>,
) -> Result<Coded<TokenMade, 201>, Problem> {
    let store = caller.everything(&state)?;
    if caller.is_this_machine() {
        let sentence = "the first token is made with `windlass token create` on the store itself, while no daemon has it where that is SQLite; \
                        or set control.token";
        return Err(Problem::new(StatusCode::FORBIDDEN, "first_token", sentence));
    }
    let now = state.clock.now();
    request.check(now).map_err(|error| ItemError::new(&error.pointer, error.code, error.message))?;
    let actor = caller.actor();
    let (text, token) = Token::make(request, chance()?, now, &actor.name);
    store.put_token(&token, &actor).await?;
    state.keyring().note(|all| _ = all.insert(token.id.clone(), token.clone()));
    Ok(Coded(StatusCode::CREATED, TokenMade { token: text, kept: TokenAnswer::of(token, now) }))
}

/// Ninety days in which an old and a new one are both good is no rotation any more.
const MOST_OVERLAP_MS: u64 = 90 * 24 * 3_600_000;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ending {
    /// From then on; at most 90 days.
    #[schemars(range(max = 7_776_000_000_u64))]
    after_ms: u64,
}

/// The token of the path.
pub(super) struct Ended(TokenId);

impl<S: Send + Sync> FromRequestParts<S> for Ended {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Member(text) = Member::from_request_parts(parts, state).await?;
        text.parse().map(Self).map_err(|_| Problem::bad_request("bad_id", "a token's id is sixteen of 0-9 a-f"))
    }
}

impl Takes for Ended {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.in_path(schemas.sent::<TokenId>());
    }
}

/// `DELETE /v1/tokens/{id}?after_ms=`: from now on, or after a while, it is worth nothing.
pub(super) async fn revoke(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Ended(id): Ended,
    Asked(ending): Asked<Ending>,
) -> Result<StatusCode, Problem> {
    if ending.after_ms > MOST_OVERLAP_MS {
        return Err(Problem::bad_request("out_of_range", format!("after_ms must be 0 to {MOST_OVERLAP_MS}")));
    }
    let end = Token::end(state.clock.now(), Duration::from_millis(ending.after_ms));
    caller.everything(&state)?.end_token(&id, end, &caller.actor()).await?;
    state.keyring().note(|all| {
        if let Some(token) = all.get_mut(&id) {
            token.expires_at = Some(token.expires_at.map_or(end, |sooner| sooner.min(end)));
        }
    });
    Ok(StatusCode::NO_CONTENT)
}

fn chance() -> Result<[u8; 40], Problem> {
    crate::secret::chance().map_err(|error| {
        Problem::unavailable("no_randomness", "this machine gives no random numbers; try again").because(error.to_string())
    })
}

impl TokenAnswer {
    /// Oldest first.
    pub(crate) fn list(mut tokens: Vec<Token>, now: Timestamp) -> Vec<Self> {
        tokens.sort_by_key(|token| token.created_at);
        tokens.into_iter().map(|token| Self::of(token, now)).collect()
    }

    pub(crate) fn of(token: Token, now: Timestamp) -> Self {
        let is_live = token.is_live(now);
        let Token { id, name, scopes, tenant, created_at, created_by, expires_at, .. } = token;
        Self { id, name, scopes, tenant, created_at, created_by, expires_at, is_live }
    }
}
