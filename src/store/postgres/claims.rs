//! The claims of one daemon: how many leases of each are not ended yet, which are over, and below which there are none, so
//! that a heartbeat does not read what ended long ago.

use crate::job::{Lease, Leased};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Heartbeats for which a lease call whose answer was lost keeps the next ones looking at what it may have granted.
const LOST_FOR: u32 = 12;
/// Every so many heartbeats one looks at all claims: a call may commit later still, and after a failover that lost something
/// epochs go back.
const ALL_EVERY: u32 = 120;

#[derive(Default)]
pub(super) struct Claims(Mutex<State>);

#[derive(Default)]
struct State {
    /// Leases that are not ended yet, by epoch.
    left: BTreeMap<i64, usize>,
    over: Vec<i64>,
    /// The highest epoch that was granted. Epochs come from a sequence: who asks later gets higher ones.
    highest: i64,
    calls: Vec<Call>,
    /// What the next heartbeat looks at begins here.
    since: i64,
    beats: u32,
}

/// A lease call whose answer is not there.
struct Call {
    /// It grants no lower epoch.
    from: i64,
    /// Heartbeats until it is forgotten, once its answer was lost.
    lost_for: Option<u32>,
}

impl State {
    /// Below this every claim is over, and known to be.
    fn floor(&self) -> i64 {
        let left = self.left.keys().next().copied();
        self.calls.iter().map(|call| call.from).chain(left).fold(self.highest + 1, i64::min)
    }

    fn grant(&mut self, epoch: i64) {
        *self.left.entry(epoch).or_default() += 1;
        self.highest = self.highest.max(epoch);
    }
}

/// A lease call under way; dropped without an answer, it may have granted something that nobody here knows of.
pub(super) struct Asking<'a> {
    claims: &'a Claims,
    from: i64,
    is_answered: bool,
}

impl Asking<'_> {
    pub(super) fn answered(mut self, jobs: &[Leased]) {
        self.claims.granted(jobs);
        self.is_answered = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.claims.state();
        let Some(n) = state.calls.iter().position(|call| call.from == self.from && call.lost_for.is_none()) else { return };
        if self.is_answered {
            state.calls.swap_remove(n);
        } else {
            state.calls[n].lost_for = Some(LOST_FOR);
        }
    }
}

/// What one heartbeat looks at.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) from: i64,
    next: i64,
}

impl Claims {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask(&self) -> Asking<'_> {
        let mut state = self.state();
        let from = state.highest + 1;
        state.calls.push(Call { from, lost_for: None });
        Asking { claims: self, from, is_answered: false }
    }

    pub(super) fn granted(&self, jobs: &[Leased]) {
        let mut state = self.state();
        for leased in jobs {
            state.grant(leased.lease.epoch);
        }
    }

    pub(super) fn ended(&self, leases: impl Iterator<Item = Lease>) {
        let mut state = self.state();
        for lease in leases {
            let Some(left) = state.left.get_mut(&lease.epoch) else { continue };
            *left -= 1;
            if *left == 0 {
                state.left.remove(&lease.epoch);
                state.over.push(lease.epoch);
            }
        }
    }

    /// The claims that are over. Those that nobody drops now are dropped by the next heartbeat.
    pub(super) fn take_over(&self) -> Vec<i64> {
        std::mem::take(&mut self.state().over)
    }

    /// A heartbeat begins; it looks at everything that was not over when the last one that succeeded began.
    pub(super) fn look(&self) -> Look {
        let state = self.state();
        let looks_at_all = state.beats.is_multiple_of(ALL_EVERY);
        Look { from: if looks_at_all { 0 } else { state.since }, next: state.floor() }
    }

    /// It succeeded, and found claims that nobody here knew of.
    pub(super) fn looked(&self, look: Look, strays: impl Iterator<Item = i64>) {
        let mut state = self.state();
        state.since = strays.fold(look.next, i64::min);
        state.beats = state.beats.wrapping_add(1);
        state.calls.retain_mut(|call| match &mut call.lost_for {
            Some(beats) => {
                *beats -= 1;
                *beats > 0
            }
            None => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobId, Nonce, Timestamp};

    fn lease(epoch: i64) -> Lease {
        Lease { job: JobId::mint(), epoch, nonce: Nonce::mint(), row: 1, granted_at: Timestamp(0) }
    }

    fn granted(claims: &Claims, epochs: &[i64]) {
        for epoch in epochs {
            claims.state().grant(*epoch);
        }
    }

    /// One heartbeat; where it began to look.
    fn beat(claims: &Claims, strays: &[i64]) -> i64 {
        let look = claims.look();
        claims.looked(look, strays.iter().copied());
        look.from
    }

    #[test]
    fn heartbeat_looks_at_what_was_not_over_when_the_last_one_began() {
        let claims = Claims::default();
        assert_eq!(beat(&claims, &[]), 0);
        granted(&claims, &[5, 5, 7]);
        beat(&claims, &[]);
        claims.ended([lease(5)].into_iter());
        assert_eq!(beat(&claims, &[]), 5, "one of it runs");
        claims.ended([lease(5)].into_iter());
        assert_eq!(beat(&claims, &[]), 5, "it may not be dropped yet");
        assert_eq!(beat(&claims, &[]), 7);
        assert_eq!(claims.take_over(), [5]);
        claims.ended([lease(7)].into_iter());
        beat(&claims, &[]);
        assert_eq!(beat(&claims, &[]), 8, "nothing is left, and later epochs are higher");
    }

    #[test]
    fn heartbeat_that_failed_is_made_up_for_by_the_next() {
        let claims = Claims::default();
        granted(&claims, &[5]);
        beat(&claims, &[]);
        claims.ended([lease(5)].into_iter());
        claims.look();
        assert_eq!(beat(&claims, &[]), 5);
    }

    #[test]
    fn what_a_lease_call_under_way_or_lost_may_grant_is_looked_at() {
        let claims = Claims::default();
        granted(&claims, &[5]);
        let (lost, answered) = (claims.ask(), claims.ask());
        granted(&claims, &[9]);
        claims.ended([lease(5), lease(9)].into_iter());
        answered.answered(&[]);
        beat(&claims, &[]);
        assert_eq!(beat(&claims, &[]), 6, "it may have granted 6");
        drop(lost);
        for _ in 0..LOST_FOR {
            assert_eq!(beat(&claims, &[]), 6);
        }
        beat(&claims, &[]);
        assert_eq!(beat(&claims, &[]), 10);
    }

    #[test]
    fn now_and_then_all_claims_are_looked_at() {
        let claims = Claims::default();
        granted(&claims, &[5]);
        claims.ended([lease(5)].into_iter());
        let begins: Vec<i64> = (0..=ALL_EVERY).map(|_| beat(&claims, &[])).collect();
        assert_eq!((begins[1], begins[ALL_EVERY as usize - 1], begins[ALL_EVERY as usize]), (6, 6, 0));
    }

    #[test]
    fn stray_is_looked_at_until_it_is_gone() {
        let claims = Claims::default();
        granted(&claims, &[5]);
        claims.ended([lease(5)].into_iter());
        beat(&claims, &[3]);
        assert_eq!(beat(&claims, &[3]), 3);
        assert_eq!(beat(&claims, &[]), 3);
        assert_eq!(beat(&claims, &[]), 6);
    }
}
