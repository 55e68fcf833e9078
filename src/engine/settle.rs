//! The end of attempts: deciding where a job goes, and the pump that writes decisions in natural batches. While one commit
//! is under way the next batch gathers, so a lone job pays no delay and a thousand share one commit.

use super::{
    held::Stop,
    outage::Outage,
    shared::{Item, Shared},
    worker::{Outcome, Verdict},
};
use crate::{
    job::{Applied, ErrorClass, JobError, KindSettings, Lease, LeasedJob, Name, Settlement, Timestamp, Transition},
    store,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How a run ended, before anyone decided what that means.
pub(super) enum Ended {
    Returned(Box<Outcome>),
    Panicked(String),
    TimedOut { timeout: Duration },
    Stopped(Stop),
}

/// Where the job goes. Pure.
pub(super) fn decide(
    lease: Lease,
    job: &LeasedJob,
    ended: Ended,
    kind: &KindSettings,
    started_at: Timestamp,
    now: Timestamp,
) -> Settlement {
    let outcome = match ended {
        Ended::Returned(outcome) => *outcome,
        Ended::Panicked(message) => failed(ErrorClass::Panic, "panic", message),
        Ended::TimedOut { timeout } => failed(ErrorClass::Timeout, "timeout", format!("did not end within {} ms", timeout.as_millis())),
        Ended::Stopped(Stop::Cancelled) => Outcome::new(Verdict::Cancel { reason: "cancelled".into() }),
        Ended::Stopped(Stop::HandedBack | Stop::LeaseLost) => return Settlement::new(lease, Transition::Release, started_at),
    };
    let too_large = outcome.checkpoint.as_ref().is_some_and(|c| c.as_str().len() > Outcome::CHECKPOINT_BYTES);
    let outcome =
        if too_large { Outcome::reject("checkpoint_too_large", "the worker's checkpoint is larger than 64 KiB") } else { outcome };
    Settlement {
        lease,
        transition: outcome.verdict.transition(job.run(), kind, now),
        started_at,
        result: outcome.result,
        checkpoint: outcome.checkpoint,
        follow_ups: outcome.follow_ups,
        effects: outcome.effects,
        usage: outcome.usage,
    }
}

fn failed(class: ErrorClass, code: &str, message: String) -> Outcome {
    Outcome::new(Verdict::Retry { error: JobError::new(class, code, message), after: None })
}

/// Commits in flight: while the store syncs one, the next can wait in its queue, so that no commit of the store's goes
/// half empty; more would only cut the batches smaller.
const IN_FLIGHT: usize = 3;

/// Writes settlements until the senders are gone. A store that is down delays it; nothing is dropped.
pub(super) async fn pump(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Item>) {
    let mut writing = FuturesUnordered::new();
    let mut open = true;
    while open || !writing.is_empty() {
        let mut batch = Vec::new();
        tokio::select! {
            n = inbox.recv_many(&mut batch, shared.config().settle_batch), if open && writing.len() < IN_FLIGHT => {
                if n == 0 { open = false; } else { writing.push(write(shared.clone(), batch)); }
            }
            Some(()) = writing.next(), if !writing.is_empty() => {}
        }
    }
}

/// Times a file that is said to be damaged is asked again before its answer is taken for what it says.
const DAMAGED: u32 = 5;

async fn write(shared: Arc<Shared>, batch: Vec<Item>) {
    let (settlements, queues): (Vec<Settlement>, Vec<Name>) = batch.into_iter().unzip();
    let leases: Vec<Lease> = settlements.iter().map(|s| s.lease).collect();
    let mut outage = Outage::new(&shared.outage, "settle");
    let mut damaged = 0;
    loop {
        match shared.store.settle(settlements.clone(), None).await {
            Ok(answers) => {
                note(&shared, &answers, &queues, &leases);
                outage.over();
                break;
            }
            // The batch is settled again: what was written answers `AlreadyApplied`, what was not is written.
            Err(error) if error.is_outage() => outage.wait(&error).await,
            Err(error @ store::Error::Corrupt(_)) if damaged < DAMAGED => {
                damaged += 1;
                outage.wait(&error).await;
            }
            // Something about one of them: the others must not suffer for it.
            Err(error) if settlements.len() > 1 => {
                tracing::warn!(%error, jobs = leases.len(), "a batch of settlements was refused; settling them one by one");
                for item in settlements.into_iter().zip(queues) {
                    Box::pin(write(shared.clone(), vec![item])).await;
                }
                return;
            }
            Err(error) => {
                for settlement in settlements {
                    bury(&shared, settlement, &error).await;
                }
                break;
            }
        }
        if shared.gone.is_cancelled() {
            break;
        }
    }
    shared.holding.settled(leases.into_iter());
}

fn note(shared: &Shared, answers: &[Applied], queues: &[Name], leases: &[Lease]) {
    for ((answer, queue), lease) in answers.iter().zip(queues).zip(leases) {
        if *answer == Applied::LeaseLost {
            shared.metrics.leases_lost.with_label_values(&[queue.as_str()]).inc();
            tracing::warn!(job = %lease.job, epoch = lease.epoch, "settlement refused: the lease is no longer ours");
        }
    }
}

/// Ends a job whose own settlement the store refuses: dead, with its result, where a person finds it. It is not run again by
/// itself, for that would be refused again and paid for each time.
async fn bury(shared: &Shared, settlement: Settlement, refusal: &store::Error) {
    let lease = settlement.lease;
    tracing::error!(%refusal, job = %lease.job, "a settlement was refused; its job is dead");
    let error =
        JobError::new(ErrorClass::Permanent, "settlement_refused", format!("the store refused to record how this run ended: {refusal}"));
    let transition = Transition::Dead { reason: "settlement_refused", error };
    let dead = Settlement { result: settlement.result, ..Settlement::new(lease, transition, settlement.started_at) };
    if let Err(error) = shared.store.settle(vec![dead], None).await {
        tracing::error!(%error, job = %lease.job, "not even its death can be recorded; its job goes back to its queue");
        give_back(shared, lease).await;
    }
}

/// Ends a lease that nobody here works under, without charging its job. What cannot be given back now stays astray, and the
/// heartbeat that finds it tries again.
pub(super) async fn give_back(shared: &Shared, lease: Lease) {
    let release = Settlement::new(lease, Transition::Release, shared.clock.now());
    if let Err(error) = shared.store.settle(vec![release], None).await {
        tracing::debug!(%error, job = %lease.job, "a lease waits to be given back");
    }
}
