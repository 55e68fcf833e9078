//! `/v1/lease`, `/v1/heartbeat`, `/v1/settle`, `/v1/goodbye`: being a worker in any language, under the same fence as the engine's own.
//! What a worker asks for is bounded here; who it may be beside others is `roster.rs`' affair.

mod beat;
mod lease;
mod roster;
mod settle;
mod ticket;

pub(super) use beat::{goodbye, heartbeat};
pub(super) use lease::lease;
pub(super) use roster::Roster;
pub(super) use settle::settle;

use super::{Problem, wire::ItemError};
use crate::job::InvalidEnvelope;
use std::time::Duration;
use ticket::Ticket;

/// An hour is longer than anybody should wait for the jobs of a worker that died, and a second as short as a network bears.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

/// # Errors
/// When nobody should lease for so long, or so short.
fn lease_time(lease_ms: u64) -> Result<Duration, Problem> {
    if !LEASE_MS.contains(&lease_ms) {
        return Err(out_of_range("/lease_ms", format!("must be {} to {}", LEASE_MS.start(), LEASE_MS.end())));
    }
    Ok(Duration::from_millis(lease_ms))
}

fn out_of_range(pointer: &str, message: impl Into<String>) -> Problem {
    ItemError::new(pointer, "out_of_range", message).into()
}

/// The leases at `pointer`, all of them.
fn tickets(pointer: &str, texts: &[String]) -> Result<Vec<Ticket>, Problem> {
    let read = |(n, text): (usize, &String)| ticket_at(&format!("{pointer}/{n}"), text).map_err(Problem::from);
    texts.iter().enumerate().map(read).collect()
}

fn ticket_at(pointer: &str, text: &str) -> Result<Ticket, InvalidEnvelope> {
    Ticket::read(text)
        .map_err(|_| InvalidEnvelope::new(pointer, "bad_lease", "is no lease of this port's; send `lease` as the lease call answered it"))
}
