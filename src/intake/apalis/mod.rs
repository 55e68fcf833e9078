//! Bridges: tasks that stock producers of apalis-redis and apalis-postgres 1.0 push become jobs here, and the end of each job is written
//! back where a producer that waits for its task looks.
//!
//! ```text
//!   theirs   Pending ─take─► held by our worker ─enqueue─► Running, held ──── the job ends ───► Done | Failed | Killed
//!   ours                                        job, by an id made of theirs …   completed | dead | cancelled
//! ```
//!
//! Between any two of these steps anything may die. A task is held under the name of this boot's worker until it has ended; what a silent
//! boot holds is taken over. One that does not run yet is enqueued again, under the same id, which is the same job.

mod end;
mod postgres;
mod redis;
mod task;

use crate::{
    clock::Clock,
    job::{Curve, Jitter, JobId, Limits, Name, NewJob, RetryPolicy},
    store::{self, Store},
    telemetry::Metrics,
};
use async_trait::async_trait;
use end::End;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};
use task::{Open, Target, Task};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// One queue of theirs, and what its tasks become.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Their store: `redis://…` or `postgres://…`.
    pub url: String,
    /// What their producers call the queue; where they said nothing, the name of Rust's type, such as `my_app::Email`.
    pub queue: String,
    /// The kind of the jobs.
    pub kind: Name,
    /// The queue of the jobs; left out, the kind's.
    pub into: Option<Name>,
}

/// As many as are taken, enqueued or looked at in one step.
const BATCH: usize = 500;
/// Bytes of the payloads of a batch: more would keep their server from others.
const BATCH_BYTES: usize = 4 << 20;
/// Longer payloads are not read: no configuration lets them in.
const PAYLOAD_BYTES: usize = Limits::PAYLOAD_HARD;
/// What a dead letter shows of a payload that is none. The whole of it stays with the task.
const KEPT_BYTES: usize = 64 << 10;
/// Between two looks at a queue that had nothing, and at jobs of which none had ended. Nothing in their stores tells of each new task.
const PACE: Duration = Duration::from_millis(200);
/// Jobs that are looked at in a round of which nothing is known: five hundred a second at most.
const LOOKED_AT: usize = 100;
/// Between two words of a worker that it lives.
const BEAT: Duration = Duration::from_secs(10);
/// A worker of ours that gave no word for so long is dead, or will find out that it holds nothing any more.
const SILENCE: Duration = Duration::from_secs(30);
/// Their workers give away what one holds that gave no word for five minutes, and the job would run here and there. So ours gives each
/// word this much ahead: longer than any outage after which somebody means to go on.
const LEAD: Duration = Duration::from_secs(7 * 86_400);
/// What a worker that is told to stop may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);

/// Their queue, as a bridge uses it. Each call is one step that is done or is not.
#[async_trait]
trait Queue: Send {
    /// Tells that this worker lives; the first word makes it known.
    async fn beat(&mut self) -> Result<(), Error>;
    /// Tells that it is about to be silent: the next boot takes over at once.
    async fn leave(&mut self) -> Result<(), Error>;
    /// Takes over what silent workers of this bridge hold; answers how many tasks.
    async fn adopt(&mut self) -> Result<u64, Error>;
    /// The next tasks that are due, which this worker holds from now on.
    async fn take(&mut self, most: usize) -> Result<Vec<Task>, Error>;
    /// A page of what this worker holds. It begins with `after`, which is empty for the first.
    async fn held(&mut self, after: &str) -> Result<Held, Error>;
    /// These are jobs now.
    async fn start(&mut self, ids: &[&[u8]]) -> Result<(), Error>;
    /// Their jobs have ended. One that this worker does not hold any more stays as it is.
    async fn end(&mut self, ends: &[End]) -> Result<(), Error>;
}

#[derive(Default)]
struct Held {
    /// Those that may not be jobs yet.
    unsent: Vec<Task>,
    open: Vec<Open>,
    /// Where the next page begins.
    next: Option<String>,
}

/// As whom a bridge holds tasks.
#[derive(Clone)]
struct Worker {
    bridge: String,
    /// Theirs.
    queue: String,
    /// One for each boot: apalis takes a known name for a worker that still lives.
    name: String,
    /// What the names of all boots begin with.
    family: String,
}

enum Server {
    Redis(::redis::Client),
    Postgres(Box<tokio_postgres::Config>),
}

pub struct Bridge {
    server: Server,
    worker: Worker,
    target: Target,
    store: Arc<dyn Store>,
    /// Those in force.
    limits: watch::Receiver<Limits>,
    metrics: Metrics,
    clock: Clock,
}

/// Why a round ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("their Redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    #[error("their Postgres: {}", said(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("their Postgres did not answer in time")]
    Silent,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The driver's own text is `db error`.
fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

impl Error {
    /// A value does not fit its type (SQLSTATE class 22).
    fn is_of_data(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(|code| code.code().starts_with("22")))
    }
}

impl Server {
    fn of(url: &str) -> Result<Self, String> {
        match url.split(':').next() {
            Some("redis") => ::redis::Client::open(url).map(Self::Redis).map_err(|e| format!("cannot be read ({e})")),
            Some("postgres" | "postgresql") => {
                let mut server = tokio_postgres::Config::from_str(url).map_err(|e| format!("cannot be read ({e})"))?;
                server.application_name("windlass bridge").connect_timeout(Duration::from_secs(5));
                Ok(Self::Postgres(Box::new(server)))
            }
            _ => Err("is neither redis://… nor postgres://…".into()),
        }
    }

    async fn connect(&self, worker: Worker) -> Result<Box<dyn Queue>, Error> {
        Ok(match self {
            Self::Redis(client) => Box::new(redis::Queue::connect(client, worker).await?),
            Self::Postgres(server) => Box::new(postgres::Queue::connect(server, worker).await?),
        })
    }
}

impl Config {
    /// # Errors
    /// A sentence that names the setting of bridge `name`.
    pub fn check(&self, name: &str) -> Result<(), String> {
        if self.queue.is_empty() {
            return Err(format!("`apalis.{name}.queue` is empty; give the name that the producers push to"));
        }
        Server::of(&self.url)
            .map(drop)
            .map_err(|what| format!("`apalis.{name}.url` {what}; use redis://host:6379/0 or postgres://user@host/database"))
    }
}

impl Bridge {
    /// # Errors
    /// As [`Config::check`].
    pub fn new(
        name: &Name,
        config: &Config,
        store: Arc<dyn Store>,
        limits: watch::Receiver<Limits>,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, String> {
        config.check(name)?;
        let server = Server::of(&config.url)?;
        let family = format!("windlass/{name}/");
        let (bridge, queue) = (name.to_string(), config.queue.clone());
        let worker = Worker { bridge, queue: queue.clone(), name: format!("{family}{}", Uuid::now_v7()), family };
        let target = Target { bridge: name.clone(), queue, kind: config.kind.clone(), into: config.into.clone() };
        Ok(Self { server, worker, target, store, limits, metrics, clock })
    }

    /// Takes in what is due and writes back what ended, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let curve = Curve::Exponential { base_ms: 100, factor: 2.0, cap_ms: 5000 };
        let pauses = RetryPolicy { curve, jitter: Jitter::Equal, ..RetryPolicy::default() };
        let mut tries = 0;
        while let Err(error) = self.round(&mut tries, &stop).await {
            let (bridge, queue) = (&self.worker.bridge, &self.worker.queue);
            match tries {
                0 => tracing::error!(%error, bridge, queue, "the bridge is not served; trying on, and its tasks wait"),
                _ => tracing::debug!(%error, bridge, queue, "the bridge is not served"),
            }
            tries += 1;
            let pause = pauses.delay(tries, None, u64::from(tries) ^ self.clock.now().0.cast_unsigned());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Returns when something fails, or in order when told to stop. `tries` counts the rounds since something went well.
    async fn round(&self, tries: &mut u32, stop: &CancellationToken) -> Result<(), Error> {
        let connect = self.server.connect(self.worker.clone());
        let mut theirs = tokio::select! {
            connected = connect => connected?,
            () = stop.cancelled() => return Ok(()),
        };
        tokio::select! {
            failed = self.serve(&mut *theirs, tries) => failed,
            () = stop.cancelled() => {
                // Whoever does not hear it takes over a little later.
                let _ = tokio::time::timeout(FAREWELL, theirs.leave()).await;
                Ok(())
            }
        }
    }

    async fn serve(&self, theirs: &mut dyn Queue, tries: &mut u32) -> Result<(), Error> {
        theirs.beat().await?;
        theirs.adopt().await?;
        let mut open = self.take_up(theirs).await?;
        let mut beaten = Instant::now();
        loop {
            let taken = self.take(theirs, &mut open).await?;
            let ended = self.look(theirs, &mut open).await?;
            self.metrics.apalis_open.with_label_values(&[&self.worker.bridge]).set(i64::try_from(open.len()).unwrap_or(i64::MAX));
            if std::mem::take(tries) > 0 {
                tracing::info!(bridge = self.worker.bridge, queue = self.worker.queue, "the bridge is served again");
            }
            if beaten.elapsed() >= BEAT {
                theirs.beat().await?;
                beaten = Instant::now();
                if theirs.adopt().await? > 0 {
                    open = self.take_up(theirs).await?;
                }
            }
            if taken + ended == 0 {
                tokio::time::sleep(PACE).await;
            }
        }
    }

    /// All that this worker holds, from before a lost connection or from former boots. What may be no job yet is one then.
    async fn take_up(&self, theirs: &mut dyn Queue) -> Result<VecDeque<Open>, Error> {
        let mut open = BTreeMap::new();
        let mut next = Some(String::new());
        while let Some(after) = next {
            let held = theirs.held(&after).await?;
            let mut sent = VecDeque::new();
            self.enqueue(theirs, held.unsent, &mut sent).await?;
            // A page may name one that an earlier page has named.
            open.extend(held.open.into_iter().chain(sent).map(|task| (task.id.clone(), task)));
            next = held.next;
        }
        Ok(open.into_values().collect())
    }

    async fn take(&self, theirs: &mut dyn Queue, open: &mut VecDeque<Open>) -> Result<usize, Error> {
        let tasks = theirs.take(BATCH).await?;
        let taken = tasks.len();
        self.enqueue(theirs, tasks, open).await?;
        Ok(taken)
    }

    async fn enqueue(&self, theirs: &mut dyn Queue, tasks: Vec<Task>, open: &mut VecDeque<Open>) -> Result<(), Error> {
        let limits = *self.limits.borrow();
        let (mut good, mut unfit) = (Vec::new(), Vec::new());
        for task in tasks {
            match self.target.job(&task, limits) {
                Ok(job) => good.push((task, job)),
                Err(reason) => unfit.push((task, reason)),
            }
        }
        unfit.extend(self.send(&mut good).await?);
        self.bury(theirs, unfit).await?;
        if !good.is_empty() {
            theirs.start(&good.iter().map(|(task, _)| task.id.as_slice()).collect::<Vec<_>>()).await?;
            open.extend(good.iter().map(|(task, _)| Open::of(&self.worker.bridge, task)));
        }
        Ok(())
    }

    /// Leaves in `good` what are jobs now, and answers those that the store refuses, each with its reason: they do not keep out others.
    async fn send(&self, good: &mut Vec<(Task, NewJob)>) -> Result<Vec<(Task, String)>, Error> {
        let (mut known, mut refused) = (Vec::new(), Vec::new());
        while !good.is_empty() {
            match self.store.enqueue(good.iter().map(|(_, job)| job.clone()).collect(), None).await {
                Ok(_) => break,
                Err(error) => match error.of_item() {
                    Some((index, reason)) if index < good.len() => {
                        let (task, job) = good.remove(index);
                        if self.is_known(&task, job.id).await? { known.push((task, job)) } else { refused.push((task, reason)) }
                    }
                    _ => return Err(error.into()),
                },
            }
        }
        self.count("job", good.len());
        good.append(&mut known);
        Ok(refused)
    }

    /// Whether it became a job before, under a configuration that made another of it.
    async fn is_known(&self, task: &Task, id: JobId) -> Result<bool, Error> {
        Ok(self.store.get(id).await?.is_some_and(|job| self.target.made(&job, task)))
    }

    /// What can be no job becomes a dead letter, and then its task ends.
    async fn bury(&self, theirs: &mut dyn Queue, unfit: Vec<(Task, String)>) -> Result<(), Error> {
        if unfit.is_empty() {
            return Ok(());
        }
        let queue = match &self.target.into {
            Some(queue) => queue.clone(),
            None => self.store.settings().await?.kinds.get(&self.target.kind).cloned().unwrap_or_default().queue,
        };
        let now = self.clock.now();
        let letters = unfit.iter().map(|(task, reason)| self.target.dead_letter(task, reason, queue.clone(), now)).collect();
        self.store.import(letters, None).await?;
        for (task, reason) in &unfit {
            let id = String::from_utf8_lossy(&task.id);
            tracing::warn!(bridge = self.worker.bridge, %id, reason, "a task of apalis can be no job and is a dead letter now");
        }
        let ends: Vec<End> = unfit.iter().map(|(task, reason)| End::unfit(task, reason)).collect();
        theirs.end(&ends).await?;
        self.count("dead_letter", ends.len());
        Ok(())
    }

    /// Looks at some of the jobs that were open, those first that waited longest, and writes back what ended. Answers how many did.
    async fn look(&self, theirs: &mut dyn Queue, open: &mut VecDeque<Open>) -> Result<usize, Error> {
        let (mut ends, mut goes_on) = (Vec::new(), Vec::new());
        let round: Vec<Open> = open.iter().take(LOOKED_AT).cloned().collect();
        for task in round {
            let end = match self.store.get(task.job).await {
                Ok(job) => End::of(&task, job.as_ref()),
                Err(error) if error.is_outage() => return Err(error.into()),
                // A row that needs a person keeps up nobody else.
                Err(_) => None,
            };
            match end {
                Some(end) => ends.push(end),
                None => goes_on.push(task),
            }
        }
        if !ends.is_empty() {
            theirs.end(&ends).await?;
        }
        open.drain(..ends.len() + goes_on.len());
        open.extend(goes_on);
        Ok(ends.len())
    }

    fn count(&self, result: &str, tasks: usize) {
        self.metrics.apalis_taken.with_label_values(&[self.worker.bridge.as_str(), result]).inc_by(tasks as u64);
    }
}
