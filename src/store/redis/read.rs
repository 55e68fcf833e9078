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
    store::{
        Error, Exported, Filter, LOOK, Page, Quarantined, QueueStatus, Result,
        search::{Leg, Looked, PAGE_BYTES, Room, TEXT_BYTES, weight},
    },
};
use redis::{Cmd, Value};
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// Jobs that are fetched at once of one queue.
const FETCH: usize = 250;
/// Of those that are read by their ids, where no size is known: at most so many megabytes.
const TOGETHER: usize = 50;
/// Where those of a state are no more, their ids are read at once: some milliseconds of the server's time.
const FEW: usize = 5_000;

/// Walks through the jobs of one shard.
struct Walk {
    shard: Tag,
    queue: Name,
    ahead: VecDeque<Row>,
    /// Where the next fetch begins; nothing at the beginning.
    from: Vec<u8>,
    /// All that may be shown, the newest last; None: whatever is there.
    only: Option<Vec<JobId>>,
    is_over: bool,
}

impl Walk {
    /// The next `limit` jobs at most.
    fn next(&mut self, base: &str, limit: usize, dead: bool, upwards: bool) -> Cmd {
        let Some(only) = &mut self.only else {
            let mut call = reading("page", &[base.to_owned()]);
            let (dead, upwards) = (if dead { "dead" } else { "" }, if upwards { "up" } else { "" });
            return call.arg("").arg(&self.from).arg(limit).arg(dead).arg(upwards).arg(PAGE_BYTES).clone();
        };
        let ids = only.split_off(only.len().saturating_sub(limit.min(TOGETHER)));
        let mut call = reading("rows", &[base.to_owned()]);
        call.arg("").arg(usize::MAX);
        ids.iter().rev().for_each(|id| _ = call.arg(id.0.as_bytes()));
        call
    }
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
        let walk = |shard: Tag| Walk {
            queue: partitions.queue_of(&shard),
            shard,
            ahead: VecDeque::new(),
            from: from.clone(),
            only: None,
            is_over: false,
        };
        let walks = self.all_shards().await?.into_keys().map(walk);
        Ok(walks.filter(|walk| queue.is_none_or(|queue| walk.queue == *queue)).collect())
    }

    /// Fills up those that have nothing ahead, until each has something or is over.
    async fn fetch(&self, walks: &mut [Walk], limit: usize, dead: bool, upwards: bool) -> Result<()> {
        loop {
            let mut empty: Vec<&mut Walk> = walks.iter_mut().filter(|walk| walk.ahead.is_empty() && !walk.is_over).collect();
            if empty.is_empty() {
                return Ok(());
            }
            let calls: Vec<Cmd> = empty.iter_mut().map(|walk| walk.next(&self.base(&walk.shard), limit, dead, upwards)).collect();
            for (walk, rows) in empty.into_iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
                walk.ahead = reply::list(rows)?.into_iter().map(row).collect::<Result<_>>()?;
                match (&walk.only, walk.ahead.back()) {
                    (Some(only), _) => walk.is_over = only.is_empty() && walk.ahead.is_empty(),
                    (None, Some(last)) => walk.from = last.id.0.as_bytes().to_vec(),
                    (None, None) => walk.is_over = true,
                }
            }
        }
    }

    /// Jobs that fit, newest first.
    pub(super) async fn look(&self, filter: &Filter, leg: Leg, room: Room) -> Result<Looked> {
        if filter.state.is_some_and(|state| !state.is_final()) && !filter.finished.is_any() {
            return Ok(Looked::default());
        }
        let mut walks = self.walks(filter.queue.as_ref(), leg.below.as_bytes().to_vec()).await?;
        self.narrow(&mut walks, filter.state, leg).await?;
        let dead = filter.state == Some(State::Dead);
        let fetch = (2 * room.rows / walks.len().max(1)).clamp(1, FETCH);
        let (mut looked, mut bytes, mut searched) = (Looked::default(), 0, 0);
        loop {
            self.fetch(&mut walks, fetch, dead, false).await?;
            let newest = walks.iter_mut().filter_map(|walk| Some((walk.ahead.front()?.id, walk))).max_by_key(|(id, _)| *id);
            let Some((id, walk)) = newest.filter(|(id, _)| id.0 >= leg.down_to) else {
                return Ok(Looked { stopped_at: None, ..looked });
            };
            let is_full = looked.jobs.len() == room.jobs || bytes >= room.bytes;
            if is_full || looked.rows == room.rows || searched >= TEXT_BYTES {
                return Ok(looked);
            }
            let Some(row) = walk.ahead.pop_front() else { return Ok(looked) };
            looked.rows += 1;
            looked.stopped_at = Some(id.0);
            searched += if filter.text.is_some() { row.blob.len() } else { 0 };
            match rows::job(&walk.queue, &row) {
                Ok(job) if filter.fits(&job) => {
                    bytes += weight(&job);
                    looked.jobs.push(job);
                }
                Ok(_) => {}
                Err(reason) => tracing::error!(reason, "a stored job cannot be shown"),
            }
        }
    }

    /// Where those that are in a state are few, they are read and not looked for.
    async fn narrow(&self, walks: &mut [Walk], state: Option<State>, leg: Leg) -> Result<()> {
        let Some(state) = state.filter(|state| matches!(state, State::Running | State::Scheduled | State::Parked)) else { return Ok(()) };
        let few = |walk: &Walk| reading("few", &[self.base(&walk.shard)]).arg("").arg(state.as_str()).arg(FEW).clone();
        let calls: Vec<Cmd> = walks.iter().map(few).collect();
        for (walk, found) in walks.iter_mut().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
            if matches!(found, Value::Nil) {
                continue;
            }
            let mut ids = reply::list(found)?.into_iter().map(reply::id).collect::<Result<Vec<_>>>()?;
            ids.retain(|id| (leg.down_to..leg.below).contains(&id.0));
            // The next is taken from the end.
            ids.sort_unstable();
            walk.only = Some(ids);
        }
        Ok(())
    }

    /// Live jobs and dead letters, oldest id first.
    pub(super) async fn export_jobs(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
        let from = cursor.map(cursor_id).transpose()?.unwrap_or_default();
        let mut walks = self.walks(None, from).await?;
        let (mut page, mut bytes) = (Page::default(), 0);
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
