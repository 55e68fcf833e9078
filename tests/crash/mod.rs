//! The binary under kill -9, SIGSTOP and SIGTERM, with real `http.call` jobs against a server that counts them.

mod cluster;
mod deaths;
mod postgres;
pub(crate) mod process;
mod redis;

use axum::{Router, extract::State, routing::post};
use process::{Daemon, store, until};
use serde_json::json;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Short leases, so that what died is back within the test.
const SHORT: [(&str, &str); 2] = [("WINDLASS__ENGINE__LEASE_MS", "3000"), ("WINDLASS__ENGINE__BEAT_MS", "1000")];
const LEASE: Duration = Duration::from_secs(3);

/// What each job's call was seen as, by the number in its body.
type Seen = Arc<Mutex<HashMap<u64, u32>>>;

async fn counting_server(pause: Duration) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let count = async move |State(seen): State<Seen>, body: String| {
        let number = body.trim_matches('"').parse().expect("a job's number");
        *seen.lock().expect("the count").entry(number).or_default() += 1;
        if !pause.is_zero() {
            tokio::time::timeout(pause, std::future::pending::<()>()).await.ok();
        }
        "ok"
    };
    let app = Router::new().route("/", post(count)).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

async fn enqueue_calls(daemon: &Daemon, to: SocketAddr, jobs: u64) {
    enqueue_these(daemon, to, 0..jobs).await;
}

async fn enqueue_these(daemon: &Daemon, to: SocketAddr, jobs: std::ops::Range<u64>) {
    for first in jobs.clone().step_by(1000) {
        let batch: Vec<_> = (first..jobs.end.min(first + 1000))
            .map(|n| json!({"kind": "http.call", "payload": {"url": format!("http://{to}/"), "method": "POST", "body": n.to_string()}}))
            .collect();
        daemon.post("/v1/jobs", json!(batch)).await;
    }
}

/// Reads the file itself once the daemon is gone: every job completed, each settled once.
fn assert_all_completed_once(folder: &std::path::Path, jobs: u64) {
    let file = rusqlite::Connection::open(store(folder)).expect("the file opens");
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, u64>(0)).expect("a count");
    assert_eq!(number("SELECT count(*) FROM history WHERE state = 'completed'"), jobs, "every job completed");
    assert_eq!(number("SELECT count(DISTINCT id) FROM history"), jobs, "each recorded once");
    assert_eq!(number("SELECT count(*) FROM history WHERE attempt <> 1"), 0, "no crash consumed an attempt");
    for table in ["jobs", "dead", "leases", "line_jobs", "suspects", "quarantine"] {
        assert_eq!(number(&format!("SELECT count(*) FROM {table}")), 0, "{table} is empty");
    }
    assert_eq!(number("SELECT sum(jobs) FROM counts WHERE state <> 'completed'"), 0, "the counters know");
    assert_eq!(number("SELECT jobs FROM counts WHERE state = 'completed'"), jobs, "the counters know");
}

fn jobs_from_environment(default: u64) -> u64 {
    std::env::var("WINDLASS_CRASH_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_lose_no_job_and_record_none_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let jobs = jobs_from_environment(3000);
    let mut daemon = Daemon::start(folder.path(), &[]).await;
    enqueue_calls(&daemon, to, jobs).await;
    for kill in 1..=10_u64 {
        // Spread over the work: each kill comes when that share of the calls was seen.
        let share = jobs * kill / 11;
        until("enough calls", async || (seen.lock().expect("the count").len() as u64 >= share).then_some(())).await;
        daemon.kill();
        let restarted = Instant::now();
        daemon = Daemon::start(folder.path(), &[]).await;
        assert!(restarted.elapsed() < Duration::from_secs(30), "a restart does not wait for leases");
    }
    until("all to complete", async || (daemon.count("http", "completed").await? == jobs).then_some(())).await;
    daemon.signal(libc::SIGTERM);
    assert!(daemon.ended().await.success());
    assert_all_completed_once(folder.path(), jobs);
    assert_eq!(seen.lock().expect("the count").len() as u64, jobs, "every job really called");
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_beyond_the_leases_records_no_job_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::from_millis(300)).await;
    let short = [("WINDLASS__ENGINE__LEASE_MS", "1000"), ("WINDLASS__ENGINE__BEAT_MS", "300")];
    let jobs = 200;
    let mut daemon = Daemon::start(folder.path(), &short).await;
    enqueue_calls(&daemon, to, jobs).await;
    until("some to run", async || (seen.lock().expect("the count").len() >= 20).then_some(())).await;
    daemon.signal(libc::SIGSTOP);
    // Three leases long nobody beats.
    let _ = tokio::time::timeout(Duration::from_secs(3), std::future::pending::<()>()).await;
    daemon.signal(libc::SIGCONT);
    until("all to complete", async || (daemon.count("http", "completed").await? == jobs).then_some(())).await;
    daemon.signal(libc::SIGTERM);
    assert!(daemon.ended().await.success());
    assert_all_completed_once(folder.path(), jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_within_grace_and_charges_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    // Calls that never end by themselves within the test.
    let (to, seen) = counting_server(Duration::from_secs(600)).await;
    let grace = [("WINDLASS__ENGINE__GRACE_MS", "500")];
    let mut daemon = Daemon::start(folder.path(), &grace).await;
    enqueue_calls(&daemon, to, 500).await;
    until("slots to fill", async || (seen.lock().expect("the count").len() >= 8).then_some(())).await;
    let asked = Instant::now();
    daemon.signal(libc::SIGTERM);
    let status = daemon.ended().await;
    let took = asked.elapsed();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "the grace of half a second is kept, give or take a busy machine: {took:?}");
    let file = rusqlite::Connection::open(store(folder.path())).expect("the file opens");
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, u64>(0)).expect("a count");
    assert_eq!(number("SELECT count(*) FROM leases"), 0, "nothing is left leased");
    assert_eq!(number("SELECT count(*) FROM jobs"), 500, "every job is still there");
    assert_eq!(number("SELECT sum(attempt) FROM jobs"), 0, "no attempt was charged");
    assert_eq!(number("SELECT count(*) FROM line_jobs"), 500, "all are back in line");
}
