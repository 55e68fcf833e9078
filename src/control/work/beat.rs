//! `POST /v1/heartbeat` and `POST /v1/goodbye`: what a worker holds stays its own as long as it beats, and it need not fall silent to be gone.

use super::{
    super::{
        Problem, State,
        body::Sent,
        caller::Caller,
        wire::work::{BeatAnswer, BeatAsked, GoodbyeAsked, ProgressSent},
    },
    Ticket, lease_time, out_of_range, roster, ticket_at, tickets,
};
use crate::{
    job::{Lease, Name},
    store::{Beat, Progress, Store},
};
use axum::{Json, extract, http::StatusCode};
use std::collections::{BTreeMap, HashMap, HashSet};

const MOST_HELD: usize = 10_000;
/// Ten thousand of the longest leases, and some words of progress.
const MOST_BODY_BYTES: usize = 8 << 20;
const MOST_PROGRESS_BYTES: usize = 4 << 10;

/// `POST /v1/heartbeat`.
pub(in crate::control) async fn heartbeat(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Sent(asked): Sent<BeatAsked, MOST_BODY_BYTES>,
) -> Result<Json<BeatAnswer>, Problem> {
    let lasts = lease_time(asked.lease_ms)?;
    if asked.held.len() > MOST_HELD {
        return Err(out_of_range("/held", format!("at most {MOST_HELD} leases")));
    }
    let held = tickets("/held", &asked.held)?;
    let progress = progress(asked.progress)?;
    let store = caller.everything(&state)?;
    if !roster::keep(&state, &caller, asked.worker, &by_queue(&held), asked.draining, lasts).await? {
        return Ok(Json(BeatAnswer { lost: asked.held, cancel: Vec::new(), strays: Vec::new() }));
    }
    let leases: Vec<Lease> = held.iter().map(|ticket| ticket.lease).collect();
    let beat = store.heartbeat(asked.worker, lasts, leases.clone(), Vec::new(), None).await?;
    // Only now is it known which of them are this worker's to speak of.
    let lost: HashSet<&Lease> = beat.lost.iter().collect();
    let kept: HashSet<&Lease> = leases.iter().filter(|lease| !lost.contains(lease)).collect();
    let own: Vec<Progress> = progress.into_iter().filter(|report| kept.contains(&report.lease)).collect();
    if !own.is_empty() {
        store.heartbeat(asked.worker, lasts, leases.clone(), own, None).await?;
    }
    told(store, beat, leases.into_iter().zip(asked.held).collect()).await.map(Json)
}

fn progress(sent: Vec<ProgressSent>) -> Result<Vec<Progress>, Problem> {
    if sent.len() > MOST_HELD {
        return Err(out_of_range("/progress", format!("at most {MOST_HELD} values")));
    }
    let read = |(n, ProgressSent { lease, value }): (usize, ProgressSent)| {
        if value.as_str().len() > MOST_PROGRESS_BYTES {
            return Err(out_of_range(
                &format!("/progress/{n}/value"),
                format!("at most {MOST_PROGRESS_BYTES} bytes; keep the rest elsewhere"),
            ));
        }
        Ok(Progress { lease: ticket_at(&format!("/progress/{n}/lease"), &lease)?.lease, value })
    };
    sent.into_iter().enumerate().map(read).collect()
}

fn by_queue(held: &[Ticket]) -> BTreeMap<Name, usize> {
    let mut running = BTreeMap::new();
    for ticket in held {
        *running.entry(ticket.queue.clone()).or_default() += 1;
    }
    running
}

/// In the worker's own words; what it did not name is read again, for it was never told or has forgotten.
async fn told(store: &dyn Store, beat: Beat, texts: HashMap<Lease, String>) -> Result<BeatAnswer, Problem> {
    let named = |leases: Vec<Lease>| leases.iter().filter_map(|lease| texts.get(lease).cloned()).collect();
    let mut nonces: Vec<_> = beat.strays.iter().map(|lease| lease.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    let mut strays = Vec::with_capacity(beat.strays.len());
    for nonce in nonces {
        let leased = store.leased_by(nonce).await?;
        let is_stray = |lease: &Lease| beat.strays.iter().any(|stray| (stray.job, stray.epoch) == (lease.job, lease.epoch));
        strays.extend(leased.iter().filter(|leased| is_stray(&leased.lease)).map(|leased| Ticket::of(leased).text()));
    }
    Ok(BeatAnswer { lost: named(beat.lost), cancel: named(beat.cancel), strays })
}

/// `POST /v1/goodbye`: 204. What it still holds goes back when its leases run out; hand it back first, with `release`.
pub(in crate::control) async fn goodbye(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Sent(asked): Sent<GoodbyeAsked>,
) -> Result<StatusCode, Problem> {
    roster::dismiss(&state, &caller, asked.worker).await?;
    Ok(StatusCode::NO_CONTENT)
}
