//! Memory for request bodies, in two budgets that cannot starve each other. Callers who showed their token reserve what they
//! declare and wait their turn. Webhooks are read before anybody knows who sends them, so they have a budget of their own, and
//! of it they hold what has arrived and never what was announced.

use super::Problem;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to this size are not counted: a thousand connections of them are 64 MiB.
const UNCOUNTED_BYTES: usize = 64 << 10;

/// What a body holds of a budget, for as long as it lives.
pub(super) type Share = Option<OwnedSemaphorePermit>;

/// The budget of known callers.
pub(super) struct Budget {
    pool: Pool,
}

/// Counted in KiB, so that it fits a semaphore.
struct Pool {
    free_kib: Arc<Semaphore>,
    whole_kib: u32,
}

impl Pool {
    fn new(bytes: usize) -> Self {
        let whole_kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 4);
        Self { free_kib: Arc::new(Semaphore::new(whole_kib as usize)), whole_kib }
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.whole_kib);
        Arc::clone(&self.free_kib).acquire_many_owned(kib).await.map_err(|_| closing())
    }
}

fn closing() -> Problem {
    Problem::unavailable("closing", "the daemon is closing; try again")
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self { pool: Pool::new(bytes) }
    }

    /// Room for a body of `bytes`, once others have left it.
    pub async fn whole(&self, bytes: usize) -> Result<Share, Problem> {
        if bytes <= UNCOUNTED_BYTES { Ok(None) } else { self.pool.take(bytes).await.map(Some) }
    }
}

/// The budget of senders whom nobody knows yet.
pub(super) struct HookBudget {
    pool: Pool,
    /// Bodies that each hold a part and wait for more would wait for each other. One at a time goes on beside the pool, so
    /// there is always one that ends and gives back what it holds.
    beside: Arc<Semaphore>,
}

impl HookBudget {
    pub fn new(bytes: usize) -> Self {
        Self { pool: Pool::new(bytes), beside: Arc::new(Semaphore::new(1)) }
    }

    pub const fn growing(&self) -> Growing<'_> {
        Growing { budget: self, room: UNCOUNTED_BYTES, held: None, beside: None }
    }
}

/// The part of the hooks' budget that one body holds so far.
pub(super) struct Growing<'b> {
    budget: &'b HookBudget,
    /// Bytes that may be in memory.
    room: usize,
    held: Share,
    beside: Share,
}

impl Growing<'_> {
    pub const fn room(&self) -> usize {
        self.room
    }

    /// Waits until there is room for a body of `bytes`. Room grows by doubling, up to `limit`, so that it is asked for rarely.
    pub async fn reach(&mut self, bytes: usize, limit: usize) -> Result<(), Problem> {
        if bytes <= self.room || self.beside.is_some() {
            self.room = self.room.max(bytes);
            return Ok(());
        }
        let room = bytes.max(self.room * 2).min(limit.max(bytes));
        tokio::select! {
            biased;
            more = self.budget.pool.take(room - self.room) => match &mut self.held {
                Some(held) => held.merge(more?),
                none => *none = Some(more?),
            },
            only = Arc::clone(&self.budget.beside).acquire_owned() => self.beside = Some(only.map_err(|_| closing())?),
        }
        self.room = room;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const LIMIT: usize = 1 << 20;

    #[tokio::test]
    async fn bodies_that_hold_parts_and_want_more_all_end() {
        let budget = HookBudget::new(LIMIT);
        let mut bodies: Vec<_> = (0..16).map(|_| budget.growing()).collect();
        for body in &mut bodies {
            // Each holds a part, and together they hold all there is.
            let _ = body.reach(128 << 10, LIMIT).now_or_never();
        }
        let mut waiting = bodies;
        while !waiting.is_empty() {
            let before = waiting.len();
            // One that gets all it wants is done and gives it back.
            waiting.retain_mut(|body| body.reach(LIMIT, LIMIT).now_or_never().is_none());
            assert!(waiting.len() < before, "{before} bodies wait for each other");
        }
    }

    #[tokio::test]
    async fn a_small_body_never_waits() {
        let budget = HookBudget::new(1024);
        let mut greedy = [budget.growing(), budget.growing()];
        for body in &mut greedy {
            let _ = body.reach(LIMIT, LIMIT).now_or_never();
        }
        let mut small = budget.growing();
        small.reach(UNCOUNTED_BYTES, LIMIT).now_or_never().expect("at once").expect("room");
        assert!(budget.growing().reach(UNCOUNTED_BYTES + 1, LIMIT).now_or_never().is_none(), "what is counted waits");
    }
}
