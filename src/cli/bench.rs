//! `windlass bench`: throughput and latency of *your* store, through the real engine, with a job that does nothing.

use super::exit::Exit;
use crate::{
    clock::Clock,
    engine::{
        Config, Engine, Parts, Runner,
        worker::{Context, Outcome, Register, Worker},
    },
    job::{Json, KindSettings, LeasedJob, Name, NewJob, QueueSettings, Rate, Settings, State},
    store::{self, Role, Store},
    telemetry::Metrics,
};
use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Jobs per second that a producer can hand over.
    Enqueue,
    /// Jobs per second from lease to settlement, through the whole engine.
    Drain,
    /// From the enqueue call of a lone job to the start of its handler, with an idle daemon.
    Latency,
}

#[derive(Args, Clone, Debug)]
pub struct Bench {
    #[arg(value_enum)]
    pub what: What,
    /// How many jobs are measured: 100,000, or 300 for `latency`.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Jobs per enqueue call.
    #[arg(long, default_value_t = 1000)]
    pub batch: usize,
    /// Enqueue calls under way at once.
    #[arg(long, default_value_t = 1)]
    pub producers: usize,
    /// Worker slots.
    #[arg(long, default_value_t = 4000)]
    pub slots: usize,
    /// Give every job one of so many concurrency keys.
    #[arg(long, default_value_t = 0)]
    pub keys: usize,
    /// Limit every job: ten at once per key and a rate per key that admits them all.
    #[arg(long)]
    pub limited: bool,
    /// Finished jobs that are in the store before the measurement begins.
    #[arg(long, default_value_t = 0)]
    pub finished: usize,
    /// Jobs that wait behind the measured ones and are not counted.
    #[arg(long, default_value_t = 0)]
    pub waiting: usize,
    /// Jobs that wait behind one key that is closed all the time.
    #[arg(long, default_value_t = 0)]
    pub blocked: usize,
    /// Instead of the configured `engine.runner`.
    #[arg(long)]
    pub runner: Option<Runner>,
}

/// What was measured; absent figures do not belong to the bench.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    pub bench: String,
    pub store: String,
    pub jobs: usize,
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
}

const KIND: &str = "bench.noop";
const QUEUE: &str = "bench";

/// Notes when handlers start.
#[derive(Clone, Default)]
struct Probe {
    started: Arc<Mutex<Option<Instant>>>,
    seen: Arc<Notify>,
}

#[async_trait]
impl Worker for Probe {
    async fn run(&self, _: &LeasedJob, _: &Context) -> Outcome {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.seen.notify_one();
        Outcome::complete()
    }
}

struct Noop;

#[async_trait]
impl Worker for Noop {
    async fn run(&self, _: &LeasedJob, _: &Context) -> Outcome {
        Outcome::complete()
    }
}

impl Bench {
    fn jobs(&self) -> usize {
        self.jobs.unwrap_or(if self.what == What::Latency { 300 } else { 100_000 })
    }
}

/// Runs one bench on the store `url`, or without one on a SQLite file in a temporary folder here, on the disk where it matters.
///
/// # Errors
/// When the store cannot be opened, or is in use for something else: the bench writes settings of its own.
pub async fn run(bench: &Bench, url: Option<&str>, options: store::Options) -> anyhow::Result<Figures> {
    let Some(url) = url else {
        let folder =
            tempfile::TempDir::with_prefix_in("windlass-bench-", ".").context("a folder for the measured store cannot be made here")?;
        let url = format!("sqlite:{}", folder.path().join("bench.db").display());
        return measure(bench, &url, options).await;
    };
    measure(bench, url, options).await
}

async fn measure(bench: &Bench, url: &str, options: store::Options) -> anyhow::Result<Figures> {
    let store = store::open(url, Role::Daemon { control: None }, options).await?;
    for queue in store.queues(None).await? {
        let unfinished: u64 = queue.jobs.iter().filter(|(state, _)| !state.is_final()).map(|(_, n)| n).sum();
        if queue.name != QUEUE || unfinished > 0 {
            let shown = crate::config::show::url_without_secrets(url);
            let sentence = format!("{shown} is in use (queue `{}`); bench on a new store, or name none", queue.name);
            return Err(Exit::Unavailable.because(sentence));
        }
    }
    let settings = settings(bench);
    store.configure(&settings).await?;
    let figures = match bench.what {
        What::Enqueue => enqueue(bench, &store).await?,
        What::Drain => drain(bench, &store, settings).await?,
        What::Latency => latency(bench, &store, settings).await?,
    };
    store.close().await;
    Ok(Figures {
        bench: format!("{:?}", bench.what).to_lowercase(),
        store: url.split(':').next().unwrap_or_default().to_owned(),
        ..figures
    })
}

fn settings(bench: &Bench) -> Settings {
    let mut settings = Settings::default();
    settings.kinds.insert(Name::literal(KIND), KindSettings { queue: Name::literal(QUEUE), ..KindSettings::default() });
    let key_rate = bench.limited.then_some(Rate { per_second: 1_000_000.0, burst: 1000 });
    let key_concurrency = if bench.limited { 10 } else { 1 };
    settings.queues.insert(Name::literal(QUEUE), QueueSettings { key_concurrency, key_rate, ..QueueSettings::default() });
    settings
}

async fn completed(store: &Arc<dyn Store>) -> anyhow::Result<u64> {
    let queues = store.queues(None).await?;
    Ok(queues.into_iter().find(|queue| queue.name == QUEUE).and_then(|queue| queue.jobs.get(&State::Completed).copied()).unwrap_or(0))
}

/// About 200 bytes of payload, as in the yardstick against other queues.
fn payload() -> Json {
    Json::trusted(&format!("{{\"t\":0,\"pad\":\"{}\"}}", "x".repeat(180)))
}

async fn fill(bench: &Bench, store: &Arc<dyn Store>, jobs: usize, key: Option<&str>) -> anyhow::Result<()> {
    let payload = payload();
    let numbers: Vec<usize> = (0..jobs).collect();
    let calls = numbers.chunks(bench.batch.max(1)).map(|chunk| {
        chunk
            .iter()
            .map(|n| {
                let mut job = NewJob::new(Name::literal(KIND), payload.clone());
                job.concurrency_key = match key {
                    Some(key) => Name::new(key).ok(),
                    None if bench.keys > 0 => Name::new(&format!("key-{}", n % bench.keys)).ok(),
                    None => None,
                };
                job
            })
            .collect::<Vec<_>>()
    });
    let mut calls = calls.collect::<Vec<_>>().into_iter();
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        while under_way.len() < bench.producers.max(1)
            && let Some(call) = calls.next()
        {
            let store = store.clone();
            under_way.spawn(async move { store.enqueue(call, None).await.map(|answers| answers.len()) });
        }
        match under_way.join_next().await {
            Some(answer) => drop(answer.context("a producer was cut short")??),
            None => return Ok(()),
        }
    }
}

async fn enqueue(bench: &Bench, store: &Arc<dyn Store>) -> anyhow::Result<Figures> {
    let began = Instant::now();
    fill(bench, store, bench.jobs(), None).await?;
    Ok(rate(bench.jobs(), began.elapsed()))
}

fn rate(jobs: usize, elapsed: Duration) -> Figures {
    let seconds = elapsed.as_secs_f64();
    Figures { jobs, seconds, jobs_per_s: Some((jobs as f64 / seconds).round()), ..Figures::default() }
}

async fn start(bench: &Bench, store: &Arc<dyn Store>, settings: Settings, worker: impl Worker) -> anyhow::Result<Engine> {
    let slots = [(Name::literal(QUEUE), bench.slots)].into_iter().collect();
    let config = Config { slots, runner: bench.runner.unwrap_or_default(), ..Config::default() };
    let register = Register::default().with(KIND, worker);
    let parts = Parts { store: store.clone(), register, config, settings, metrics: Metrics::new(), clock: Clock::System };
    Ok(Engine::start(parts).await?)
}

/// Waits until the store counts `target` completed jobs.
async fn until_completed(store: &Arc<dyn Store>, target: u64) -> anyhow::Result<()> {
    while completed(store).await? < target {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn drain(bench: &Bench, store: &Arc<dyn Store>, settings: Settings) -> anyhow::Result<Figures> {
    if bench.finished > 0 {
        let before = completed(store).await?;
        fill(&Bench { keys: 0, ..bench.clone() }, store, bench.finished, None).await?;
        let engine = start(bench, store, settings.clone(), Noop).await?;
        until_completed(store, before + bench.finished as u64).await?;
        engine.drain(CancellationToken::new()).await;
    }
    if bench.blocked > 0 {
        block(bench, store).await?;
    }
    fill(bench, store, bench.jobs() + bench.waiting, None).await?;
    let before = completed(store).await?;
    let began = Instant::now();
    let engine = start(bench, store, settings, Noop).await?;
    until_completed(store, before + bench.jobs() as u64).await?;
    let elapsed = began.elapsed();
    let done = completed(store).await? - before;
    engine.drain(CancellationToken::new()).await;
    // The store moves on in whole commits: what it had done at the end is what the time was for.
    Ok(rate(usize::try_from(done).unwrap_or(bench.jobs()), elapsed))
}

/// One job of the key is leased by a holder that never settles, the others wait behind it.
async fn block(bench: &Bench, store: &Arc<dyn Store>) -> anyhow::Result<()> {
    fill(bench, store, 1, Some("closed")).await?;
    let request = store::LeaseRequest {
        holder: crate::job::HolderId::mint(),
        nonce: crate::job::Nonce::mint(),
        queues: vec![(Name::literal(QUEUE), 1)],
        kinds: Arc::new([Name::literal(KIND)].into_iter().collect()),
        max_bytes: 1 << 20,
        lease: Duration::from_secs(24 * 3600),
    };
    let leased = store.lease(request, None).await?;
    ensure!(leased.jobs.len() == 1, "the job that closes the key could not be leased");
    fill(bench, store, bench.blocked, Some("closed")).await
}

async fn latency(bench: &Bench, store: &Arc<dyn Store>, settings: Settings) -> anyhow::Result<Figures> {
    let probe = Probe::default();
    let engine = start(bench, store, settings, probe.clone()).await?;
    let mut waits = Vec::with_capacity(bench.jobs());
    let began = Instant::now();
    for n in 0..bench.jobs() {
        // Idle again, and not in step with any timer of the daemon's.
        tokio::time::sleep(Duration::from_millis(20 + u64::try_from(n % 17).unwrap_or(0))).await;
        let seen = probe.seen.notified();
        let called = Instant::now();
        store.enqueue(vec![NewJob::new(Name::literal(KIND), payload())], None).await?;
        seen.await;
        let started = probe.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        waits.push(started.map_or(0.0, |at| at.saturating_duration_since(called).as_secs_f64() * 1000.0));
    }
    let elapsed = began.elapsed();
    engine.drain(CancellationToken::new()).await;
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get(((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1))).copied();
    Ok(Figures {
        jobs: bench.jobs(),
        seconds: elapsed.as_secs_f64(),
        p50_ms: at(0.50),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        max_ms: waits.last().copied(),
        ..Figures::default()
    })
}
