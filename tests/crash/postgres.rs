//! Two daemons on one Postgres, and everything that can happen to it: crashes, sessions ended, no room for more of them, a
//! server that has become a standby, a full disk. Jobs wait, nothing is lost, nothing is recorded twice, and nobody restarts
//! a daemon for it.

use super::{
    SHORT, counting_server,
    deaths::Deaths,
    enqueue_calls, jobs_from_environment,
    process::{Daemon, free_address, until},
};
use crate::support::{OwnPostgres, TestStore};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use windlass::{clock::Clock, job::Timestamp};

async fn say(server: &OwnPostgres, statement: &str) {
    server.client().await.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// What is recorded: completed, distinct among them, and everything else that there is.
async fn recorded(server: &OwnPostgres) -> (i64, i64, i64) {
    let count = "SELECT (SELECT count(*) FROM windlass.history WHERE state = 'completed'), (SELECT count(DISTINCT id) FROM windlass.history), \
        (SELECT count(*) FROM windlass.jobs) + (SELECT count(*) FROM windlass.waiting) + (SELECT count(*) FROM windlass.dead)";
    let row = server.client().await.query_one(count, &[]).await.expect("a count");
    (row.get(0), row.get(1), row.get(2))
}

async fn started(server: &OwnPostgres, folder: &std::path::Path) -> Daemon {
    Daemon::start_on(&server.url(), folder, free_address(), &SHORT).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_server_no_job_is_lost_or_recorded_twice() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let mut server = OwnPostgres::start().await;
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
            1 => say(&server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'daemon'").await,
            2 | 6 => {
                let which = usize::try_from(n / 7 % 2).expect("0 or 1");
                daemons[which].kill();
                daemons[which] = started(&server, folder.path()).await;
            }
            3 => {
                say(
                    &server,
                    "ALTER ROLE daemon CONNECTION LIMIT 1; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'daemon'",
                )
                .await;
                until("the daemons to find no room", async || refuses(&daemons).await.then_some(())).await;
                say(&server, "ALTER ROLE daemon CONNECTION LIMIT -1").await;
            }
            _ => {
                say(&server, "ALTER ROLE daemon SET default_transaction_read_only = on; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'daemon'").await;
                until("the daemons to find it read-only", async || refuses(&daemons).await.then_some(())).await;
                say(&server, "ALTER ROLE daemon RESET default_transaction_read_only; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'daemon'").await;
            }
        }
    }
    until("all to complete", async || {
        (recorded(&server).await == (i64::try_from(jobs).expect("few"), i64::try_from(jobs).expect("few"), 0)).then_some(())
    })
    .await;
    assert_eq!(seen_so_far(), jobs, "every job really called");
    for daemon in &mut daemons {
        daemon.signal(libc::SIGTERM);
        assert!(daemon.ended().await.success());
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_out_and_an_outage_is_one_line_a_minute() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let server = OwnPostgres::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let daemon = started(&server, folder.path()).await;
    enqueue_calls(&daemon, to, 50).await;
    until("all to complete", async || (recorded(&server).await.0 == 50).then_some(())).await;
    // What the server says when its disk is full, at every write.
    let full = "CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END$$; \
        CREATE TRIGGER full_disk BEFORE INSERT ON windlass.history FOR EACH ROW EXECUTE FUNCTION public.full_disk(); \
        CREATE TRIGGER full_disk BEFORE INSERT ON windlass.claims FOR EACH ROW EXECUTE FUNCTION public.full_disk()";
    enqueue_calls(&daemon, to, 50).await;
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let before = log().len();
    say(&server, full).await;
    enqueue_calls(&daemon, to, 50).await;
    until("the outage to be told", async || log().contains("does not answer").then_some(())).await;
    // As long as a beat and some tries more.
    let _ = tokio::time::timeout(Duration::from_secs(2), std::future::pending::<()>()).await;
    let troubles: Vec<String> =
        log()[before..].lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).map(str::to_owned).collect();
    assert_eq!(troubles.len(), 1, "one line a minute: {troubles:#?}");
    say(&server, "DROP TRIGGER full_disk ON windlass.history; DROP TRIGGER full_disk ON windlass.claims").await;
    until("all to complete", async || (recorded(&server).await == (150, 150, 0)).then_some(())).await;
    assert_eq!(seen.lock().expect("the count").len(), 50, "each body was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_while_every_slot_is_taken() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let mut server = OwnPostgres::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::from_secs(600)).await;
    let daemon =
        Daemon::start_on(&server.url(), folder.path(), free_address(), &[SHORT[0], SHORT[1], ("WINDLASS__ENGINE__SLOTS", "{ http = 1 }")])
            .await;
    enqueue_calls(&daemon, to, 1).await;
    until("the job to run", async || (seen.lock().expect("the count").len() == 1).then_some(())).await;
    server.crash();
    let says = |word: &str| std::fs::read_to_string(folder.path().join("log")).unwrap_or_default().contains(word).then_some(());
    until("the heartbeat to tell it", async || says("what=\"heartbeat\"")).await;
    server.up().await;
    until("the heartbeat to tell its end", async || says("answers again")).await;
}

async fn holders_at(server: &OwnPostgres, address: SocketAddr) -> Vec<String> {
    let find = "SELECT holder::text FROM windlass.holders WHERE node LIKE '% ' || $1";
    let rows = server.client().await.query(find, &[&address.to_string()]).await.expect("the holders");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Jobs that a holder lost: which, and when they were taken back.
async fn lost(server: &OwnPostgres) -> Vec<(String, Timestamp)> {
    let list = "SELECT a::json ->> 'holder', windlass_v1.instant(a::json ->> 'ended_at') FROM windlass.history, unnest(attempts) a WHERE a::json ->> 'outcome' = 'lost'";
    let rows = server.client().await.query(list, &[]).await.expect("the attempts");
    rows.iter().map(|row| (row.get(0), Timestamp(row.get(1)))).collect()
}

/// The long soak is `WINDLASS_CRASH_JOBS=200000`: 60 kills, ten restarts.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_killed_daemons_are_back_a_second_after_their_lease() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let mut server = OwnPostgres::start().await;
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
    let all = i64::try_from(jobs).expect("few");
    until("all to complete", async || (recorded(&server).await == (all, all, 0)).then_some(())).await;
    assert_eq!(seen.lock().expect("the count").len() as u64, jobs, "every job really called");
    deaths.assert_rescued_in_time(&lost(&server).await, jobs);
}
