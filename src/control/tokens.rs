//! The tokens that the store keeps, known here for a second: who is given one can use it at once, and whose is taken away is out a second later.
//! And `/v1/tokens`, where they are made and ended.

use super::{
    Problem, State, body,
    caller::Caller,
    extract::{Asked, Member},
    wire::{ItemError, TokenAnswer, TokenMade},
};
use crate::{
    clock::Clock,
    job::{Scope, ShownToken, Timestamp, Token, TokenId, TokenRequest},
    store::Store,
};
use axum::{
    Json,
    body::Body,
    extract,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq as _;

/// A token that is ended may be used for so long.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Whoever shows one that is not known may have been given it just now, so it is looked for again. Strangers make us look no oftener than this.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

type ById = Arc<BTreeMap<TokenId, Token>>;

#[derive(Default)]
pub(super) struct Tokens {
    known: RwLock<Option<(Instant, ById)>>,
    /// One at a time reads them.
    reading: tokio::sync::Mutex<()>,
}

impl Tokens {
    /// The live token that is shown.
    ///
    /// # Errors
    /// When the store has not said yet which there are.
    pub async fn find(&self, shown: &ShownToken, store: &dyn Store, patience: Duration, clock: &Clock) -> Result<Option<Token>, Problem> {
        let asked = Instant::now();
        let mut all = self.all(recently(), store, patience).await?;
        if !all.contains_key(&shown.id) {
            all = self.all(asked, store, patience).await?;
        }
        let found = all.get(&shown.id).filter(|token| {
            let is_right: bool = token.digest.as_bytes().ct_eq(shown.digest.as_bytes()).into();
            is_right && token.is_live(clock.now())
        });
        Ok(found.cloned())
    }

    /// Whether anybody has one.
    ///
    /// # Errors
    /// As [`Tokens::find`].
    pub async fn are_there(&self, store: &dyn Store, patience: Duration, clock: &Clock) -> Result<bool, Problem> {
        let now = clock.now();
        Ok(self.all(recently(), store, patience).await?.values().any(|token| token.is_live(now)))
    }

    /// As they were read at `since` or later.
    async fn all(&self, since: Instant, store: &dyn Store, patience: Duration) -> Result<ById, Problem> {
        let fresh = || self.known().filter(|(at, _)| *at >= since).map(|(_, all)| all);
        if let Some(all) = fresh() {
            return Ok(all);
        }
        let _one = self.reading.lock().await;
        if let Some(all) = fresh() {
            return Ok(all);
        }
        if let Some((at, _)) = self.known() {
            tokio::time::sleep(BETWEEN_LOOKS.saturating_sub(at.elapsed())).await;
        }
        let begun = Instant::now();
        let read = tokio::time::timeout(patience, store.tokens()).await;
        let all = match (read, self.known()) {
            (Ok(Ok(tokens)), _) => Arc::new(tokens.into_iter().map(|token| (token.id.clone(), token)).collect()),
            // While the store is away those that were there are; it is asked again after a second, and not by every request.
            (_, Some((_, all))) => all,
            (Ok(Err(error)), None) => return Err(error.into()),
            (Err(_), None) => return Err(Problem::unavailable("store_unavailable", "the store has not said yet who may call; try again")),
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((begun, Arc::clone(&all)));
        Ok(all)
    }

    fn known(&self) -> Option<(Instant, ById)> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was just changed here is read again by the next request.
    fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The time from which on what was read is still good. A machine that was started less than that ago has read nothing.
fn recently() -> Instant {
    let now = Instant::now();
    now.checked_sub(KNOWN_FOR).unwrap_or(now)
}

/// `GET /v1/tokens`, oldest first; those that ended too.
pub(super) async fn list(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<Vec<TokenAnswer>>, Problem> {
    let (mut tokens, now) = (caller.everything(&state)?.tokens().await?, state.clock.now());
    tokens.sort_by_key(|token| token.created_at);
    Ok(Json(tokens.into_iter().map(|token| TokenAnswer::of(token, now)).collect()))
}

/// `POST /v1/tokens`: the answer is the only place where the token itself ever stands.
pub(super) async fn create(
    extract::State(state): extract::State<State>,
    caller: Caller,
    headers: HeaderMap,
    sent: Body,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    let store = caller.everything(&state)?;
    let request: TokenRequest = body::json(&state, &headers, sent).await?;
    let now = state.clock.now();
    request.check(now).map_err(|error| ItemError::new(&error.pointer, error.code, error.message))?;
    if caller.is_this_machine() && !(request.scopes.contains(&Scope::Admin) && request.tenant.is_none()) {
        let sentence =
            "the first token must have the scope `admin` and no tenant: from then on every call needs a token, and others are made with it";
        return Err(Problem::new(StatusCode::CONFLICT, "not_allowed", sentence));
    }
    let actor = caller.actor();
    let (text, token) = Token::make(request, chance()?, now, &actor.name);
    store.put_token(&token, &actor).await?;
    state.tokens().forget();
    Ok((StatusCode::CREATED, Json(TokenMade { token: text, kept: TokenAnswer::of(token, now) })))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ending {
    at: Option<Timestamp>,
}

/// `DELETE /v1/tokens/{id}?at=`: from then on, or from now on, it is worth nothing.
pub(super) async fn revoke(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Member(id): Member,
    Asked(ending): Asked<Ending>,
) -> Result<StatusCode, Problem> {
    let id: TokenId = id.parse().map_err(|_| Problem::bad_request("bad_id", "a token's id is sixteen of 0-9 a-f"))?;
    caller.everything(&state)?.end_token(&id, ending.at.unwrap_or_else(|| state.clock.now()), &caller.actor()).await?;
    state.tokens().forget();
    Ok(StatusCode::NO_CONTENT)
}

fn chance() -> Result<[u8; 40], Problem> {
    crate::secret::chance().map_err(|error| {
        Problem::unavailable("no_randomness", "this machine gives no random numbers; try again").because(error.to_string())
    })
}

impl TokenAnswer {
    pub(crate) fn of(token: Token, now: Timestamp) -> Self {
        let is_live = token.is_live(now);
        let Token { id, name, scopes, tenant, created_at, created_by, expires_at, .. } = token;
        Self { id, name, scopes, tenant, created_at, created_by, expires_at, is_live }
    }
}
