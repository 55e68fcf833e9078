//! The tokens that the store keeps, known here for a second: who is given one can use it at once, and whose is taken away is out a second later.

use super::Problem;
use crate::{
    clock::Clock,
    job::{ShownToken, Token, TokenId},
    store::Store,
};
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
pub(super) struct Keyring {
    known: RwLock<Option<(Instant, ById)>>,
    /// When they last could not be read.
    failed: RwLock<Option<Instant>>,
    /// One at a time reads them.
    reading: tokio::sync::Mutex<()>,
}

impl Keyring {
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
    /// As [`Keyring::find`].
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
    pub fn note(&self, change: impl FnOnce(&mut BTreeMap<TokenId, Token>)) {
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
