//! The sessions that are open. Of the secret that a browser shows only the digest is kept, so nothing that is read here lets anybody in.

use super::super::auth::Holder;
use crate::job::Timestamp;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Open at once: more than there are people. Whoever begins one beyond ends the one that was idle for longest.
const MOST: usize = 10_000;
/// Of one holder: a token's holder ends its own and nobody else's.
const MOST_OF_ONE: usize = 20;

/// What a session is known by: the digest of its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::control) struct Ticket([u8; 32]);

impl Ticket {
    pub fn of(secret: &[u8; 32]) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

struct Session {
    holder: Holder,
    /// Under which it was begun, and under which alone it is believed.
    host: String,
    until: Timestamp,
    used: Timestamp,
}

#[derive(Default)]
pub(in crate::control) struct Sessions(Mutex<HashMap<Ticket, Session>>);

impl Sessions {
    pub fn begin(&self, secret: &[u8; 32], holder: Holder, host: &str, now: Timestamp, until: Timestamp) -> Ticket {
        let mut open = self.open();
        if open.len() >= MOST {
            open.retain(|_, session| session.until > now);
        }
        let own = open.iter().filter(|(_, session)| session.holder == holder && matches!(holder, Holder::Token(_)));
        if own.clone().count() >= MOST_OF_ONE {
            idlest(own).map(|idle| open.remove(&idle));
        } else if open.len() >= MOST {
            idlest(open.iter()).map(|idle| open.remove(&idle));
        }
        let ticket = Ticket::of(secret);
        open.insert(ticket, Session { holder, host: host.to_ascii_lowercase(), until, used: now });
        ticket
    }

    /// Whose it is, if it is open and was begun under this host.
    pub fn find(&self, ticket: Ticket, host: &str, now: Timestamp) -> Option<Holder> {
        let mut open = self.open();
        let session = open.get_mut(&ticket)?;
        if session.until <= now {
            open.remove(&ticket);
            return None;
        }
        if !session.host.eq_ignore_ascii_case(host) {
            return None;
        }
        session.used = now;
        Some(session.holder.clone())
    }

    pub fn until(&self, ticket: Ticket) -> Option<Timestamp> {
        self.open().get(&ticket).map(|session| session.until)
    }

    pub fn end(&self, ticket: Ticket) {
        self.open().remove(&ticket);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Ticket, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn idlest<'s>(sessions: impl Iterator<Item = (&'s Ticket, &'s Session)>) -> Option<Ticket> {
    sessions.min_by_key(|(_, session)| session.used).map(|(ticket, _)| *ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(n: usize) -> [u8; 32] {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&n.to_le_bytes());
        secret
    }

    fn begin(sessions: &Sessions, n: usize, now: i64) -> Ticket {
        sessions.begin(&secret(n), Holder::Operator([0; 32]), "Jobs.example:1", Timestamp(now), Timestamp(now + 100))
    }

    #[test]
    fn session_is_found_until_it_ends_and_under_its_own_host() {
        let sessions = Sessions::default();
        let ticket = begin(&sessions, 1, 0);
        assert!(sessions.find(ticket, "jobs.example:1", Timestamp(99)).is_some());
        assert!(sessions.find(ticket, "jobs.example:2", Timestamp(99)).is_none());
        assert!(sessions.find(Ticket::of(&secret(2)), "jobs.example:1", Timestamp(0)).is_none());
        assert!(sessions.find(ticket, "jobs.example:1", Timestamp(100)).is_none());
        assert_eq!(sessions.until(ticket), None, "it is forgotten");
    }

    #[test]
    fn holder_of_a_token_who_begins_too_many_ends_its_own() {
        let sessions = Sessions::default();
        let of = |n: usize, id: &str, now| {
            let holder = Holder::Token(id.parse().expect("an id"));
            sessions.begin(&secret(n), holder, "jobs.example:1", Timestamp(now), Timestamp(1000))
        };
        let other = of(0, "0123456789abcdef", 0);
        let first = of(1, "aaaaaaaaaaaaaaaa", 1);
        for n in 2..=MOST_OF_ONE + 1 {
            of(n, "aaaaaaaaaaaaaaaa", 2);
        }
        assert!(sessions.until(other).is_some() && sessions.until(first).is_none());
        assert_eq!(sessions.open().len(), MOST_OF_ONE + 1);
    }

    #[test]
    fn beyond_the_most_the_one_that_was_idle_for_longest_goes() {
        let sessions = Sessions::default();
        let tickets: Vec<Ticket> = (0..MOST).map(|n| begin(&sessions, n, 10)).collect();
        for ticket in tickets.iter().filter(|ticket| **ticket != tickets[7]) {
            sessions.find(*ticket, "jobs.example:1", Timestamp(11));
        }
        let last = begin(&sessions, MOST, 12);
        assert!(sessions.until(last).is_some() && sessions.until(tickets[7]).is_none());
        assert_eq!(sessions.open().len(), MOST);
    }
}
