//! Pages of a search where millions are: how long the first and the deep ones take for each sort of filter, on SQLite and on Postgres.
//! The rows are written straight into the tables where a search looks; nothing else is there, so nothing can be leased from them.

use crate::database::Database;
use serde_json::json;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;
use windlass::{
    clock::Clock,
    job::{JobId, Name, State, Timestamp},
    store::{Filter, Options, Role, Span, Store},
};

/// What people look at.
const PAGE: usize = 50;
/// Measured pages of each sort.
const PAGES: usize = 100;
/// Rows between the first page and the deep ones, ten calls of as many as a call may ask for.
const DEEP_CALLS: usize = 10;
/// Over which all of it was made.
const SPAN: Duration = Duration::from_secs(6 * 86_400);
const KINDS: u64 = 10;
const QUEUES: u64 = 5;
const TENANTS: u64 = 1_000;
/// One in so many is of a kind of its own, has a tag and a word of its own.
const RARE: u64 = 500_000;

#[derive(Clone, Copy)]
struct Size {
    finished: u64,
    waiting: u64,
    /// When the first was made, and the microseconds between two.
    begin: i64,
    step: i64,
}

impl Size {
    fn new(finished: u64, waiting: u64) -> Self {
        let (span, all) = (i64::try_from(SPAN.as_micros()).expect("fits"), i64::try_from(finished + waiting).expect("fits"));
        Self { finished, waiting, begin: Clock::System.now().minus(SPAN).0, step: (span / all).max(1) }
    }

    fn made_at(self, n: u64) -> i64 {
        self.begin + self.step * i64::try_from(n).expect("fits")
    }

    fn id(self, n: u64) -> Uuid {
        let time = u128::try_from(self.made_at(n) / 1000).expect("after 1970") << 80;
        Uuid::from_u128(time | (7 << 76) | (u128::from(n % 4096) << 64) | (8 << 60) | u128::from(n))
    }
}

/// `finished` jobs in history and `waiting` in lines, then a line of figures for each filter.
pub async fn soak(store: &str, finished: u64, waiting: u64) {
    let size = Size::new(finished, waiting);
    let began = Instant::now();
    if store == "postgres" {
        let database = Database::make("soak_search").await;
        fill_postgres(&database, size).await;
        told(size, began);
        measure(&open(&database.url()).await, size).await;
        database.drop().await;
    } else {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("windlass.db");
        let url = format!("sqlite:{}", file.display());
        open(&url).await.close().await;
        tokio::task::spawn_blocking(move || fill_sqlite(&file, size)).await.expect("it is filled");
        told(size, began);
        measure(&open(&url).await, size).await;
    }
}

async fn open(url: &str) -> Arc<dyn Store> {
    windlass::store::open(url, Role::Client, Options::default()).await.expect("it opens")
}

fn told(size: Size, began: Instant) {
    println!("{}", json!({"finished": size.finished, "waiting": size.waiting, "seconds to fill": began.elapsed().as_secs()}));
}

/// Of job `$n`, as both databases write it; the oldest hundredth is in a queue of its own.
fn words(size: Size, n: &str) -> String {
    let old = size.finished / 100;
    format!(
        "CASE WHEN {n} % {RARE} = 7 THEN 'rare' ELSE 'k' || ({n} % {KINDS}) END, CASE WHEN {n} < {old} THEN 'old' ELSE 'q' || ({n} % {QUEUES}) END, \
         't' || ({n} % {TENANTS}), '{{\"n\":' || {n} || ',\"note\":\"' || CASE WHEN {n} % {RARE} = 7 THEN 'needle' ELSE 'hay' END || '{}\"}}', \
         CASE WHEN {n} % {RARE} = 7 THEN '{{\"tags\":[\"rare\"]}}' END",
        "x".repeat(150)
    )
}

fn fill_sqlite(file: &Path, size: Size) {
    let mut database = rusqlite::Connection::open(file).expect("it opens");
    database.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    let tx = database.transaction().expect("a transaction");
    let history = format!(
        "INSERT INTO history (id, created_at, run_at, started_at, finished_at, state, priority, attempt, max_attempts, ordered, deaths, kind, queue, tenant, payload, extra) \
         SELECT ?1, ?2, ?2, ?2, ?2 + 1000000, CASE WHEN ?3 % 1000 = 0 THEN 'cancelled' ELSE 'completed' END, 5, 1, 5, 0, 0, {}",
        words(size, "?3")
    );
    let jobs = format!(
        "INSERT INTO jobs (seq, pos, id, created_at, run_at, state, priority, attempt, max_attempts, ordered, kind, queue, tenant, payload, extra) \
         SELECT ?3, ?3, ?1, ?2, ?2, 'queued', 5, 0, 5, 0, {}",
        words(size, "?3")
    );
    for n in 0..size.finished + size.waiting {
        let statement = if n < size.finished { &history } else { &jobs };
        let id = size.id(n);
        tx.prepare_cached(statement).and_then(|mut put| put.execute((id.as_bytes(), size.made_at(n), n))).expect("a row");
    }
    tx.commit().expect("it is kept");
    database.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("a checkpoint");
}

async fn fill_postgres(database: &Database, size: Size) {
    let client = database.client().await;
    let Size { finished, waiting, begin, step } = size;
    let week = 7 * 86_400_000_000_i64;
    let day = 86_400_000_000_i64;
    let partitions = format!("SELECT windlass_v1.make_partitions({week}, {begin} + n * {day}) FROM generate_series(0, 6, 3) n");
    client.batch_execute(&partitions).await.expect("partitions");
    let made = format!("({begin}::bigint + {step} * n)");
    let id =
        format!("(lpad(to_hex({made} / 1000), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid");
    let words = words(size, "n");
    for first in (0..finished + waiting).step_by(100_000) {
        let last = (first + 99_999).min(finished + waiting - 1);
        let (columns, values) = if first < finished {
            (
                "history (started_at, finished_at, state, id, created_at, run_at, priority, attempt, max_attempts, ordered, deaths, kind, queue, tenant, payload, extra)",
                format!("{made}, {made} + 1000000, CASE WHEN n % 1000 = 0 THEN 'cancelled' ELSE 'completed' END"),
            )
        } else {
            (
                "jobs (seq, line, pos, special, id, created_at, run_at, priority, attempt, max_attempts, ordered, deaths, kind, queue, tenant, payload, extra)",
                "n, 1, n, false".to_owned(),
            )
        };
        let last = if first < finished { last.min(finished - 1) } else { last };
        let put = format!(
            "INSERT INTO windlass.{columns} SELECT {values}, {id}, {made}, {made}, 5, 0, 5, false, 0, {words} FROM generate_series({first}::bigint, {last}) n"
        );
        client.batch_execute(&put).await.expect("rows");
    }
    client.batch_execute("VACUUM (ANALYZE) windlass.jobs, windlass.history").await.expect("a superuser may");
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn filters(size: Size) -> Vec<(&'static str, Filter)> {
    let any = Filter::default;
    let hour = |n: u64| {
        let from = Timestamp(size.made_at(n));
        Span { from: Some(from), to: Some(from.plus(Duration::from_secs(3_600))) }
    };
    let ids = (0..50).map(|n| JobId(size.id(n * (size.finished + size.waiting) / 50))).collect();
    let state = |state| Filter { state: Some(state), ..any() };
    vec![
        ("everything", any()),
        ("50 ids", Filter { ids, ..any() }),
        ("queue", Filter { queue: Some(name("q1")), ..any() }),
        ("kind", Filter { kind: Some(name("k3")), ..any() }),
        ("tenant", Filter { tenant: Some(name("t77")), ..any() }),
        ("queued", state(State::Queued)),
        ("running", state(State::Running)),
        ("parked", state(State::Parked)),
        ("completed", state(State::Completed)),
        ("cancelled", state(State::Cancelled)),
        ("queue and state", Filter { queue: Some(name("q1")), ..state(State::Completed) }),
        ("an hour of making", Filter { created: hour(size.finished / 2), ..any() }),
        ("an hour of being due", Filter { due: hour(size.finished + size.waiting / 2), ..any() }),
        ("an hour of ending", Filter { finished: hour(size.finished / 3), ..any() }),
        ("tenant in an hour", Filter { tenant: Some(name("t77")), created: hour(size.finished / 2), ..any() }),
        ("rare kind", Filter { kind: Some(name("rare")), ..any() }),
        ("old queue", Filter { queue: Some(name("old")), ..any() }),
        ("tag", Filter { tag: Some(name("rare")), ..any() }),
        ("text", Filter { text: Some("needle".into()), ..any() }),
    ]
}

#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    looked: u64,
    shown: usize,
}

impl Figures {
    async fn page(&mut self, store: &dyn Store, filter: &Filter, cursor: Option<&str>) -> Option<String> {
        let began = Instant::now();
        let page = store.list(filter, cursor, PAGE).await.expect("a page");
        self.times.push(began.elapsed());
        self.looked = self.looked.max(page.looked);
        self.shown += page.items.len();
        page.next
    }

    fn told(mut self) -> serde_json::Value {
        self.times.sort_unstable();
        let at = |percent: usize| self.times.get(self.times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        json!({"pages": self.times.len(), "p50 ms": ms(at(50)), "p99 ms": ms(at(99)), "most looked at": self.looked, "shown": self.shown})
    }
}

async fn measure(store: &Arc<dyn Store>, size: Size) {
    for (what, filter) in filters(size) {
        let (mut first, mut deep) = (Figures::default(), Figures::default());
        let mut cursor = None;
        for _ in 0..PAGES {
            cursor = first.page(&**store, &filter, None).await;
        }
        for _ in 0..DEEP_CALLS {
            let Some(from) = &cursor else { break };
            cursor = store.list(&filter, Some(from), 1_000).await.expect("a page").next;
        }
        for _ in 0..PAGES {
            let Some(from) = &cursor else { break };
            cursor = deep.page(&**store, &filter, Some(from)).await;
        }
        println!("{}", json!({"filter": what, "first": first.told(), "deep": deep.told()}));
    }
}
