//! `POST /v1/lease`: jobs for a worker, at once or as soon as there are some.

use super::{
    super::{
        Problem, State,
        body::Sent,
        caller::Caller,
        wire::work::{LeaseAnswer, LeaseAsked, LeasedAnswer},
    },
    Ticket, lease_time, out_of_range,
    roster::{self, MOST_QUEUES},
};
use crate::{
    job::{Daemon, Lease, Leased, Name, Nonce, QueueWork, Timestamp},
    store::{self, LeaseReply, LeaseRequest, Store},
};
use axum::{
    Json, extract,
    http::{HeaderMap, header},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const MOST_KINDS: usize = 1000;
const MOST_JOBS: usize = 1000;
/// As one lease call of the engine's takes by default.
const MOST_BYTES: usize = 8 << 20;
/// Well within the deadline of a request, and of the proxies that people have.
const MOST_WAIT_MS: u64 = 30_000;

/// Between two looks at a store that tells of work in vain, as while others take it: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Wake-ups are hints: now and then, jittered by a quarter, a call looks without one.
const POLL_MS: u64 = 1000;

/// What a job may take whose kind says nothing.
const TIMEOUT_MS: u64 = 300_000;

/// `POST /v1/lease`.
pub(in crate::control) async fn lease(
    extract::State(state): extract::State<State>,
    caller: Caller,
    headers: HeaderMap,
    Sent(asked): Sent<LeaseAsked>,
) -> Result<Json<LeaseAnswer>, Problem> {
    let lasts = lease_time(asked.lease_ms)?;
    check(&asked)?;
    if state.is_draining() {
        return Err(Problem::unavailable("draining", "this daemon ends and grants no more jobs; ask again, or another one"));
    }
    let store = caller.everything(&state)?;
    let worker = Daemon { token: caller.token().map(|token| token.id.clone()), ..worker(&asked, &headers) };
    roster::enlist(&state, &caller, &worker, lasts).await?;
    if let Some(nonce) = asked.nonce {
        let again = store.leased_by(nonce).await?;
        if !again.is_empty() {
            return Ok(answer(LeaseReply { jobs: again, more: true, ..LeaseReply::default() }, lasts));
        }
    }
    let patience = Duration::from_millis(asked.wait_ms);
    let reply = Waiting { state: &state, caller: &caller, store, worker: &worker, request: request(asked, lasts) }.grant(patience).await?;
    for leased in &reply.jobs {
        let wait = leased.lease.granted_at.since(leased.job.due_at).as_secs_f64();
        let labels = state.labels();
        state.metrics.job_wait.with_label_values(&[labels.known(&leased.job.queue, &leased.job.kind).0]).observe(wait);
    }
    Ok(answer(reply, lasts))
}

fn check(asked: &LeaseAsked) -> Result<(), Problem> {
    let jobs: usize = asked.queues.values().fold(0, |sum, n| sum.saturating_add(*n));
    if !(1..=MOST_QUEUES).contains(&asked.queues.len()) {
        return Err(out_of_range("/queues", format!("must name 1 to {MOST_QUEUES} queues, each with how many of its jobs are wanted")));
    }
    if let Some((queue, _)) = asked.queues.iter().find(|(_, n)| **n == 0) {
        return Err(out_of_range(&format!("/queues/{queue}"), "must be at least 1; leave a queue out whose slots are all taken"));
    }
    if jobs > MOST_JOBS {
        return Err(out_of_range("/queues", format!("at most {MOST_JOBS} jobs a call, over all queues")));
    }
    if !(1..=MOST_KINDS).contains(&asked.kinds.len()) {
        return Err(out_of_range("/kinds", format!("must name 1 to {MOST_KINDS} kinds: all that this worker can run")));
    }
    if asked.wait_ms > MOST_WAIT_MS {
        return Err(out_of_range("/wait_ms", format!("must be 0 to {MOST_WAIT_MS}; ask again to wait on")));
    }
    Ok(())
}

/// The worker as everybody is told of it.
fn worker(asked: &LeaseAsked, headers: &HeaderMap) -> Daemon {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("remote");
    let work = |(queue, slots): (&Name, &usize)| (queue.clone(), QueueWork { slots: *slots, ..QueueWork::default() });
    Daemon {
        holder: asked.worker,
        node: asked.name.as_ref().map_or_else(|| "remote".into(), ToString::to_string),
        pid: 0,
        version: agent.chars().take(100).collect(),
        started_at: Timestamp(0),
        draining: false,
        queues: asked.queues.iter().map(work).collect(),
        kinds: asked.kinds.clone(),
        remote: true,
        token: None,
    }
}

/// What the store is asked.
fn request(asked: LeaseAsked, lease: Duration) -> LeaseRequest {
    LeaseRequest {
        holder: asked.worker,
        nonce: asked.nonce.unwrap_or_else(Nonce::mint),
        queues: asked.queues.into_iter().collect(),
        kinds: Arc::new(asked.kinds),
        max_bytes: MOST_BYTES,
        lease,
    }
}

/// A call that may have to wait for a job. Its caller's going away ends it at once.
struct Waiting<'s> {
    state: &'s State,
    caller: &'s Caller,
    store: &'s dyn Store,
    worker: &'s Daemon,
    request: LeaseRequest,
}

impl Waiting<'_> {
    async fn grant(&self, patience: Duration) -> Result<LeaseReply, Problem> {
        let end = Instant::now() + patience;
        let mut wakes = self.store.wakes();
        let mut pause = FIRST_PAUSE;
        loop {
            // Marked as seen before the store is asked: a wake-up that comes during the call is not lost.
            wakes.borrow_and_update();
            let reply = self.once().await?;
            let left = end.saturating_duration_since(Instant::now());
            if !reply.jobs.is_empty() || left.is_zero() || self.state.is_draining() {
                return Ok(reply);
            }
            if reply.more {
                continue;
            }
            let began = Instant::now();
            tokio::time::sleep(pause.min(left)).await;
            tokio::select! {
                _ = wakes.changed() => {}
                () = tokio::time::sleep(self.nap(reply.next_due)) => {}
                () = tokio::time::sleep_until(end) => {}
            }
            pause = if began.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            // Whoever was shut out meanwhile is given nothing more.
            self.caller.is_let_in_still(self.state).await?;
            roster::enlist(self.state, self.caller, self.worker, self.request.lease).await?;
        }
    }

    async fn once(&self) -> store::Result<LeaseReply> {
        match self.store.lease(self.request.clone(), None).await {
            // The answer was lost, the jobs may be the worker's. If this is not known now either, it asks again by its own nonce.
            Err(store::Error::Unknown(_)) => {
                let jobs = self.store.leased_by(self.request.nonce).await?;
                Ok(LeaseReply { jobs, more: true, ..LeaseReply::default() })
            }
            answered => answered,
        }
    }

    /// Until the next due instant, or the next look without a hint; workers do not look in step.
    fn nap(&self, next_due: Option<Timestamp>) -> Duration {
        let now = self.state.clock.now();
        let spread = (now.0.unsigned_abs() ^ self.request.holder.0.as_u64_pair().1) % (POLL_MS / 2 + 1);
        let poll = Duration::from_millis(POLL_MS - POLL_MS / 4 + spread);
        next_due.map_or(poll, |due| poll.min(due.since(now) + Duration::from_micros(1)).max(Duration::from_millis(1)))
    }
}

fn answer(reply: LeaseReply, lease: Duration) -> Json<LeaseAnswer> {
    let jobs = reply.jobs.into_iter().map(|leased| shown(leased, lease)).collect();
    Json(LeaseAnswer { jobs, more: reply.more })
}

fn shown(leased: Leased, lease: Duration) -> LeasedAnswer {
    let text = Ticket::of(&leased).text();
    let Leased { lease: Lease { granted_at, .. }, job } = leased;
    let timeout_ms = job.timeout_ms.unwrap_or(TIMEOUT_MS);
    let extra = job.extra.map(|extra| *extra).unwrap_or_default();
    LeasedAnswer {
        lease: text,
        lease_until: granted_at.plus(lease),
        id: job.id,
        kind: job.kind,
        queue: job.queue,
        tenant: job.tenant,
        payload: job.payload,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        timeout_ms,
        deadline: granted_at.plus_ms(timeout_ms),
        created_at: job.created_at,
        due_at: job.due_at,
        expires_at: job.expires_at,
        concurrency_key: job.concurrency_key,
        checkpoint: job.checkpoint,
        tags: extra.tags,
        meta: extra.meta,
        event_time: extra.event_time,
        parent: extra.parent,
    }
}
