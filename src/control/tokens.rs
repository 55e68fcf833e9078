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
    job::{ShownToken, Timestamp, Token, TokenId, TokenRequest},
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
    /// When they could not be read, though nothing is known of them.
    failed: RwLock<Option<Instant>>,
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

    /// Whether anybody was ever given one.
    ///
    /// # Errors
    /// As [`Tokens::find`].
    pub async fn are_there(&self, store: &dyn Store, patience: Duration) -> Result<bool, Problem> {
        Ok(!self.all(recently(), store, patience).await?.is_empty())
    }

    /// Whether a token that was good when a long call began is so still.
    pub async fn is_still_good(&self, token: &Token, store: &dyn Store, patience: Duration, clock: &Clock) -> bool {
        let all = self.all(recently(), store, patience).await;
        all.is_ok_and(|all| all.get(&token.id).is_some_and(|token| token.is_live(clock.now())))
    }

    /// As they were read at `since` or later.
    async fn all(&self, since: Instant, store: &dyn Store, patience: Duration) -> Result<ById, Problem> {
        let said = || match self.known() {
            Some((at, all)) if at >= since => Some(Ok(all)),
            // While the store is away those that were there are; it is asked again after a second, and not by every request.
            known if self.has_just_failed() => Some(known.map(|(_, all)| all).ok_or_else(unknown)),
            _ => None,
        };
        if let Some(answer) = said() {
            return answer;
        }
        let _one = self.reading.lock().await;
        if let Some(answer) = said() {
            return answer;
        }
        if let Some((at, _)) = self.known() {
            tokio::time::sleep(BETWEEN_LOOKS.saturating_sub(at.elapsed())).await;
        }
        let begun = Instant::now();
        let Ok(Ok(tokens)) = tokio::time::timeout(patience, store.tokens()).await else {
            *self.failed.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            return self.known().map(|(_, all)| all).ok_or_else(unknown);
        };
        let all: ById = Arc::new(tokens.into_iter().map(|token| (token.id.clone(), token)).collect());
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((begun, Arc::clone(&all)));
        Ok(all)
    }

    fn known(&self) -> Option<(Instant, ById)> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_just_failed(&self) -> bool {
        self.failed.read().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < KNOWN_FOR)
    }

    /// What was changed here is in force here at once, even if the store cannot be read just now.
    fn note(&self, change: impl FnOnce(&mut BTreeMap<TokenId, Token>)) {
        if let Some((_, all)) = self.known.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            change(Arc::make_mut(all));
        }
    }
}

fn unknown() -> Problem {
    Problem::unavailable("store_unavailable", "the store has not said yet who may call; try again")
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
    if caller.is_this_machine() {
        let sentence = "the first token is made with `windlass token create` on the store itself, while no daemon has it where that is SQLite; or set control.token";
        return Err(Problem::new(StatusCode::FORBIDDEN, "first_token", sentence));
    }
    let actor = caller.actor();
    let (text, token) = Token::make(request, chance()?, now, &actor.name);
    store.put_token(&token, &actor).await?;
    state.tokens().note(|all| _ = all.insert(token.id.clone(), token.clone()));
    Ok((StatusCode::CREATED, Json(TokenMade { token: text, kept: TokenAnswer::of(token, now) })))
}

/// Ninety days in which an old and a new one are both good is no rotation any more.
const MOST_OVERLAP_MS: u64 = 90 * 24 * 3_600_000;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ending {
    after_ms: u64,
}

/// `DELETE /v1/tokens/{id}?after_ms=`: from now on, or after a while, it is worth nothing.
pub(super) async fn revoke(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Member(id): Member,
    Asked(ending): Asked<Ending>,
) -> Result<StatusCode, Problem> {
    let id: TokenId = id.parse().map_err(|_| Problem::bad_request("bad_id", "a token's id is sixteen of 0-9 a-f"))?;
    if ending.after_ms > MOST_OVERLAP_MS {
        return Err(Problem::bad_request("out_of_range", format!("after_ms must be 0 to {MOST_OVERLAP_MS}")));
    }
    let end = Token::end(state.clock.now(), Duration::from_millis(ending.after_ms));
    caller.everything(&state)?.end_token(&id, end, &caller.actor()).await?;
    state.tokens().note(|all| {
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
    pub(crate) fn of(token: Token, now: Timestamp) -> Self {
        let is_live = token.is_live(now);
        let Token { id, name, scopes, tenant, created_at, created_by, expires_at, .. } = token;
        Self { id, name, scopes, tenant, created_at, created_by, expires_at, is_live }
    }
}
