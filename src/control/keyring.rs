//! The tokens that the store keeps, known here for a second: who is given one can use it at once, and whose is taken away is out a second later.

use super::Problem;
use crate::{
    clock::Clock,
    job::{ShownToken, Token, TokenId},
    store::{Keys, Store},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq as _;

/// A token that is ended may be used for so long.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Whoever shows one that is not known may have been given it just now, so it is looked for again. Strangers make us look no oftener than this.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What is told apart of those that ended, for the metrics.
const MOST_ENDED: usize = 1000;

#[derive(Clone, Default)]
struct All {
    by_id: BTreeMap<TokenId, Token>,
    is_any: bool,
    /// Those that were good while this daemon runs.
    ended: BTreeSet<TokenId>,
}

/// What a token that is shown turns out to be.
pub(super) enum Found {
    Good(Token),
    Ended,
    Unknown,
}

#[derive(Default)]
pub(super) struct Keyring {
    known: RwLock<Option<(Instant, Arc<All>)>>,
    /// When they last could not be read.
    failed: RwLock<Option<Instant>>,
    /// One at a time reads them.
    reading: tokio::sync::Mutex<()>,
}

impl Keyring {
    /// What the token that is shown is.
    ///
    /// # Errors
    /// When the store has not said yet which there are.
    pub async fn find(&self, shown: &ShownToken, store: &dyn Store, patience: Duration, clock: &Clock) -> Result<Found, Problem> {
        let asked = Instant::now();
        let mut all = self.all(recently(), store, patience).await?;
        if !all.by_id.contains_key(&shown.id) {
            all = self.all(asked, store, patience).await?;
        }
        let Some(token) = all.by_id.get(&shown.id) else {
            return Ok(if all.ended.contains(&shown.id) { Found::Ended } else { Found::Unknown });
        };
        let is_right: bool = token.digest.as_bytes().ct_eq(shown.digest.as_bytes()).into();
        Ok(match (is_right, token.is_live(clock.now())) {
            (true, true) => Found::Good(token.clone()),
            (true, false) => Found::Ended,
            (false, _) => Found::Unknown,
        })
    }

    /// Whether anybody was ever given one.
    ///
    /// # Errors
    /// As [`Keyring::find`].
    pub async fn are_there(&self, store: &dyn Store, patience: Duration) -> Result<bool, Problem> {
        Ok(self.all(recently(), store, patience).await?.is_any)
    }

    /// The token of that id, if it is good still: it was shown before.
    ///
    /// # Errors
    /// As [`Keyring::find`].
    pub async fn live(&self, id: &TokenId, store: &dyn Store, patience: Duration, clock: &Clock) -> Result<Option<Token>, Problem> {
        let all = self.all(recently(), store, patience).await?;
        Ok(all.by_id.get(id).filter(|token| token.is_live(clock.now())).cloned())
    }

    /// As they were read at `since` or later.
    async fn all(&self, since: Instant, store: &dyn Store, patience: Duration) -> Result<Arc<All>, Problem> {
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
        let Ok(Ok(keys)) = tokio::time::timeout(patience, store.keys()).await else {
            *self.failed.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            return self.known().map(|(_, all)| all).ok_or_else(unknown);
        };
        let all = Arc::new(All::after(self.known().map(|(_, all)| all).as_deref(), keys));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((begun, Arc::clone(&all)));
        Ok(all)
    }

    fn known(&self) -> Option<(Instant, Arc<All>)> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_just_failed(&self) -> bool {
        self.failed.read().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < KNOWN_FOR)
    }

    /// What was changed here is in force here at once, even if the store cannot be read just now.
    pub fn note(&self, change: impl FnOnce(&mut BTreeMap<TokenId, Token>)) {
        if let Some((_, all)) = self.known.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let all = Arc::make_mut(all);
            change(&mut all.by_id);
            all.is_any |= !all.by_id.is_empty();
        }
    }
}

impl All {
    fn after(before: Option<&Self>, keys: Keys) -> Self {
        let by_id: BTreeMap<TokenId, Token> = keys.live.into_iter().map(|token| (token.id.clone(), token)).collect();
        let former = before.into_iter().flat_map(|before| before.ended.iter().chain(before.by_id.keys()));
        let ended = former.filter(|id| !by_id.contains_key(id)).take(MOST_ENDED).cloned().collect();
        Self { by_id, is_any: keys.is_any, ended }
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
