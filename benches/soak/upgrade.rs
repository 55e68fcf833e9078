//! From an older version to this one and back, while jobs come and go.

use crate::{
    daemon::{Daemon, binary},
    database::Database,
};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_postgres::Client;
use windlass::store::postgres::migrate::{self, Change, Work};

/// What a later release may do to the table that is busiest.
const LATER: [Change; 3] = [
    Change { number: 901, name: "more", work: Work::Expand("ALTER TABLE windlass.jobs ADD COLUMN more text") },
    Change {
        number: 902,
        name: "jobs_more",
        work: Work::Index("jobs_more", "CREATE INDEX CONCURRENTLY jobs_more ON windlass.jobs (more) WHERE more IS NOT NULL"),
    },
    Change { number: 903, name: "less", work: Work::Contract("ALTER TABLE windlass.jobs DROP COLUMN more") },
];

/// Plain ones, and one with all that hangs on its end.
const JOBS: &str = "SELECT count(*) FROM windlass.enqueue_many((SELECT jsonb_agg(jsonb_build_object('kind', 'bench.noop', 'payload', n)) \
    || '{\"kind\": \"bench.noop\", \"payload\": 0, \"concurrency_key\": \"k\", \"tags\": [\"t\"], \"on_success\": {\"kind\": \"bench.noop\", \"payload\": 1}}'::jsonb \
    FROM generate_series(1, 100) n))";
/// With the follow-up.
const JOBS_A_CALL: u64 = 102;

pub async fn drill(old: &Path, span: Duration) {
    let new = binary();
    let database = Database::make_by(old, "soak_upgrade").await;
    let start = async |binary: &Path, port: u16| Daemon::start_binary(binary, &database.url(), &format!("127.0.0.1:{port}"), &[]).await;
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let producing = tokio::spawn(produce(database.client().await, over.clone(), calls.clone()));
    let phase = async |what: &str| {
        let began = Instant::now();
        tokio::time::sleep(span / 6).await;
        println!("{}", json!({"phase": what, "calls": calls.load(Ordering::Relaxed), "seconds": began.elapsed().as_secs()}));
    };
    let (first, second) = (start(old, 7741).await, start(old, 7742).await);
    phase("two old daemons").await;
    database.migrate(&new);
    let third = start(&new, 7743).await;
    phase("migrated, a new one beside them").await;
    for changes in [&LATER[..1], &LATER[..2]] {
        println!("{}", json!(migrate::apply(&database.url(), changes).await.expect("it is applied")));
    }
    first.stop().await;
    let first = start(&new, 7741).await;
    phase("a later release has added; one old, two new").await;
    let waits = migrate::apply(&database.url(), &LATER).await.expect("it answers");
    assert!(!waits[0].done, "an old daemon is there");
    println!("{}", json!(waits));
    second.stop().await;
    println!("{}", json!(migrate::apply(&database.url(), &LATER).await.expect("it is applied")));
    phase("a later release has taken away; two new").await;
    first.stop().await;
    let first = start(old, 7741).await;
    phase("back: one old, one new").await;
    third.stop().await;
    let second = start(old, 7742).await;
    phase("two old ones again").await;
    over.store(true, Ordering::Relaxed);
    producing.await.expect("the producer met no error");
    let jobs = i64::try_from(calls.load(Ordering::Relaxed) * JOBS_A_CALL).expect("a count");
    let witness = database.client().await;
    let sum = "SELECT (SELECT count(*) FROM windlass.history WHERE state = 'completed'), (SELECT count(DISTINCT id) FROM windlass.history), \
        (SELECT count(*) FROM windlass.jobs) + (SELECT count(*) FROM windlass.waiting), (SELECT count(*) FROM windlass.dead), \
        (SELECT count(*) FROM windlass.history WHERE attempt > 1)";
    let began = Instant::now();
    loop {
        let row = witness.query_one(sum, &[]).await.expect("a count");
        let found: [i64; 5] = std::array::from_fn(|n| row.get(n));
        if found[2] == 0 || began.elapsed() > Duration::from_secs(60) {
            let [completed, distinct, left, dead, again] = found;
            println!(
                "{}",
                json!({"enqueued": jobs, "completed": completed, "distinct": distinct, "left": left, "dead": dead, "tried again": again})
            );
            assert_eq!(found, [jobs, jobs, 0, 0, 0]);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first.stop().await;
    second.stop().await;
    drop(witness);
    database.drop().await;
}

async fn produce(client: Client, over: Arc<AtomicBool>, calls: Arc<AtomicU64>) {
    while !over.load(Ordering::Relaxed) {
        client.query_one(JOBS, &[]).await.unwrap_or_else(|error| panic!("a producer is never held up: {error}"));
        calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
