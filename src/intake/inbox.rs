//! The inbox: a plain Redis list that producers push envelopes onto, whatever the store is and whether or not a daemon runs.
//!
//! An entry is given an id in the same step that takes it off the list; it is enqueued under that id and then forgotten. Whoever dies in
//! between leaves it among those that move, and the next daemon enqueues it again under the same id, which is the same job. What can be
//! no job is put aside with its reason, in a stream.

use crate::{
    clock::Clock,
    job::{Curve, Jitter, JobId, Limits, NewJob, RetryPolicy, Timestamp},
    store::{self, Store, redis::seeds},
    telemetry::Metrics,
};
use redis::{RedisError, RedisResult, aio::ConnectionLike, cluster::ClusterClient};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Where the inbox is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server. Left out, it is the store's where that is Redis, and there is no inbox where it is not.
    pub url: Option<String>,
    /// The list is `<prefix>:inbox`.
    pub prefix: String,
}

/// As many as are enqueued in one commit.
const BATCH: usize = 500;
/// Bytes of a batch: more would keep the server from others.
const BATCH_BYTES: usize = 4 << 20;
/// Longer entries are put aside unread: the largest payload that any configuration allows, and the rest of its envelope.
const ENTRY_BYTES: usize = Limits::PAYLOAD_HARD + (1 << 20);
/// How long one waits for an entry before it looks at what others left.
const WAIT: Duration = Duration::from_secs(5);
/// A moving entry is somebody else's for so long; then it is taken up. Enqueueing twice at once does no harm.
const ABANDONED: Duration = Duration::from_secs(30);

const TAKE: &str = include_str!("take.lua");

/// Where it is reached.
enum Place {
    Server(Box<redis::Client>),
    Cluster(Box<ClusterClient>),
}

pub struct Inbox {
    place: Place,
    prefix: String,
    store: Arc<dyn Store>,
    /// Those in force.
    limits: watch::Receiver<Limits>,
    metrics: Metrics,
    clock: Clock,
}

/// Why a round ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the inbox's Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

struct Entry {
    id: JobId,
    bytes: Vec<u8>,
}

/// What cannot be a job, and why.
struct Unfit {
    entry: Entry,
    code: &'static str,
    reason: String,
}

impl Inbox {
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(
        url: &str,
        prefix: &str,
        store: Arc<dyn Store>,
        limits: watch::Receiver<Limits>,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, String> {
        let place = place(url).map_err(|e| format!("the inbox's URL cannot be read ({e}); use redis://user:password@host:6379/0"))?;
        Ok(Self { place, prefix: prefix.to_owned(), store, limits, metrics, clock })
    }

    /// Takes in what is there and what comes, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let curve = Curve::Exponential { base_ms: 100, factor: 2.0, cap_ms: 5000 };
        let pauses = RetryPolicy { curve, jitter: Jitter::Equal, ..RetryPolicy::default() };
        let mut tries = 0;
        loop {
            let round = self.serve(&mut tries);
            let trouble = tokio::select! {
                ended = round => ended,
                () = stop.cancelled() => return,
            };
            if let Err(error) = trouble {
                match tries {
                    0 => tracing::error!(%error, "the inbox is not served; trying on, and what is in it waits"),
                    _ => tracing::debug!(%error, "the inbox is not served"),
                }
            }
            tries += 1;
            let pause = pauses.delay(tries, None, u64::from(tries) ^ self.clock.now().0.cast_unsigned());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Returns when something fails. `tries` counts the rounds since something went well.
    async fn serve(&self, tries: &mut u32) -> Result<(), Trouble> {
        // One that waits keeps its connection from everything else.
        match &self.place {
            Place::Server(client) => {
                let settings = redis::AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(Duration::from_secs(5)))
                    .set_response_timeout(Some(WAIT * 2));
                let here = client.get_multiplexed_async_connection_with_config(&settings).await?;
                let waiting = client.get_multiplexed_async_connection_with_config(&settings).await?;
                self.serve_on(here, waiting, tries).await
            }
            Place::Cluster(client) => {
                self.serve_on(client.get_async_connection().await?, client.get_async_connection().await?, tries).await
            }
        }
    }

    async fn serve_on(
        &self,
        mut here: impl ConnectionLike + Send,
        mut waiting: impl ConnectionLike + Send,
        tries: &mut u32,
    ) -> Result<(), Trouble> {
        self.take_up(&mut here, Duration::ZERO).await?;
        let mut looked = Instant::now();
        loop {
            while self.take(&mut here).await? {}
            if std::mem::take(tries) > 0 {
                tracing::info!("the inbox is served again");
            }
            if looked.elapsed() >= ABANDONED {
                self.take_up(&mut here, ABANDONED).await?;
                looked = Instant::now();
            }
            let mut wait = redis::cmd("BRPOPLPUSH");
            wait.arg(self.list()).arg(self.key("next")).arg(WAIT.as_secs());
            let _: Option<Vec<u8>> = wait.query_async(&mut waiting).await?;
        }
    }

    fn list(&self) -> String {
        format!("{}:inbox", self.prefix)
    }

    /// Beside the list, in its slot.
    fn key(&self, name: &str) -> String {
        format!("{{{}:inbox}}:{name}", self.prefix)
    }

    /// Takes in a batch; answers whether there may be more.
    async fn take(&self, server: &mut (impl ConnectionLike + Send)) -> Result<bool, Trouble> {
        let mut lengths = redis::pipe();
        lengths.cmd("LLEN").arg(self.list()).cmd("LLEN").arg(self.key("next")).cmd("HLEN").arg(self.key("moving"));
        let (waiting, next, moving): (usize, usize, usize) = lengths.query_async(server).await?;
        self.metrics.inbox_entries.with_label_values::<&str>(&[]).set(i64::try_from(waiting + next + moving).unwrap_or(i64::MAX));
        let there = waiting + next;
        if there == 0 {
            return Ok(false);
        }
        let mut call = redis::cmd("EVAL");
        call.arg(TAKE).arg(4).arg(self.list()).arg(self.key("next")).arg(self.key("moving")).arg(self.key("quarantined"));
        call.arg(BATCH_BYTES).arg(ENTRY_BYTES);
        for _ in 0..there.min(BATCH) {
            call.arg(JobId::mint().to_string());
        }
        let taken: Vec<(String, Vec<u8>)> = call.query_async(server).await?;
        self.enqueue(server, entries(taken)).await?;
        Ok(true)
    }

    /// Enqueues what others took off the list `before` ago and did not end.
    async fn take_up(&self, server: &mut (impl ConnectionLike + Send), before: Duration) -> Result<(), Trouble> {
        let latest = self.clock.now().minus(before);
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(self.key("moving")).arg(cursor).arg("COUNT").arg(BATCH / 10);
            let (next, page): (u64, Vec<(String, Vec<u8>)>) = scan.query_async(server).await?;
            let old = entries(page).into_iter().filter(|entry| minted_at(entry.id) <= latest).collect();
            self.enqueue(server, old).await?;
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    async fn enqueue(&self, server: &mut (impl ConnectionLike + Send), entries: Vec<Entry>) -> Result<(), Trouble> {
        let limits = *self.limits.borrow();
        let (mut good, mut unfit) = (Vec::new(), Vec::new());
        for entry in entries {
            match NewJob::check(&entry.bytes, limits) {
                Ok(mut job) => {
                    if !job.id_is_producers {
                        job.id = entry.id;
                    }
                    good.push((entry, job));
                }
                Err(fault) => unfit.push(Unfit { entry, code: fault.code, reason: fault.to_string() }),
            }
        }
        while !good.is_empty() {
            match self.store.enqueue(good.iter().map(|(_, job)| job.clone()).collect(), None).await {
                Ok(enqueued) => {
                    for done in &enqueued {
                        self.count(if done.duplicate { "duplicate" } else { "new" });
                    }
                    break;
                }
                // One that is refused does not keep out the others.
                Err(error) => match error.of_item() {
                    Some((index, reason)) if index < good.len() => {
                        let (entry, _) = good.remove(index);
                        unfit.push(Unfit { entry, code: error.label(), reason });
                    }
                    _ => return Err(error.into()),
                },
            }
        }
        self.forget(server, good.iter().map(|(entry, _)| entry.id), unfit).await
    }

    /// Those are jobs now, and these never will be.
    async fn forget(
        &self,
        server: &mut (impl ConnectionLike + Send),
        done: impl Iterator<Item = JobId>,
        unfit: Vec<Unfit>,
    ) -> Result<(), Trouble> {
        let mut steps = redis::pipe();
        steps.atomic();
        for Unfit { entry, code, reason } in unfit {
            tracing::warn!(id = %entry.id, code, %reason, stream = self.key("quarantined"), "an entry of the inbox can be no job and was put aside");
            self.count("quarantined");
            steps.cmd("XADD").arg(self.key("quarantined")).arg("*").arg("code").arg(code).arg("reason").arg(reason);
            steps.arg("entry").arg(entry.bytes).ignore();
            steps.cmd("HDEL").arg(self.key("moving")).arg(entry.id.to_string()).ignore();
        }
        let ids: Vec<String> = done.map(|id| id.to_string()).collect();
        if !ids.is_empty() {
            steps.cmd("HDEL").arg(self.key("moving")).arg(ids).ignore();
        }
        if !steps.is_empty() {
            let () = steps.query_async(server).await?;
        }
        Ok(())
    }

    fn count(&self, result: &str) {
        self.metrics.inbox_taken.with_label_values(&[result]).inc();
    }
}

fn place(url: &str) -> RedisResult<Place> {
    match seeds(url) {
        Some(seeds) => {
            let client = ClusterClient::builder(seeds).connection_timeout(Duration::from_secs(5)).response_timeout(WAIT * 2).build()?;
            Ok(Place::Cluster(Box::new(client)))
        }
        None => Ok(Place::Server(Box::new(redis::Client::open(url)?))),
    }
}

/// What stands under no id was put there by somebody else, and stays.
fn entries(rows: Vec<(String, Vec<u8>)>) -> Vec<Entry> {
    rows.into_iter().filter_map(|(id, bytes)| id.parse().ok().map(|id| Entry { id, bytes })).collect()
}

/// By the clock of the daemon that took it: a UUIDv7 begins with its milliseconds.
fn minted_at(id: JobId) -> Timestamp {
    let ms = id.0.as_u128() >> 80;
    Timestamp(i64::try_from(ms).unwrap_or(0).saturating_mul(1000))
}
