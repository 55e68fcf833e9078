//! Daemons on a Redis Cluster whose masters die and whose slots move: jobs wait, none is lost, none is recorded twice.

use super::{
    SHORT, counting_server, enqueue_calls, enqueue_these, jobs_from_environment,
    process::{Daemon, free_address, until},
};
use crate::support::{OwnCluster, TestStore, note};
use serde_json::json;
use std::{path::Path, time::Duration};
use windlass::{
    clock::Clock,
    job::State,
    store::{Role, Store as _, redis::Config, redis::RedisStore},
};

const QUEUE: &str = "windlass:{http}";

async fn started(cluster: &OwnCluster, folder: &Path) -> Daemon {
    let replicas = ("WINDLASS__STORE__REDIS__REPLICAS", "1");
    Daemon::start_on(&cluster.url(), folder, free_address(), &[SHORT[0], SHORT[1], replicas]).await
}

/// By what is counted; and by what is stored, completed jobs and all that there are.
async fn until_all_completed(cluster: &OwnCluster, jobs: u64) {
    let store = RedisStore::open(&cluster.url(), Role::Client, Config::default(), Clock::System).await.expect("the store opens");
    until("all to complete", async || {
        let queues = store.queues(None).await.ok()?;
        let http = queues.into_iter().find(|queue| queue.name == "http")?;
        let completed = http.jobs[&State::Completed];
        (completed == jobs && http.jobs.values().sum::<u64>() == jobs).then_some(())
    })
    .await;
    let master = &cluster.nodes[cluster.master_of(QUEUE).await.expect("somebody serves it")];
    let ends = master.text(&format!("HLEN {QUEUE}:ends")).await;
    let stored = master.text(&format!("HLEN {QUEUE}:jobs")).await;
    assert_eq!((ends, stored), (jobs.to_string(), jobs.to_string()));
}

/// Every acknowledged job is on a replica, so a master may go for good.
#[tokio::test(flavor = "multi_thread")]
async fn failovers_to_an_acknowledging_replica_lose_no_job() {
    if !TestStore::is_wanted("cluster") {
        return;
    }
    let mut cluster = OwnCluster::start(&["--appendfsync", "always"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let jobs = jobs_from_environment(2000);
    let failovers = if jobs >= 20_000 { 5 } else { 2 };
    let mut daemons = [started(&cluster, folder.path()).await, started(&cluster, folder.path()).await];
    enqueue_calls(&daemons[0], to, jobs).await;
    for n in 0..failovers {
        let share = jobs * (n + 1) / (failovers + 2);
        until("enough calls", async || (seen.lock().expect("the count").len() as u64 >= share).then_some(())).await;
        let master = until("a master", async || cluster.master_of(QUEUE).await).await;
        cluster.nodes[master].crash();
        until("another master", async || cluster.master_of(QUEUE).await.filter(|other| *other != master)).await;
        // It comes back as the other's replica.
        cluster.nodes[master].up().await;
    }
    until_all_completed(&cluster, jobs).await;
    assert_eq!(seen.lock().expect("the count").len() as u64, jobs, "every job really called");
    for daemon in &mut daemons {
        daemon.signal(libc::SIGTERM);
        assert!(daemon.ended().await.success());
    }
}

/// What `relaxed` means: a replica that lagged is promoted. What it had not is gone, is told of, and stops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn promotion_of_a_replica_that_lagged_loses_what_it_had_not_and_nothing_else() {
    if !TestStore::is_wanted("cluster") {
        return;
    }
    let mut cluster = OwnCluster::start(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let jobs = jobs_from_environment(2000);
    let mut daemon = Daemon::start_on(&cluster.url(), folder.path(), free_address(), &[SHORT[0], SHORT[1]]).await;
    enqueue_calls(&daemon, to, jobs).await;
    let calls = || u64::from(seen.lock().expect("the count").values().sum::<u32>());
    until("some calls", async || (calls() >= jobs / 4).then_some(())).await;
    let master = cluster.master_of(QUEUE).await.expect("somebody serves it");
    let replica = master + 3;
    let offset = async |node: usize, name: &str| {
        let info = cluster.nodes[node].text("INFO replication").await;
        info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).expect("an offset")
    };
    // It has every job.
    let written = offset(master, "master_repl_offset:").await;
    until("the replica", async || (offset(replica, "slave_repl_offset:").await >= written).then_some(())).await;
    cluster.nodes[replica].signal(libc::SIGSTOP);
    // What is on its way would reach it all the same.
    cluster.nodes[master].say("CLIENT KILL TYPE replica").await.expect("they are apart");
    let before = calls();
    until("ends that it does not hear of", async || (calls() >= before + jobs / 8).then_some(())).await;
    // Nor does it hear of these.
    enqueue_these(&daemon, to, jobs..jobs + 100).await;
    cluster.nodes[master].crash();
    cluster.nodes[replica].signal(libc::SIGCONT);
    until("another master", async || cluster.master_of(QUEUE).await.filter(|other| *other != master)).await;
    cluster.nodes[master].up().await;
    let store = RedisStore::open(&cluster.url(), Role::Client, Config::default(), Clock::System).await.expect("the store opens");
    until("nothing to be left", async || {
        let queues = store.queues(None).await.ok()?;
        let http = queues.into_iter().find(|queue| queue.name == "http")?;
        (http.jobs[&State::Completed] == http.jobs.values().sum::<u64>()).then_some(())
    })
    .await;
    let seen = seen.lock().expect("the count").clone();
    assert!((0..jobs).all(|job| seen.contains_key(&job)), "what it had is done");
    let again: u32 = (0..jobs).filter_map(|job| seen.get(&job)).map(|calls| calls - 1).sum();
    let lost = (jobs..jobs + 100).filter(|job| !seen.contains_key(job)).count();
    assert!(again > 0, "what ended unheard of runs again");
    note("of 100 jobs acknowledged while a replica lagged were lost by its promotion", lost as u64);
    note("jobs that ended meanwhile ran again", u64::from(again));
    let metrics = reqwest::get(format!("http://{}/metrics", daemon.address)).await.expect("an answer").text().await.expect("a text");
    assert!(metrics.contains("windlass_store_rewinds_total 1"), "it was told of");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_whose_slot_moves_is_served_on_where_it_has_gone() {
    if !TestStore::is_wanted("cluster") {
        return;
    }
    let cluster = OwnCluster::start(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, seen) = counting_server(Duration::ZERO).await;
    let jobs = jobs_from_environment(2000);
    let daemon = started(&cluster, folder.path()).await;
    enqueue_calls(&daemon, to, jobs).await;
    for n in 0..3 {
        let share = jobs * (n + 1) / 5;
        until("enough calls", async || (seen.lock().expect("the count").len() as u64 >= share).then_some(())).await;
        let from = cluster.master_of(QUEUE).await.expect("a master");
        move_slot(&cluster, from, (from + 1) % 3, &daemon).await;
    }
    until_all_completed(&cluster, jobs).await;
    assert_eq!(seen.lock().expect("the count").len() as u64, jobs, "every job really called");
}

/// As `redis-cli --cluster reshard` does it, key by key; at each of these steps a producer is told to come later, and nothing is written.
async fn move_slot(cluster: &OwnCluster, from: usize, to: usize, daemon: &Daemon) {
    let (source, target) = (&cluster.nodes[from], &cluster.nodes[to]);
    let slot = source.text(&format!("CLUSTER KEYSLOT {QUEUE}")).await;
    let (source_id, target_id) = (source.text("CLUSTER MYID").await, target.text("CLUSTER MYID").await);
    target.say(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")).await.expect("it imports");
    source.say(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")).await.expect("it migrates");
    let one_more = json!({"kind": "http.call", "payload": {"url": "http://127.0.0.1:1/"}});
    loop {
        assert_eq!(daemon.try_post("/v1/jobs", &one_more).await, Some(503));
        let keys = source.text(&format!("CLUSTER GETKEYSINSLOT {slot} 1")).await;
        if keys.is_empty() {
            break;
        }
        source.say(&format!("MIGRATE 127.0.0.1 {} {keys} 0 5000", target.port())).await.expect("a key moves");
    }
    for node in [target, source] {
        node.say(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")).await.expect("it has moved");
    }
}
