//! Places for what goes on for long, as an event stream does: so many in all, and fewer for one token, so that none takes them all.

use super::caller::Caller;
use crate::job::TokenId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Cheap to clone: a handle.
#[derive(Clone)]
pub(super) struct Places {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    tokens: HashMap<TokenId, usize>,
}

/// Gives the place back when it is dropped.
pub(super) struct Place {
    places: Places,
    token: Option<TokenId>,
}

impl Places {
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Arc::default() }
    }

    /// None: there is none, or none for this caller's token.
    pub fn take(&self, caller: &Caller) -> Option<Place> {
        self.take_for(caller.token().map(|token| token.id.clone()))
    }

    fn take_for(&self, token: Option<TokenId>) -> Option<Place> {
        let mut taken = self.taken();
        let own = token.as_ref().and_then(|token| taken.tokens.get(token)).copied().unwrap_or(0);
        if taken.all >= self.most || own >= self.most_of_one {
            return None;
        }
        taken.all += 1;
        if let Some(token) = &token {
            taken.tokens.insert(token.clone(), own + 1);
        }
        Some(Place { places: self.clone(), token })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(token) = &self.token
            && let Some(own) = taken.tokens.get_mut(token)
        {
            *own -= 1;
            if *own == 0 {
                taken.tokens.remove(token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each_token_and_come_back() {
        let places = Places::new(5, 2);
        let token = |id: &str| Some(id.repeat(16).parse::<TokenId>().expect("an id"));
        let own: Vec<_> = (0..2).map(|_| places.take_for(token("a")).expect("a place")).collect();
        assert!(places.take_for(token("a")).is_none(), "a third of one token");
        let others = [token("b"), None, None].map(|token| places.take_for(token).expect("a place"));
        assert!(places.take_for(None).is_none(), "all are taken");
        drop(own);
        assert!(places.take_for(token("a")).is_some());
        drop(others);
        assert!(places.taken().all == 0 && places.taken().tokens.is_empty());
    }
}
