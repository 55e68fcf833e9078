//! Jobs come in: one call for all queues, all or none.

use super::{
    RedisStore,
    asked::{self, Asked},
    connection::function,
    error::{Effect, odd},
    reply,
    shards::Tag,
};
use crate::{
    job::{JobId, NewJob, State, Timestamp},
    store::{Enqueued, Error, Result},
};
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};
use uuid::Uuid;

impl RedisStore {
    pub(super) async fn enqueue_jobs(&self, jobs: &[NewJob], now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
        let shards = self.shards_of_jobs(jobs).await?;
        let answers = self.enqueue_on(jobs, &shards, now).await.inspect_err(|error| {
            // The queues' partitions may be others now.
            if self.server.is_cluster() && error.is_outage() {
                self.settings_are_old.store(true, Ordering::Relaxed);
            }
        })?;
        self.wakes.work();
        Ok(answers)
    }

    async fn enqueue_on(&self, jobs: &[NewJob], shards: &[Tag], now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
        if self.server.is_cluster() {
            return self.enqueue_in_cluster(jobs, shards, now).await;
        }
        let replies: Vec<Value> = self.server.ask(Effect::Promises, &self.call_of("enqueue", jobs.iter().zip(shards), now)).await?;
        jobs.iter().zip(replies).map(|(job, reply)| answer(job, reply)).collect()
    }

    /// One call for all of these jobs and their shards.
    fn call_of<'j>(&self, name: &str, jobs: impl Iterator<Item = (&'j NewJob, &'j Tag)> + Clone, now: Option<Timestamp>) -> Cmd {
        let shards: BTreeSet<&Tag> = jobs.clone().map(|(_, shard)| shard).collect();
        let numbers: BTreeMap<&Tag, usize> = shards.iter().copied().zip(1..).collect();
        let keys: Vec<String> = shards.into_iter().map(|shard| self.base(shard)).collect();
        let mut call = function(name, &keys);
        call.arg(instant(now));
        let jobs: Vec<(&NewJob, &Tag)> = jobs.collect();
        for group in jobs.chunk_by(|a, b| a.1 == b.1 && asked::head(a.0) == asked::head(b.0)) {
            let [(first, shard), ..] = group else { continue };
            call.arg(numbers[shard]).arg(asked::packed(&Asked::of(first))).arg(group.len());
            for (job, _) in group {
                call.arg(job.id.0.as_bytes()).arg(job.payload.as_str());
            }
        }
        call
    }

    /// One call a shard. Where there are several, all are asked first whether they would refuse: what changes between the question and
    /// the write may leave some of the jobs in, and the call asked again by its ids brings in the rest.
    async fn enqueue_in_cluster(&self, jobs: &[NewJob], tags: &[Tag], now: Option<Timestamp>) -> Result<Vec<Enqueued>> {
        self.enrol(tags).await?;
        let tags = &self.where_ids_are(jobs, tags).await?[..];
        let mut shards: BTreeMap<&Tag, Vec<usize>> = BTreeMap::new();
        for (index, tag) in tags.iter().enumerate() {
            shards.entry(tag).or_default().push(index);
        }
        if shards.len() > 1 {
            self.on_shards::<Value>("check", &shards, jobs, tags, now).await?;
        }
        let mut answers: Vec<Option<Enqueued>> = vec![None; jobs.len()];
        for (indexes, replies) in self.on_shards::<Vec<Value>>("enqueue", &shards, jobs, tags, now).await? {
            for (&index, reply) in indexes.iter().zip(replies) {
                answers[index] = Some(answer(&jobs[index], reply)?);
            }
        }
        self.deliver(now).await;
        for (job, answer) in jobs.iter().zip(&mut answers) {
            if let Some(enqueued) = answer
                && !job.extra.after.is_empty()
                && let Some(found) = self.get_job(enqueued.id).await?
            {
                // Its parents may have let it go meanwhile.
                enqueued.status = found.state;
            }
        }
        answers.into_iter().collect::<Option<_>>().map_or_else(|| odd("an answer a job"), Ok)
    }

    /// The same call on each of the shards, with its own jobs. Of several refusals the first job's is told.
    async fn on_shards<'s, T: FromRedisValue>(
        &self,
        name: &str,
        shards: &'s BTreeMap<&Tag, Vec<usize>>,
        jobs: &[NewJob],
        tags: &[Tag],
        now: Option<Timestamp>,
    ) -> Result<Vec<(&'s Vec<usize>, T)>> {
        let each = shards.values().map(|indexes| async move {
            let call = self.call_of(name, indexes.iter().map(|&index| (&jobs[index], &tags[index])), now);
            self.server
                .ask::<T>(Effect::Promises, &call)
                .await
                .map(|answer| (indexes, answer))
                .map_err(|error| in_whole_call(error, indexes))
        });
        let (done, failed): (Vec<_>, Vec<_>) = join_all(each).await.into_iter().partition(Result::is_ok);
        match failed.into_iter().filter_map(Result::err).min_by_key(|error| error.of_item().map(|(index, _)| index)) {
            Some(error) => Err(error),
            None => done.into_iter().collect(),
        }
    }

    /// An id names one job, whatever its shard. One of its queue that is there already, from when that had other partitions, is asked for where it
    /// is; elsewhere it is another job's.
    async fn where_ids_are(&self, jobs: &[NewJob], tags: &[Tag]) -> Result<Vec<Tag>> {
        let mut tags = tags.to_vec();
        if !jobs.iter().any(|job| job.id_is_producers) {
            return Ok(tags);
        }
        let (all, partitions) = (self.all_shards().await?, self.partitions().await?);
        for (index, (job, own)) in jobs.iter().zip(&mut tags).enumerate().filter(|(_, (job, _))| job.id_is_producers) {
            let others: Vec<&Tag> = all.keys().filter(|tag| *tag != own).collect();
            let calls: Vec<Cmd> = others
                .iter()
                .map(|tag| redis::cmd("HEXISTS").arg(format!("{}:jobs", self.base(tag))).arg(job.id.0.as_bytes()).clone())
                .collect();
            for (other, told) in others.into_iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
                if reply::number(told)? == 1 {
                    if partitions.queue_of(other) != partitions.queue_of(own) {
                        return Err(Error::Conflict { index, id: job.id });
                    }
                    *own = other.clone();
                    break;
                }
            }
        }
        Ok(tags)
    }

    /// Of each job.
    async fn shards_of_jobs(&self, jobs: &[NewJob]) -> Result<Vec<Tag>> {
        let (settings, partitions) = (self.known_settings().await?, self.partitions().await?);
        let of = |(index, job): (usize, &NewJob)| {
            let tag = match &job.queue {
                Some(queue) => partitions.tag_for(queue, job),
                None => partitions.tag_for(&settings.kind(&job.kind).queue, job),
            };
            tag.map_err(|error| Error::Invalid { index, error })
        };
        jobs.iter().enumerate().map(of).collect()
    }
}

/// The place of a refused job in the whole call, of which a shard had some.
fn in_whole_call(error: Error, indexes: &[usize]) -> Error {
    let place = |index: usize| indexes.get(index).copied().unwrap_or(index);
    match error {
        Error::Conflict { index, id } => Error::Conflict { index: place(index), id },
        Error::Duplicate { index, holder } => Error::Duplicate { index: place(index), holder },
        other => other,
    }
}

/// Whether it is a duplicate, the letter of its state; and of a duplicate, whose: otherwise it is the job that was asked for.
fn answer(job: &NewJob, reply: Value) -> Result<Enqueued> {
    let bytes = reply::bytes(reply)?;
    let [duplicate, state, id @ ..] = bytes.as_slice() else { return odd("an answer a job") };
    let duplicate = *duplicate == b'1';
    let id = match Uuid::from_slice(id) {
        Ok(id) if duplicate => JobId(id),
        Err(_) if !duplicate => job.id,
        _ => return odd("an id of a duplicate"),
    };
    let status = match state {
        b's' => State::Scheduled,
        b'p' => State::Parked,
        b'r' => State::Running,
        b'c' => State::Completed,
        b'x' => State::Cancelled,
        b'd' => State::Dead,
        _ => State::Queued,
    };
    Ok(Enqueued { id, status, duplicate })
}

/// As the library takes it: nothing means its server's clock.
pub(super) fn instant(now: Option<Timestamp>) -> String {
    now.map(|t| t.0.to_string()).unwrap_or_default()
}
