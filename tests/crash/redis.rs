//! Daemons on one Redis, and everything that can happen to it: crashes, connections ended, no memory, a server that has become a replica,
//! functions that are gone. Jobs wait, nothing is lost, nothing is recorded twice, and nobody restarts a daemon for it.

use super::{
    SHORT, counting_server,
    deaths::Deaths,
    enqueue_calls, jobs_from_environment,
    process::{Daemon, free_address, until},
};
use crate::support::{OwnRedis, TestStore};
use ::redis::cmd;
use serde_json::json;
use std::{net::SocketAddr, path::Path, time::Duration};
use uuid::Uuid;
use windlass::{
    clock::Clock,
    job::{AttemptOutcome, Timestamp},
    store::{Filter, Role, Store as _, redis::Config, redis::RedisStore},
};

const QUEUE: &str = "windlass:{http}";

/// A server that keeps all that it acknowledges.
async fn strict() -> Option<OwnRedis> {
    if TestStore::is_wanted("redis") { Some(OwnRedis::start(&["--appendfsync", "always"]).await) } else { None }
}

async fn started(server: &OwnRedis, folder: &Path) -> Daemon {
    Daemon::start_on(&server.url(), folder, free_address(), &SHORT).await
}

/// What is recorded, by what is stored and by what is counted: completed, other ends, jobs that have none.
async fn recorded(server: &OwnRedis) -> [(u64, u64, u64); 2] {
    let mut connection = server.connect().await;
    let ends: Vec<Vec<u8>> = cmd("HVALS").arg(format!("{QUEUE}:ends")).query_async(&mut connection).await.expect("the ends");
    let jobs: u64 = cmd("HLEN").arg(format!("{QUEUE}:jobs")).query_async(&mut connection).await.expect("a length");
    let completed = ends.iter().filter(|end| end[0] == b'c').count() as u64;
    // What is queued counts less the positions that were taken.
    let names = ["completed", "cancelled", "dead", "scheduled", "queued", "running", "parked", "pos"];
    let counts: Vec<Option<i64>> = cmd("HMGET").arg(QUEUE).arg(&names).query_async(&mut connection).await.expect("the counters");
    let count = |range: std::ops::Range<usize>| counts[range].iter().flatten().sum::<i64>().cast_unsigned();
    [(completed, ends.len() as u64 - completed, jobs - ends.len() as u64), (count(0..1), count(1..3), count(3..8))]
}

async fn until_all_completed(server: &OwnRedis, jobs: u64) {
    until("all to complete", async || (recorded(server).await == [(jobs, 0, 0); 2]).then_some(())).await;
}

/// Whether each of the daemons tells a caller to come back later.
async fn refuses(daemons: &[Daemon]) -> bool {
    for daemon in daemons {
        if daemon.try_post("/v1/queues/nobodys/pause", &json!({"reason": "probe"})).await != Some(503) {
            return false;
        }
    }
    true
}

async fn say(server: &OwnRedis, words: &str) {
    server.say(words).await.unwrap_or_else(|error| panic!("{words}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_server_no_job_is_lost_or_recorded_twice() {
    let Some(mut server) = strict().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let jobs = jobs_from_environment(4000);
    let mut daemons = [started(&server, folder.path()).await, started(&server, folder.path()).await];
    enqueue_calls(&daemons[0], to, jobs).await;
    let seen_so_far = || seen.lock().expect("the count").len() as u64;
    for n in 0..14_u64 {
        // Spread over the work.
        let share = jobs * (n + 1) / 16;
        until("enough calls", async || (seen_so_far() >= share).then_some(())).await;
        match n % 7 {
            0 | 4 => {
                server.crash();
                server.up().await;
            }
            1 => say(&server, "CLIENT KILL TYPE normal").await,
            2 => {
                let which = usize::try_from(n / 7 % 2).expect("0 or 1");
                daemons[which].kill();
                daemons[which] = started(&server, folder.path()).await;
            }
            3 => {
                say(&server, "CONFIG SET maxmemory 1000000").await;
                until("the daemons to find no memory", async || refuses(&daemons).await.then_some(())).await;
                say(&server, "CONFIG SET maxmemory 0").await;
            }
            5 => {
                say(&server, "REPLICAOF 127.0.0.1 1").await;
                until("the daemons to find it read-only", async || refuses(&daemons).await.then_some(())).await;
                say(&server, "REPLICAOF NO ONE").await;
            }
            _ => {
                say(&server, "FUNCTION FLUSH").await;
                until("the daemons to find no functions", async || refuses(&daemons).await.then_some(())).await;
                RedisStore::migrate(&server.url(), &Config::default()).await.expect("the library loads");
            }
        }
    }
    until_all_completed(&server, jobs).await;
    assert_eq!(seen_so_far(), jobs, "every job really called");
    for daemon in &mut daemons {
        daemon.signal(libc::SIGTERM);
        assert!(daemon.ended().await.success());
    }
}

/// The ids of those that the library knows there.
async fn holders_at(server: &OwnRedis, address: SocketAddr) -> Vec<String> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        cmd("HGETALL").arg(format!("{QUEUE}:holders")).query_async(&mut server.connect().await).await.expect("the holders");
    let is_there = |row: &[u8]| row.ends_with(format!(" {address}").as_bytes());
    rows.into_iter().filter(|(_, row)| is_there(row)).map(|(holder, _)| Uuid::from_slice(&holder).expect("an id").to_string()).collect()
}

/// Jobs that a holder lost: which, and when they were taken back.
async fn lost(server: &OwnRedis) -> Vec<(String, Timestamp)> {
    let store = RedisStore::open(&server.url(), Role::Client, Config::default(), Clock::System).await.expect("the store opens");
    let (mut lost, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(&Filter::default(), cursor.as_deref(), 1000).await.expect("a page");
        for attempt in page.items.into_iter().flat_map(|job| job.attempts) {
            if attempt.outcome == AttemptOutcome::Lost {
                lost.push((attempt.holder.0.to_string(), attempt.ended_at));
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return lost;
        }
    }
}

/// The long soak is `WINDLASS_CRASH_JOBS=200000`: 60 kills, ten restarts.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_killed_daemons_are_back_a_second_after_their_lease() {
    let Some(mut server) = strict().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::from_millis(20)).await;
    let jobs = jobs_from_environment(3000);
    let events = 7 * (jobs / 20_000).max(1);
    let mut daemons = [started(&server, folder.path()).await, started(&server, folder.path()).await, started(&server, folder.path()).await];
    let mut deaths = Deaths::default();
    enqueue_calls(&daemons[0], to, jobs).await;
    for n in 0..events {
        let share = jobs * (n + 1) / (events + 1);
        until("enough calls", async || (seen.lock().expect("the count").len() as u64 >= share).then_some(())).await;
        if n % 7 == 6 {
            let down = Clock::System.now();
            server.crash();
            server.up().await;
            deaths.outages.push((down, Clock::System.now()));
        } else {
            let which = fastrand::usize(..3);
            let address = daemons[which].address;
            deaths.kill(&mut daemons[which], async || holders_at(&server, address).await).await;
            // Elsewhere, so that nothing but the end of the lease tells of the death.
            daemons[which] = started(&server, folder.path()).await;
        }
    }
    until_all_completed(&server, jobs).await;
    assert_eq!(seen.lock().expect("the count").len() as u64, jobs, "every job really called");
    deaths.assert_rescued_in_time(&lost(&server).await, jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_has_forgotten_everything_is_told_of_and_served_again() {
    let Some(mut server) = strict().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let mut daemon = started(&server, folder.path()).await;
    enqueue_calls(&daemon, to, 50).await;
    until_all_completed(&server, 50).await;
    // A beat of upkeep sees where the queue stands.
    let says = |word: &str| std::fs::read_to_string(folder.path().join("log")).unwrap_or_default().contains(word).then_some(());
    let metric = async |value: &str| {
        let text = reqwest::get(format!("http://{}/metrics", daemon.address)).await.ok()?.text().await.ok()?;
        text.contains(&format!("windlass_store_rewinds_total {value}")).then_some(())
    };
    until("the counter", async || metric("0").await).await;
    server.crash();
    server.forget();
    server.up().await;
    RedisStore::migrate(&server.url(), &Config::default()).await.expect("the library loads");
    until("the loss to be told", async || says("has forgotten what it acknowledged")).await;
    until("the counter", async || metric("1").await).await;
    enqueue_calls(&daemon, to, 100).await;
    until_all_completed(&server, 100).await;
    assert_eq!(seen.lock().expect("the count").len(), 100, "each body was called");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.ended().await.success());
}

/// What producers left while nobody was there.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_came_while_no_daemon_ran_are_done_when_one_starts() {
    let Some(server) = strict().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let mut connection = server.connect().await;
    let job = |n: u64| {
        json!({"kind": "http.call", "payload": {"url": format!("http://{to}/"), "method": "POST", "body": n.to_string()}}).to_string()
    };
    for first in (0..1000).step_by(100) {
        let mut call = cmd("FCALL");
        call.arg("windlass_enqueue").arg(1).arg(QUEUE);
        (first..first + 100).for_each(|n| _ = call.arg(job(n)));
        let ids: Vec<String> = call.query_async(&mut connection).await.expect("they are taken");
        assert_eq!(ids.len(), 100);
    }
    for n in 1000..1500 {
        cmd("LPUSH").arg("windlass:inbox").arg(job(n)).query_async::<()>(&mut connection).await.expect("it is left there");
    }
    let mut daemon = started(&server, folder.path()).await;
    until_all_completed(&server, 1500).await;
    let seen = seen.lock().expect("the count").clone();
    assert!((0..1500).all(|n| seen.get(&n) == Some(&1)), "each was called once");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.ended().await.success());
}
