//! Windlass among its peers: the commands of the yardstick's adapter contract, through the real daemon, which runs as a
//! child of this program, and through the real doors.
//!
//!     cargo build --release --bin windlass --example peer-adapter
//!     BENCH_EXTRA="windlass_pg=pg:$PWD/target/release/examples/peer-adapter pg" bench/peers/run peers
//!
//! `peer-adapter pg|pg-http|redis|redis-fcall|redis-http|sqlite VERB key=value…`: `pg` enqueues by `windlass.enqueue`, `redis` by our crate's client
//! of the store, `redis-fcall` by `FCALL windlass_enqueue` as from any language, the others by HTTP.

#[expect(dead_code, reason = "the soaks use the rest")]
#[path = "../support/daemon.rs"]
mod daemon;
mod doors;

use daemon::Daemon;
use doors::Door;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use windlass::clock::Clock;

/// `key=value` among the arguments.
fn number(key: &str, otherwise: u64) -> u64 {
    let found = std::env::args().find_map(|arg| arg.strip_prefix(&format!("{key}=")).and_then(|value| value.parse().ok()));
    found.unwrap_or(otherwise)
}

/// What a job carries: about 200 bytes, with the instant of the call.
#[derive(Clone, Serialize)]
pub struct Payload {
    /// Milliseconds since 1970.
    t: f64,
    user_id: String,
    email: String,
    template: &'static str,
    locale: &'static str,
    tags: [&'static str; 3],
    data: Data,
}

#[derive(Clone, Serialize)]
struct Data {
    name: &'static str,
    note: &'static str,
}

fn payload(n: u64) -> Payload {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
    let t = Clock::System.now().0 as f64 / 1e3;
    let data = Data { name: "Jo Example", note: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" };
    let (user_id, email) = (format!("{n:07}"), format!("user{n:07}@example.com"));
    Payload { t, user_id, email, template: "welcome_v2", locale: "en_US", tags: ["a", "b", "c"], data }
}

fn say(line: &Value) {
    println!("{line}");
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, system, verb, ..] = args.as_slice() else {
        panic!("peer-adapter pg|pg-http|redis|redis-fcall|redis-http|sqlite VERB key=value…")
    };
    match verb.as_str() {
        "reset" => {
            doors::reset(system).await;
            say(&json!({"ok": true}));
        }
        "enqueue_single" => single(system, number("n", 20_000), number("inflight", 50)).await,
        "enqueue_bulk" => bulk(system, number("n", 50_000), number("batch", 1000)).await,
        "drain" if number("secs", 0) > 0 => drain_for(system, number("secs", 0)).await,
        "drain" => drain(system, number("n", 50_000), Duration::from_secs(number("limit", 120))).await,
        "work" => work(system).await,
        "produce" => produce(system, number("rate", 500), number("secs", 15)).await,
        other => panic!("unknown verb {other}"),
    }
}

async fn single(system: &str, jobs: u64, in_flight: u64) {
    // As many sessions as the yardstick's other adapters have.
    let door = Door::open(system, number("pool", 20)).await;
    door.one(payload(0)).await;
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (door, next) = (door.clone(), next.clone());
        callers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= jobs {
                    return;
                }
                door.one(payload(n)).await;
            }
        });
    }
    callers.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    door.close().await;
    say(&json!({"jobs": jobs, "seconds": seconds}));
}

async fn bulk(system: &str, jobs: u64, batch: u64) {
    let door = Door::open(system, 1).await;
    let began = Instant::now();
    for first in (0..jobs).step_by(usize::try_from(batch).expect("a small number")) {
        door.many((first..jobs.min(first + batch)).map(payload).collect()).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    door.close().await;
    say(&json!({"jobs": jobs, "seconds": seconds}));
}

/// Until the store says that nothing is left.
async fn drain(system: &str, jobs: u64, limit: Duration) {
    say(&json!({"event": "ready"}));
    let began = Instant::now();
    let daemon = Daemon::start(&doors::store(system)).await;
    let mut pending = jobs;
    while pending > 0 && began.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(20)).await;
        pending = daemon.unfinished().await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let completed = daemon.completed().await;
    daemon.stop().await;
    say(&json!({"jobs": completed, "pending": pending, "seconds": seconds}));
}

async fn drain_for(system: &str, secs: u64) {
    say(&json!({"event": "ready"}));
    let daemon = Daemon::start(&doors::store(system)).await;
    let (began, mut before, mut rates) = (Instant::now(), 0, Vec::new());
    for _ in 0..secs / 5 {
        let part = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let completed = daemon.completed().await;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        rates.push(((completed - before) as f64 / part.elapsed().as_secs_f64()).round());
        before = completed;
    }
    let seconds = began.elapsed().as_secs_f64();
    daemon.stop().await;
    say(&json!({"jobs": before, "seconds": seconds, "rate_per_5s": rates}));
}

/// From the instant in the payload to the start of the handler, as the store recorded it.
async fn work(system: &str) {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).expect("signals can be heard");
    let term = tokio::task::spawn_blocking(move || signals.forever().next());
    let daemon = Daemon::start(&doors::store(system)).await;
    say(&json!({"event": "ready"}));
    term.await.expect("the wait ends");
    daemon.stop().await;
    let mut ms = doors::latencies(system).await;
    ms.sort_by(f64::total_cmp);
    let at = |permille: usize| ms.get((ms.len() * permille / 1000).min(ms.len().saturating_sub(1))).copied();
    say(&json!({"jobs": ms.len(), "latency_ms": {"n": ms.len(), "p50": at(500), "p95": at(950), "p99": at(990), "max": ms.last()}}));
}

async fn produce(system: &str, rate: u64, secs: u64) {
    let door = Door::open_beside_daemon(system, 20).await;
    say(&json!({"event": "ready"}));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (began, jobs) = (Instant::now(), rate * secs);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..jobs {
        let due = Duration::from_micros(n * 1_000_000 / rate);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        let (door, payload) = (door.clone(), payload(n));
        calls.spawn(async move { door.one(payload).await });
    }
    calls.join_all().await;
    say(&json!({"jobs": jobs, "seconds": began.elapsed().as_secs_f64()}));
    // Twenty sessions that end at once hold up the server, and with it the start of the last job: of fifty, that is their p99.
    tokio::time::sleep(Duration::from_secs(1)).await;
}
