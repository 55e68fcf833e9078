//! Jobs come in: one call for all queues, all or none.

use super::{
    RedisStore,
    asked::{self, Asked},
    connection::function,
    error::{Effect, odd},
    reply,
};
use crate::{
    job::{JobId, Name, NewJob, State, Timestamp},
    store::{Enqueued, Result},
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

impl RedisStore {
    pub(super) async fn enqueue_jobs(&self, jobs: Vec<NewJob>, now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
        let queues = self.queues_of(&jobs).await?;
        let shards: BTreeSet<&Name> = queues.iter().collect();
        let numbers: BTreeMap<&Name, usize> = shards.iter().copied().zip(1..).collect();
        let keys: Vec<String> = shards.into_iter().map(|queue| self.base(queue)).collect();
        let mut call = function("enqueue", &keys);
        call.arg(instant(now));
        for (job, queue) in jobs.iter().zip(&queues) {
            call.arg(numbers[queue]).arg(job.id.0.as_bytes()).arg(asked::packed(&Asked::of(job))).arg(job.payload.as_str());
        }
        let replies: Vec<redis::Value> = self.server.ask(Effect::Promises, &call).await?;
        self.wakes.work();
        replies.into_iter().map(|reply| answer(&reply::bytes(reply)?)).collect()
    }

    /// Of each job.
    async fn queues_of(&self, jobs: &[NewJob]) -> Result<Vec<Name>> {
        let settings = if jobs.iter().all(|job| job.queue.is_some()) { None } else { Some(self.known_settings().await?) };
        let of = |job: &NewJob| job.queue.clone().or_else(|| settings.as_ref().map(|settings| settings.kind(&job.kind).queue));
        jobs.iter().map(of).collect::<Option<_>>().map_or_else(|| odd("settings"), Ok)
    }
}

/// Whether it is a duplicate, the letter of its state, and the id.
fn answer(bytes: &[u8]) -> Result<Enqueued> {
    let [duplicate, state, id @ ..] = bytes else { return odd("an answer a job") };
    let Ok(id) = Uuid::from_slice(id) else { return odd("an id") };
    let status = match state {
        b's' => State::Scheduled,
        b'p' => State::Parked,
        b'r' => State::Running,
        b'c' => State::Completed,
        b'x' => State::Cancelled,
        b'd' => State::Dead,
        _ => State::Queued,
    };
    Ok(Enqueued { id: JobId(id), status, duplicate: *duplicate == b'1' })
}

/// As the library takes it: nothing means its server's clock.
pub(super) fn instant(now: Option<Timestamp>) -> String {
    now.map(|t| t.0.to_string()).unwrap_or_default()
}
