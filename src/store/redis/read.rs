//! Reading: one job wherever it is, pages over all queues, counters.

use super::{
    RedisStore,
    connection::reading,
    enqueue::instant,
    error::Effect,
    reply,
    rows::{self, Row},
    shards::Tag,
};
use crate::{
    job::{HolderId, InvalidEnvelope, Job, JobId, Json, Name, OnDuplicate, Pause, State, Timestamp, Unique, UniqueFor},
    store::{Error, Exported, Filter, Page, Quarantined, QueueStatus, Result},
};
use redis::{Cmd, Value};
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// Bytes of payload, result and checkpoint in one page at most, but for its last job.
const PAGE_BYTES: usize = 8 << 20;
/// Jobs that one listing call looks at: a page never takes long, however rare what is asked for.
const LOOK: usize = 10_000;
/// Jobs that are fetched at once of one queue.
const FETCH: usize = 250;

/// Walks through the jobs of one shard.
struct Walk {
    shard: Tag,
    queue: Name,
    ahead: VecDeque<Row>,
    /// Where the next fetch begins; nothing at the beginning.
    from: Vec<u8>,
    is_over: bool,
}

fn row(value: Value) -> Result<Row> {
    let mut parts = reply::list(value)?.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Nil);
    let (id, blob, ended) = (reply::id(next())?, reply::bytes(next())?, reply::bytes(next())?);
    let run = match next() {
        Value::Nil => None,
        at => Some((reply::number(at)?, HolderId(reply::uuid(next())?), reply::text(next())?)),
    };
    Ok(Row { id, blob, ended, run })
}

fn cursor_id(text: &str) -> Result<Vec<u8>> {
    let id = Uuid::parse_str(text).map_err(|_| Error::Invalid {
        index: 0,
        error: InvalidEnvelope::new("/cursor", "out_of_range", "is not a cursor of this list; send one that an earlier page answered"),
    })?;
    Ok(id.as_bytes().to_vec())
}

fn weight(job: &Job) -> usize {
    [Some(&job.payload), job.result.as_ref(), job.checkpoint.as_ref()].into_iter().flatten().map(|json| json.as_str().len()).sum()
}

fn matches(job: &Job, filter: &Filter) -> bool {
    filter.state.is_none_or(|state| job.state == state)
        && filter.kind.as_ref().is_none_or(|kind| job.kind == *kind)
        && filter.queue.as_ref().is_none_or(|queue| job.queue == *queue)
        && filter.tenant.as_ref().is_none_or(|tenant| job.tenant.as_ref() == Some(tenant))
        && filter.tag.as_ref().is_none_or(|tag| job.extra.tags.contains(tag))
}

impl RedisStore {
    pub(super) async fn get_job(&self, id: JobId) -> Result<Option<Job>> {
        let shards: Vec<Tag> = self.all_shards().await?.into_keys().collect();
        let calls: Vec<Cmd> = shards.iter().map(|shard| reading("get", &[self.base(shard)]).arg("").arg(id.0.as_bytes()).clone()).collect();
        for (shard, found) in shards.iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
            if !matches!(found, Value::Nil) {
                return rows::job(&self.partitions().await?.queue_of(shard), &row(found)?).map(Some).map_err(Error::Corrupt);
            }
        }
        Ok(None)
    }

    /// The shard that a job is in.
    pub(super) async fn shard_with(&self, id: JobId) -> Result<Tag> {
        let shards: Vec<Tag> = self.all_shards().await?.into_keys().collect();
        let calls: Vec<Cmd> = shards
            .iter()
            .map(|shard| redis::cmd("HEXISTS").arg(format!("{}:jobs", self.base(shard))).arg(id.0.as_bytes()).clone())
            .collect();
        for (shard, found) in shards.iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
            if matches!(found, Value::Int(1)) {
                return Ok(shard.clone());
            }
        }
        Err(Error::NotFound { what: format!("job {id}") })
    }

    async fn walks(&self, queue: Option<&Name>, from: Vec<u8>) -> Result<Vec<Walk>> {
        let partitions = self.partitions().await?;
        let walk =
            |shard: Tag| Walk { queue: partitions.queue_of(&shard), shard, ahead: VecDeque::new(), from: from.clone(), is_over: false };
        let walks = self.all_shards().await?.into_keys().map(walk);
        Ok(walks.filter(|walk| queue.is_none_or(|queue| walk.queue == *queue)).collect())
    }

    /// Fills up those that have nothing ahead.
    async fn fetch(&self, walks: &mut [Walk], limit: usize, dead: bool, upwards: bool) -> Result<()> {
        let empty: Vec<&mut Walk> = walks.iter_mut().filter(|walk| walk.ahead.is_empty() && !walk.is_over).collect();
        let calls: Vec<Cmd> = empty
            .iter()
            .map(|walk| {
                let mut call = reading("page", &[self.base(&walk.shard)]);
                call.arg("")
                    .arg(&walk.from)
                    .arg(limit)
                    .arg(if dead { "dead" } else { "" })
                    .arg(if upwards { "up" } else { "" })
                    .arg(PAGE_BYTES);
                call
            })
            .collect();
        for (walk, rows) in empty.into_iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
            walk.ahead = reply::list(rows)?.into_iter().map(row).collect::<Result<_>>()?;
            match walk.ahead.back() {
                Some(last) => walk.from = last.id.0.as_bytes().to_vec(),
                None => walk.is_over = true,
            }
        }
        Ok(())
    }

    pub(super) async fn list_jobs(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page<Job>> {
        let from = cursor.map(cursor_id).transpose()?.unwrap_or_default();
        let mut walks = self.walks(filter.queue.as_ref(), from).await?;
        let dead = filter.state == Some(State::Dead);
        let fetch = if *filter == Filter::default() { limit + 1 } else { FETCH };
        let (mut page, mut bytes) = (Page { items: Vec::new(), next: None }, 0);
        for _ in 0..LOOK {
            self.fetch(&mut walks, fetch.clamp(1, FETCH), dead, false).await?;
            let newest = walks.iter_mut().filter(|walk| !walk.ahead.is_empty()).max_by_key(|walk| walk.ahead.front().map(|row| row.id));
            let Some(walk) = newest else {
                page.next = None;
                return Ok(page);
            };
            if page.items.len() == limit || bytes >= PAGE_BYTES {
                return Ok(page);
            }
            let Some(row) = walk.ahead.pop_front() else { return Ok(page) };
            page.next = Some(row.id.to_string());
            match rows::job(&walk.queue, &row) {
                Ok(job) if matches(&job, filter) => {
                    bytes += weight(&job);
                    page.items.push(job);
                }
                Ok(_) => {}
                Err(reason) => tracing::error!(reason, "a stored job cannot be shown"),
            }
        }
        Ok(page)
    }

    /// Live jobs and dead letters, oldest id first.
    pub(super) async fn export_jobs(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
        let from = cursor.map(cursor_id).transpose()?.unwrap_or_default();
        let mut walks = self.walks(None, from).await?;
        let (mut page, mut bytes) = (Page { items: Vec::new(), next: None }, 0);
        for _ in 0..LOOK {
            self.fetch(&mut walks, FETCH, false, true).await?;
            let oldest = walks.iter_mut().filter(|walk| !walk.ahead.is_empty()).min_by_key(|walk| walk.ahead.front().map(|row| row.id));
            let Some(walk) = oldest else {
                page.next = None;
                return Ok(page);
            };
            if page.items.len() == limit || bytes >= PAGE_BYTES {
                return Ok(page);
            }
            let Some(row) = walk.ahead.pop_front() else { return Ok(page) };
            page.next = Some(row.id.to_string());
            match rows::exported(&walk.queue, &row) {
                Ok(Some(mut exported)) => {
                    bytes += weight(&exported.job);
                    self.beside(&walk.shard, &mut exported).await?;
                    page.items.push(exported);
                }
                Ok(None) => {}
                Err(reason) => tracing::error!(reason, "a stored job cannot be exported"),
            }
        }
        Ok(page)
    }

    /// Who holds its key, and what it waits for.
    async fn beside(&self, shard: &Tag, exported: &mut Exported) -> Result<()> {
        let job = &exported.job;
        if job.unique_key.is_none() && job.extra.after.is_empty() {
            return Ok(());
        }
        let call = reading("beside_job", &[self.base(shard)]).arg("").arg(job.id.0.as_bytes()).clone();
        let [unique, parents] = reply::fixed(self.server.ask(Effect::Reads, &call).await?)?;
        exported.unique = held(&reply::bytes(unique)?, job.unique_key.as_ref());
        exported.waits_for = reply::list(parents)?.into_iter().map(reply::id).collect::<Result<_>>()?;
        exported.waits_for.sort_unstable();
        Ok(())
    }

    pub(super) async fn queue_statuses(&self, now: Timestamp) -> Result<Vec<QueueStatus>> {
        const STATES: [State; 7] =
            [State::Scheduled, State::Queued, State::Running, State::Parked, State::Completed, State::Cancelled, State::Dead];
        let shards: Vec<Tag> = self.all_shards().await?.into_keys().collect();
        let calls: Vec<Cmd> = shards.iter().map(|shard| reading("status", &[self.base(shard)]).arg(instant(Some(now))).clone()).collect();
        let partitions = self.partitions().await?;
        let mut statuses: BTreeMap<Name, QueueStatus> = BTreeMap::new();
        for (shard, told) in shards.into_iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
            let [counts, oldest] = reply::fixed(told)?;
            let mut counts = reply::list(counts)?.into_iter();
            let queue = partitions.queue_of(&shard);
            let status = statuses.entry(queue.clone()).or_insert_with(|| QueueStatus { name: queue.to_string(), ..QueueStatus::default() });
            for state in STATES {
                let jobs = match counts.next() {
                    None | Some(Value::Nil) => 0,
                    Some(jobs) => reply::count(jobs)?,
                };
                *status.jobs.entry(state).or_default() += jobs;
            }
            if let Some(row) = counts.next().filter(|row| *row != Value::Nil) {
                status.paused = serde_json::from_str::<Pause>(&reply::text(row)?).ok().filter(|pause| pause.holds(now));
            }
            let oldest = reply::maybe_time(oldest)?.map(|due| u64::try_from(now.since(due).as_millis()).unwrap_or(u64::MAX));
            status.oldest_queued_ms = status.oldest_queued_ms.max(oldest);
        }
        Ok(statuses.into_values().collect())
    }

    pub(super) async fn quarantine_rows(&self, limit: usize) -> Result<Vec<Quarantined>> {
        #[derive(serde::Deserialize)]
        struct Kept {
            at: String,
            place: String,
            reason: String,
            row: String,
        }
        let shards: Vec<Tag> = self.all_shards().await?.into_keys().collect();
        let last = limit.saturating_sub(1);
        let calls: Vec<Cmd> = shards
            .iter()
            .map(|shard| redis::cmd("LRANGE").arg(format!("{}:quarantined", self.base(shard))).arg(0).arg(last).clone())
            .collect();
        let mut rows = Vec::new();
        for kept in self.server.ask_each(Effect::Reads, &calls).await? {
            for text in reply::list(kept)? {
                if let Ok(kept) = serde_json::from_str::<Kept>(&reply::text(text)?) {
                    let at = Timestamp(kept.at.parse().unwrap_or(0));
                    rows.push(Quarantined { at, place: kept.place, reason: kept.reason, row: kept.row });
                }
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    pub(super) async fn read_record(&self, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>> {
        let name = format!("{}\0{collection}\0{key}", tenant.map_or("", |t| t.as_str()));
        let call = redis::cmd("HGET").arg(format!("{}:records", self.common())).arg(name).clone();
        let Some(row) = self.server.ask::<Option<Vec<u8>>>(Effect::Reads, &call).await? else { return Ok(None) };
        // When it happened, and whose end wrote it.
        let value = row.get(32..).and_then(|value| std::str::from_utf8(value).ok());
        Ok(value.map(Json::trusted))
    }
}

/// held, live, until, first_at, id.
fn held(bytes: &[u8], key: Option<&Name>) -> Option<Unique> {
    let number = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(i64::from_be_bytes);
    let held = match bytes.first()? {
        b's' => UniqueFor::UntilStarted,
        b'w' => UniqueFor::Window(Timestamp(number(2)?).since(Timestamp(number(10)?))),
        _ => UniqueFor::UntilFinished,
    };
    Some(Unique { key: key?.clone(), held, on_duplicate: OnDuplicate::default(), debounce_max_ms: 0 })
}
