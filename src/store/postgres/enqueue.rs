//! Jobs come in through the daemon's doors. Calls that come while others are being written go together: concurrent callers
//! share statements and commits.

use super::{
    connection::Lane,
    error::Effect,
    params::{Text, params},
};
use crate::{
    job::{Json, Name, NewJob, State, Timestamp},
    store::{
        Enqueued, Error, Result,
        words::{extra_text, fingerprint, ms},
    },
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Jobs that one statement takes when it gathers calls.
const TOGETHER: usize = 1000;
/// Statements under way at once: while one waits for the disk the next is planned and sent.
const IN_FLIGHT: usize = 2;

const PLAIN: &str = "SELECT windlass_v1.enqueue_plain($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
const ALIKE: &str = "SELECT windlass_v1.enqueue_alike($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const ANY: &str = "SELECT * FROM windlass_v1.enqueue_any($1::text[]::json[], $2, $3)";

/// One call on its way.
struct Call {
    jobs: Vec<NewJob>,
    answer: oneshot::Sender<Result<Vec<Enqueued>>>,
}

/// The gathering desk.
#[derive(Clone)]
pub(super) struct Desk {
    lane: Lane,
    inbox: mpsc::UnboundedSender<Call>,
}

impl Desk {
    pub(super) fn open(lane: Lane) -> Self {
        let (inbox, calls) = mpsc::unbounded_channel();
        tokio::spawn(gather(lane.clone(), calls));
        Self { lane, inbox }
    }

    pub(super) async fn enqueue(&self, jobs: Vec<NewJob>, now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        if now.is_some() || !jobs.iter().all(is_plain) {
            return if jobs.iter().all(is_plain) { together(&self.lane, &jobs, now).await } else { any(&self.lane, &jobs, now).await };
        }
        let (answer, answered) = oneshot::channel();
        let closed = || Error::Unavailable("the store is closed".into());
        self.inbox.send(Call { jobs, answer }).map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Takes what has gathered while the last statement was under way.
async fn gather(lane: Lane, mut calls: mpsc::UnboundedReceiver<Call>) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    let mut left_over: Option<Call> = None;
    loop {
        let first = match left_over.take() {
            Some(call) => call,
            None => match calls.recv().await {
                Some(call) => call,
                None => return,
            },
        };
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let mut jobs = first.jobs.len();
        let mut batch = vec![first];
        while jobs < TOGETHER
            && let Ok(call) = calls.try_recv()
        {
            jobs += call.jobs.len();
            if jobs > TOGETHER {
                left_over = Some(call);
                break;
            }
            batch.push(call);
        }
        let lane = lane.clone();
        tokio::spawn(async move {
            write(&lane, batch).await;
            drop(place);
        });
    }
}

async fn write(lane: &Lane, batch: Vec<Call>) {
    let (mut jobs, mut callers) = (Vec::new(), Vec::new());
    for call in batch {
        callers.push((call.jobs.len(), call.answer));
        jobs.extend(call.jobs);
    }
    match together(lane, &jobs, None).await {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for (count, caller) in callers {
                let _ = caller.send(Ok(answers.by_ref().take(count).collect()));
            }
        }
        // Something about one of the calls: the others must not suffer for it.
        Err(_) if callers.len() > 1 => {
            let mut jobs = jobs.into_iter();
            for (count, caller) in callers {
                let own: Vec<NewJob> = jobs.by_ref().take(count).collect();
                let _ = caller.send(together(lane, &own, None).await);
            }
        }
        Err(error) => {
            if let Some((_, caller)) = callers.pop() {
                let _ = caller.send(Err(error));
            }
        }
    }
}

/// Whether the job can be written beside others without being looked at one by one.
fn is_plain(job: &NewJob) -> bool {
    !job.id_is_producers && job.unique.is_none() && job.idempotency_key.is_none() && job.extra.after.is_empty()
}

/// Plain jobs in one statement; where an id was there before, the long way.
async fn together(lane: &Lane, jobs: &[NewJob], now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
    match plain(lane, jobs, now).await {
        Err(Error::Conflict { .. }) => any(lane, jobs, now).await,
        other => other,
    }
}

async fn plain(lane: &Lane, jobs: &[NewJob], now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.0).collect();
    let (low, high) = (ids.iter().min().copied().unwrap_or_default(), ids.iter().max().copied().unwrap_or_default());
    let payloads: Vec<Text<Json>> = jobs.iter().map(|job| Text(job.payload.clone())).collect();
    let (statement, params) = if let Some(one) = alike(jobs) {
        let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
        let params = params![
            ids,
            payloads,
            one.kind.to_string(),
            text(&one.queue),
            text(&one.tenant),
            one.priority.map(i16::from),
            one.timeout_ms.map(ms),
            one.max_attempts.and_then(|n| i32::try_from(n).ok()),
            low,
            high,
            now.map(|t| t.0),
        ];
        (ALIKE, params)
    } else {
        let params = params![
            ids,
            jobs.iter().map(|job| Text(job.kind.clone())).collect::<Vec<Text<Name>>>(),
            payloads,
            some(jobs, |job| job.queue.clone().map(Text)),
            some(jobs, |job| job.tenant.clone().map(Text)),
            some(jobs, |job| job.priority.map(i16::from)),
            some(jobs, |job| job.run_at.map(|t| t.0)),
            some(jobs, |job| (job.delay_ms > 0).then(|| ms(job.delay_ms))),
            some(jobs, |job| job.expires_at.map(|t| t.0)),
            some(jobs, |job| job.timeout_ms.map(ms)),
            some(jobs, |job| job.max_attempts.and_then(|n| i32::try_from(n).ok())),
            some(jobs, |job| job.concurrency_key.clone().map(Text)),
            some(jobs, |job| job.ordered.then_some(true)),
            some(jobs, |job| extra_text(&job.extra)),
            low,
            high,
            now.map(|t| t.0),
        ];
        (PLAIN, params)
    };
    let row = lane.one(Effect::Writes, statement, params).await?;
    let at = Timestamp(row.get(0));
    let answer = |job: &NewJob| {
        let due = job.run_at.unwrap_or_else(|| at.plus_ms(job.delay_ms));
        Enqueued { id: job.id, status: if due > at { State::Scheduled } else { State::Queued }, duplicate: false }
    };
    Ok(jobs.iter().map(answer).collect())
}

/// The first of jobs that differ in nothing but id and payload, and wait for nothing.
fn alike(jobs: &[NewJob]) -> Option<&NewJob> {
    let one = jobs.first()?;
    let same = |job: &NewJob| {
        job.kind == one.kind
            && job.queue == one.queue
            && job.tenant == one.tenant
            && job.priority == one.priority
            && job.timeout_ms == one.timeout_ms
            && job.max_attempts == one.max_attempts
            && job.run_at.is_none()
            && job.delay_ms == 0
            && job.expires_at.is_none()
            && job.concurrency_key.is_none()
            && !job.ordered
            && job.extra.is_empty()
    };
    jobs.iter().all(same).then_some(one)
}

/// A column that most calls have nothing in.
fn some<T>(jobs: &[NewJob], of: impl Fn(&NewJob) -> Option<T>) -> Option<Vec<Option<T>>> {
    let values: Vec<Option<T>> = jobs.iter().map(of).collect();
    values.iter().any(Option::is_some).then_some(values)
}

async fn any(lane: &Lane, jobs: &[NewJob], now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
    let row = lane.one(Effect::Writes, ANY, any_params(jobs, now)).await?;
    answers(&row)
}

fn any_params(jobs: &[NewJob], now: Option<Timestamp>) -> Vec<super::params::Param> {
    let prints = jobs.iter().map(|job| (job.id_is_producers || job.idempotency_key.is_some()).then(|| fingerprint(job).to_vec()));
    params![
        jobs.iter().map(|job| Text(Json::of(job))).collect::<Vec<Text<Json>>>(),
        prints.collect::<Vec<Option<Vec<u8>>>>(),
        now.map(|t| t.0)
    ]
}

fn answers(row: &tokio_postgres::Row) -> Result<Vec<Enqueued>> {
    let (ids, states, duplicates): (Vec<Uuid>, Vec<&str>, Vec<bool>) = (row.get(0), row.get(1), row.get(2));
    let each = ids.into_iter().zip(states).zip(duplicates).map(|((id, state), duplicate)| {
        let status = State::parse(state).ok_or_else(|| Error::Corrupt(format!("`{state}` is no state")))?;
        Ok(Enqueued { id: crate::job::JobId(id), status, duplicate })
    });
    each.collect()
}
