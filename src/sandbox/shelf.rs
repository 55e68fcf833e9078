//! Things kept in the order they came, for whoever waits for them or looks back. Bounded: a stand-in that runs for days
//! forgets the oldest, never how many there were.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Enough to reconcile a run of tens of thousands of jobs; at a few hundred bytes each, some tens of MB at worst.
const KEPT: usize = 50_000;

#[derive(Debug)]
pub struct Shelf<T> {
    kept: Mutex<VecDeque<T>>,
    came: watch::Sender<u64>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { kept: Mutex::default(), came: watch::channel(0).0 }
    }
}

impl<T: Clone> Shelf<T> {
    pub(super) fn put(&self, thing: T) {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= KEPT {
                kept.pop_front();
            }
            kept.push_back(thing);
        }
        self.came.send_modify(|came| *came += 1);
    }

    /// Those still kept, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// How many ever came.
    #[must_use]
    pub fn came(&self) -> u64 {
        *self.came.borrow()
    }

    /// Waits until `enough` says so of what is kept, and returns it.
    ///
    /// # Errors
    /// What is there after `within`, when that was not enough.
    pub async fn wait_until(&self, within: Duration, enough: impl Fn(&[T]) -> bool) -> Result<Vec<T>, Vec<T>> {
        let mut came = self.came.subscribe();
        let reached = async {
            loop {
                came.borrow_and_update();
                let all = self.all();
                if enough(&all) {
                    return all;
                }
                // The sender lives as long as the shelf.
                let _ = came.changed().await;
            }
        };
        tokio::time::timeout(within, reached).await.map_err(|_| self.all())
    }

    /// Waits for `count` things.
    ///
    /// # Errors
    /// What is there after `within`, when that was fewer.
    pub async fn wait_for(&self, count: usize, within: Duration) -> Result<Vec<T>, Vec<T>> {
        self.wait_until(within, |all| all.len() >= count).await
    }
}
