//! The long soaks, all but `depth`, `masters` and one `search` on Postgres and with the real daemon as a child of this program:
//!
//!     cargo build --release --bin windlass --example soak
//!     SOAK_PG_URL=postgres://postgres@127.0.0.1:5432 target/release/examples/soak VERB key=value…
//!
//! The URL names a server and a superuser of it, and no database: each soak makes its own and drops it at the end. The server counts
//! statements (`shared_preload_libraries = 'pg_stat_statements'`): what vacuum touches is told apart from what a job's statements do.
//!
//! * `waiting jobs=10000000 pairs=5`: what a job costs with that many waiting, against a small and clean queue.
//! * `pinned secs=600`: what it costs while a transaction pins the horizon all that time, against one where nobody does.
//! * `blocked jobs=1000000 pairs=5`: what others cost with that many behind one blocked key.
//! * `commits n=1000 lanes=8`: the start of jobs whose transactions stay open for 50 ms to 5 s while the daemon falls asleep.
//! * `upgrade old=PATH secs=60`: an older `windlass` binary and this one together under load, while this one migrates, a later
//!   release adds to the busiest table and takes away again; then back to the older one. It is a binary whose routines are of
//!   another release (`RELEASE` in `install.rs`), and is had by
//!   `git worktree add ../older COMMIT && cargo build --release --manifest-path ../older/Cargo.toml`.
//!
//! * `masters jobs=400000 rounds=3`: a queue of twelve partitions on one, two and three masters, beside a server that is no cluster: jobs a
//!   second, and the processor's time for each.
//! * `depth jobs=5000000 pairs=5`: what a lease and an end cost on Redis with that many waiting and as many finished, against ten thousand
//!   waiting and none finished, and the memory of a waiting job. It starts its own servers; the URL is not needed.
//! * `search store=sqlite finished=5000000 waiting=10000000`: how long the first and the deep pages of a search take there, for each sort of
//!   filter. `store=postgres` needs the URL.
//!
//! Each prints one JSON line a measurement, and last the medians of the ratios.

mod commits;
mod cost;
#[expect(dead_code, reason = "the peers' adapter uses the rest")]
#[path = "../support/daemon.rs"]
mod daemon;
mod database;
mod depth;
mod masters;
mod search;
mod server;
mod upgrade;
mod worker;

use cost::{Cost, Ratios};
use database::Database;
use serde_json::json;
use std::time::{Duration, Instant};

/// Jobs of one measurement.
const PORTION: u64 = 100_000;

/// `key=value` among the arguments.
fn number(key: &str, otherwise: u64) -> u64 {
    let found = std::env::args().find_map(|arg| arg.strip_prefix(&format!("{key}=")).and_then(|value| value.parse().ok()));
    found.unwrap_or(otherwise)
}

fn text(key: &str) -> String {
    let found = std::env::args().find_map(|arg| arg.strip_prefix(&format!("{key}=")).map(str::to_owned));
    found.unwrap_or_else(|| panic!("{key}=… is needed"))
}

#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("waiting") => waiting(number("jobs", 10_000_000), number("pairs", 5)).await,
        Some("pinned") => pinned(Duration::from_secs(number("secs", 600))).await,
        Some("blocked") => blocked(number("jobs", 1_000_000), number("pairs", 5)).await,
        Some("commits") => commits::soak(number("n", 1000), number("lanes", 8)).await,
        Some("depth") => depth::soak(number("jobs", 5_000_000), number("pairs", 5)).await,
        Some("masters") => masters::soak(number("jobs", 400_000), number("rounds", 3)).await,
        Some("search") => search::soak(&text("store"), number("finished", 5_000_000), number("waiting", 10_000_000)).await,
        Some("upgrade") => upgrade::drill(text("old").as_ref(), Duration::from_secs(number("secs", 60))).await,
        _ => panic!("soak waiting|pinned|blocked|commits|upgrade|depth|masters|search key=value…"),
    }
}

async fn waiting(jobs: u64, pairs: u64) {
    let deep = Database::make("soak_deep").await;
    deep.enqueue(jobs, "{}").await;
    // As autovacuum leaves a backlog that has stood for a while.
    deep.vacuum().await;
    let small = Database::make("soak_small").await;
    let mut ratios = Ratios::default();
    for _ in 0..pairs {
        small.enqueue(PORTION, "{}").await;
        let clean = Cost::of(&small, PORTION).await;
        ratios.add("waiting", Cost::of(&deep, PORTION).await, clean);
    }
    ratios.tell();
    deep.drop().await;
    small.drop().await;
}

async fn pinned(span: Duration) {
    let (pinned, clean) = (Database::make("soak_pinned").await, Database::make("soak_clean").await);
    let pin = pinned.client().await;
    pin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()").await.expect("a transaction begins");
    let began = Instant::now();
    let mut ratios = Ratios::default();
    while began.elapsed() < span {
        for database in [&pinned, &clean] {
            database.enqueue(PORTION, "{}").await;
        }
        let usual = Cost::of(&clean, PORTION).await;
        ratios.add("pinned", Cost::of(&pinned, PORTION).await, usual);
    }
    ratios.keep_last(5);
    ratios.tell();
    pin.batch_execute("ROLLBACK").await.expect("it ends");
    drop(pin);
    pinned.drop().await;
    clean.drop().await;
}

async fn blocked(jobs: u64, pairs: u64) {
    let (blocked, clean) = (Database::make("soak_blocked").await, Database::make("soak_free").await);
    blocked.enqueue(jobs, r#"{"concurrency_key": "k"}"#).await;
    let began = Instant::now();
    blocked.hold_one().await;
    println!("{}", json!({"behind the key": jobs, "seconds until they stood there": began.elapsed().as_secs()}));
    let mut ratios = Ratios::default();
    for _ in 0..pairs {
        for database in [&blocked, &clean] {
            database.enqueue(PORTION, "{}").await;
        }
        let usual = Cost::of(&clean, PORTION).await;
        ratios.add("blocked", Cost::of(&blocked, PORTION).await, usual);
    }
    ratios.tell();
    blocked.drop().await;
    clean.drop().await;
}
