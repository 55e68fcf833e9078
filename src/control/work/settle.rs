//! `POST /v1/settle`: the ends of attempts, each under its own fence. What a verdict means for a job is decided as for the engine's own workers;
//! asked again, a settlement that was applied says so and changes nothing.

use super::{
    super::{
        Problem, State,
        body::SentText,
        bulk,
        caller::Caller,
        wire::{
            ItemError,
            work::{ErrorSent, Settled, SettledAnswer, UsageSent, VerdictSent},
        },
    },
    Ticket, ticket_at,
};
use crate::{
    job::{
        Applied, ErrorClass, InvalidEnvelope, JobError, Json, Limits, NewJob, Settings, Settlement, Timestamp, Transition, Usage, Verdict,
    },
    store::{self, Store},
};
use axum::extract;
use std::{sync::Arc, time::Duration};

const MOST_SETTLED: usize = 1000;
const MOST_FOLLOW_UPS: usize = 100;
const MOST_USAGES: usize = 100;
/// Reasons are shown in lists; a page of text is none.
const REASON_BYTES: usize = 500;
/// It must fit into the path of the call that wakes the job.
const TOKEN_BYTES: usize = 200;
/// Codes, providers and models are what things are grouped by.
const WORD_BYTES: usize = 128;

/// One of a batch: what to write, or what is wrong with it.
type Read = Result<(Ticket, Settlement), ItemError>;

/// `POST /v1/settle`. An array in, an array out in the same order.
pub(in crate::control) async fn settle(
    extract::State(state): extract::State<State>,
    caller: Caller,
    SentText { text, .. }: SentText<Vec<Settled>>,
) -> Result<axum::Json<Vec<SettledAnswer>>, Problem> {
    let in_force = state.in_force();
    let desk = Desk { settings: state.settings(), limits: in_force.config.limits(), now: state.clock.now() };
    let bytes = text.bytes.clone();
    let read: Vec<Read> = bulk::off_the_way(bytes.len(), move || desk.read_all(&bytes)).await??;
    let store = caller.everything(&state)?;
    let good: Vec<(usize, &Settlement)> =
        read.iter().enumerate().filter_map(|(n, item)| item.as_ref().ok().map(|(_, settlement)| (n, settlement))).collect();
    let mut written = write(store, &good).await?.into_iter();
    let mut answers = Vec::with_capacity(read.len());
    for item in read {
        let answer = match item {
            Ok((ticket, settlement)) => {
                let done = written.next().unwrap_or(Ok(Applied::LeaseLost));
                done.inspect(|outcome| count(&state, &ticket, &settlement, *outcome))
            }
            Err(error) => Err(error),
        };
        answers.push(answer.map_or_else(|error| SettledAnswer::Refused { error }, |outcome| SettledAnswer::Told { outcome }));
    }
    Ok(axum::Json(answers))
}

/// All in one commit; where the store refuses one of them, each by itself, so that the others do not suffer for it.
async fn write(store: &dyn Store, batch: &[(usize, &Settlement)]) -> Result<Vec<Result<Applied, ItemError>>, Problem> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let all = batch.iter().map(|(_, settlement)| (*settlement).clone()).collect();
    match store.settle(all, None).await {
        Ok(outcomes) => return Ok(outcomes.into_iter().map(Ok).collect()),
        // Asked again, what was written answers `already_applied`.
        Err(error) if error.is_outage() => return Err(error.into()),
        Err(error) if batch.len() == 1 => return Ok(vec![Err(refused(&error, batch[0].0))]),
        Err(_) => {}
    }
    let mut outcomes = Vec::with_capacity(batch.len());
    for (n, settlement) in batch {
        outcomes.push(match store.settle(vec![(*settlement).clone()], None).await {
            Ok(told) => {
                told.into_iter().next().ok_or_else(|| ItemError::new(&format!("/{n}"), "store_damaged", "the store gave no answer"))
            }
            Err(error) if error.is_outage() => return Err(error.into()),
            Err(error) => Err(refused(&error, *n)),
        });
    }
    Ok(outcomes)
}

fn refused(error: &store::Error, index: usize) -> ItemError {
    tracing::warn!(%error, "a settlement of a worker's was refused");
    ItemError::of(error, index)
}

fn count(state: &State, ticket: &Ticket, settlement: &Settlement, outcome: Applied) {
    let labels = state.labels();
    let (queue, kind) = labels.known(&ticket.queue, &ticket.kind);
    match outcome {
        Applied::Applied => {
            let took = state.clock.now().since(settlement.started_at).as_secs_f64();
            state.metrics.job_attempts.with_label_values(&[queue, kind, settlement.transition.outcome().as_str()]).inc();
            state.metrics.job_duration.with_label_values(&[queue, kind]).observe(took);
        }
        Applied::LeaseLost => state.metrics.leases_lost.with_label_values(&[queue]).inc(),
        Applied::AlreadyApplied => {}
    }
}

/// What settlements are read by.
struct Desk {
    settings: Arc<Settings>,
    limits: Limits,
    now: Timestamp,
}

impl Desk {
    fn read_all(&self, body: &[u8]) -> Result<Vec<Read>, Problem> {
        let text =
            std::str::from_utf8(body).map_err(|_| InvalidEnvelope::new("", "not_json", "the body is not UTF-8; send JSON in UTF-8"))?;
        let items = bulk::split(text)?;
        if items.len() > MOST_SETTLED {
            let message = format!("more than {MOST_SETTLED} settlements; send fewer a call");
            return Err(InvalidEnvelope::new("", "too_large", message).into());
        }
        Ok(items.into_iter().enumerate().map(|(n, item)| self.read(item.get()).map_err(|error| ItemError::at(n, error))).collect())
    }

    fn read(&self, text: &str) -> Result<(Ticket, Settlement), InvalidEnvelope> {
        let sent: Settled = serde_json::from_str(text).map_err(|error| InvalidEnvelope::new("", "wrong_type", error.to_string()))?;
        let ticket = ticket_at("/lease", &sent.lease)?;
        if sent.effects.is_some() {
            let message = "effects are the built-in workers' own; write such things where they belong, and answer a `result`";
            return Err(InvalidEnvelope::new("/effects", "not_supported", message));
        }
        at_most("/result", sent.result.as_ref(), self.limits.payload_bytes)?;
        at_most("/checkpoint", sent.checkpoint.as_ref(), Limits::CHECKPOINT_BYTES)?;
        let settlement = Settlement {
            lease: ticket.lease,
            transition: self.transition(&ticket, sent.verdict)?,
            started_at: self.began(&ticket, sent.started_at),
            usage: usages(sent.usage)?,
            follow_ups: self.follow_ups(&ticket, &sent.follow_ups)?,
            result: sent.result,
            checkpoint: sent.checkpoint,
            effects: Vec::new(),
        };
        Ok((ticket, settlement))
    }

    /// No run begins before its lease; a worker's clock may be another.
    fn began(&self, ticket: &Ticket, said: Option<Timestamp>) -> Timestamp {
        let granted_at = ticket.lease.granted_at.min(self.now);
        said.map_or(granted_at, |said| said.clamp(granted_at, self.now))
    }

    fn transition(&self, ticket: &Ticket, sent: VerdictSent) -> Result<Transition, InvalidEnvelope> {
        let verdict = match sent {
            VerdictSent::Release {} => return Ok(Transition::Release),
            VerdictSent::Complete {} => Verdict::Complete,
            VerdictSent::Retry { error, after_ms } => {
                let error = failure("/verdict/retry/error", error, ErrorClass::Retry)?;
                Verdict::Retry { error, after: after_ms.map(Duration::from_millis) }
            }
            VerdictSent::Reject { error } => Verdict::Reject { error: failure("/verdict/reject/error", error, ErrorClass::Permanent)? },
            VerdictSent::Snooze { until, for_ms } => Verdict::Snooze { until: self.snooze(until, for_ms)? },
            VerdictSent::Park { reason, until, token, error } => {
                word("/verdict/park/reason", &reason, REASON_BYTES)?;
                if reason == "unknown_kind" {
                    let message = "is what a job is parked for whose kind nobody knows; call yours by another name";
                    return Err(InvalidEnvelope::new("/verdict/park/reason", "conflict", message));
                }
                if let Some(token) = &token {
                    word("/verdict/park/token", token, TOKEN_BYTES)?;
                }
                let until = until.map(|until| self.not_too_far("/verdict/park/until", until)).transpose()?;
                let error = error.map(|error| failure("/verdict/park/error", error, ErrorClass::Retry)).transpose()?;
                Verdict::Park { reason, until, token, error }
            }
            VerdictSent::Cancel { reason } => {
                word("/verdict/cancel/reason", &reason, REASON_BYTES)?;
                Verdict::Cancel { reason }
            }
        };
        Ok(verdict.transition(ticket.run, &self.settings.kind(&ticket.kind), self.now))
    }

    fn snooze(&self, until: Option<Timestamp>, for_ms: Option<u64>) -> Result<Timestamp, InvalidEnvelope> {
        match (until, for_ms) {
            (Some(until), None) => self.not_too_far("/verdict/snooze/until", until),
            (None, Some(ms)) => self.not_too_far("/verdict/snooze/for_ms", self.now.plus_ms(ms)),
            _ => Err(InvalidEnvelope::new("/verdict/snooze", "conflict", "needs one of `until` and `for_ms`")),
        }
    }

    fn not_too_far(&self, pointer: &str, until: Timestamp) -> Result<Timestamp, InvalidEnvelope> {
        if until > self.now.plus_ms(Limits::DELAY_MS) {
            return Err(InvalidEnvelope::new(pointer, "out_of_range", "lies more than ten years ahead"));
        }
        Ok(until)
    }

    fn follow_ups(&self, ticket: &Ticket, sent: &[Json]) -> Result<Vec<NewJob>, InvalidEnvelope> {
        few("/follow_ups", sent.len(), MOST_FOLLOW_UPS)?;
        let check = |(n, text): (usize, &Json)| {
            NewJob::check_follow_up(ticket.tenant.as_ref(), text.as_str(), self.limits)
                .map_err(|error| InvalidEnvelope { pointer: format!("/follow_ups/{n}{}", error.pointer), ..error })
        };
        sent.iter().enumerate().map(check).collect()
    }
}

fn failure(pointer: &str, sent: ErrorSent, otherwise: ErrorClass) -> Result<JobError, InvalidEnvelope> {
    word(&format!("{pointer}/code"), &sent.code, WORD_BYTES)?;
    Ok(JobError::new(sent.class.unwrap_or(otherwise), sent.code, sent.message.replace('\0', "")))
}

fn usages(sent: Vec<UsageSent>) -> Result<Vec<Usage>, InvalidEnvelope> {
    few("/usage", sent.len(), MOST_USAGES)?;
    for (n, usage) in sent.iter().enumerate() {
        word(&format!("/usage/{n}/provider"), &usage.provider, WORD_BYTES)?;
        word(&format!("/usage/{n}/model"), &usage.model, WORD_BYTES)?;
    }
    Ok(sent.into_iter().map(Usage::from).collect())
}

fn few(pointer: &str, n: usize, most: usize) -> Result<(), InvalidEnvelope> {
    if n > most { Err(InvalidEnvelope::new(pointer, "out_of_range", format!("at most {most}"))) } else { Ok(()) }
}

fn word(pointer: &str, text: &str, most: usize) -> Result<(), InvalidEnvelope> {
    if text.is_empty() || text.len() > most || text.contains('\0') {
        return Err(InvalidEnvelope::new(pointer, "out_of_range", format!("must be 1 to {most} bytes, without NUL")));
    }
    Ok(())
}

fn at_most(pointer: &str, value: Option<&Json>, bytes: usize) -> Result<(), InvalidEnvelope> {
    match value.map(|value| value.as_str().len()) {
        Some(size) if size > bytes => {
            let message = format!("is {size} bytes, the limit is {bytes}; store the data elsewhere and send a reference");
            Err(InvalidEnvelope::new(pointer, "too_large", message))
        }
        _ => Ok(()),
    }
}
