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
mod queue;
mod redis;
mod task;

use crate::{
    clock::Clock,
    job::{Curve, Jitter, JobId, Limits, Name, NewJob, RetryPolicy},
    store::Store,
    telemetry::Metrics,
};
use end::End;
use queue::{Error, Queue, Server, Worker};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
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
/// What a worker that is told to stop may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);

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
