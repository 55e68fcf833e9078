//! Through PgBouncer in transaction mode: every statement may meet another session of the server.

use crate::support::{Build as _, Daemon, Pooler, TestStore, ids, postgres_server, work};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use windlass::{
    clock::Clock,
    job::{JobId, Settlement, Transition},
    store::{
        Role, Store,
        postgres::{Config, PostgresStore},
    },
};

async fn open(url: &str, config: Config) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(url, Role::Daemon { control: None }, config, Clock::System).await.expect("the store opens"))
}

/// Leases and completes until nothing is left.
async fn work_off(store: &dyn Store) -> Vec<JobId> {
    let (daemon, mut done) = (Daemon::new(), Vec::new());
    loop {
        let reply = daemon.ask(store, "default", 7, None).await;
        if reply.jobs.is_empty() && !reply.more {
            return done;
        }
        let ends = reply.jobs.iter().map(|leased| Settlement::new(leased.lease, Transition::Complete, leased.lease.granted_at));
        store.settle(ends.collect(), None).await.expect("the store settles");
        done.extend(ids(&reply.jobs));
    }
}

#[tokio::test]
async fn jobs_go_through_a_transaction_pooler_whole_and_once() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let (pooler, database) = (Pooler::start().await, postgres_server().await.fresh().await);
    let stores = [open(&pooler.url(&database), Config::default()).await, open(&pooler.url(&database), Config::default()).await];
    let mut wanted = BTreeSet::new();
    for store in &stores {
        let jobs = (0..150).map(|n| if n % 3 == 0 { work().key(&format!("k{}", n % 9)) } else { work() });
        wanted.extend(store.enqueue(jobs.collect(), None).await.expect("the store takes the jobs").into_iter().map(|answer| answer.id));
    }
    let (producer, connection) = tokio_postgres::connect(&pooler.url(&database), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for end in ["COMMIT", "ROLLBACK"] {
        producer.batch_execute("BEGIN; SET LOCAL windlass.tenant = 'a'").await.unwrap();
        let row = producer.query_typed("SELECT windlass.enqueue('work', '1')", &[]).await.unwrap();
        producer.batch_execute(end).await.unwrap();
        if end == "COMMIT" {
            wanted.insert(JobId(row[0].get(0)));
        }
    }
    let (one, two) = tokio::join!(work_off(&*stores[0]), work_off(&*stores[1]));
    let mut got = [one, two].concat();
    got.extend(work_off(&*stores[0]).await);
    assert_eq!(got.len(), wanted.len(), "none twice");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), wanted);
}

/// Whether a session of the database holds the sleeper's lock.
async fn somebody_sleeps(database: &str) -> bool {
    let find = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1465206861 AND granted \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let client = postgres_server().await.connect(database).await;
    client.query_one(find, &[]).await.expect("locks can be listed").get::<_, i64>(0) > 0
}

#[tokio::test]
async fn a_daemon_behind_a_pooler_polls_and_with_a_direct_connection_beside_it_sleeps() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let (pooler, database) = (Pooler::start().await, postgres_server().await.fresh().await);
    let direct = Config { listen_url: Some(postgres_server().await.url(&database)), light_sleep_ms: 0, ..Config::default() };
    for (config, sleeps) in [(Config::default(), false), (direct, true)] {
        let store = open(&pooler.url(&database), config).await;
        let (daemon, mut wakes, mut looks) = (Daemon::new(), store.wakes(), 0);
        // It goes on looking for as long as it can hear nobody; with ears it looks some times and rests.
        while looks < 150 && !(sleeps && somebody_sleeps(&database).await) {
            wakes.borrow_and_update();
            assert_eq!(daemon.lease(&*store, 1, None).await.len(), 0);
            looks += 1;
            tokio::select! {
                _ = wakes.changed() => {}
                () = async { while !(sleeps && somebody_sleeps(&database).await) { tokio::task::yield_now().await } } => {}
            }
        }
        assert_eq!(somebody_sleeps(&database).await, sleeps);
        assert_eq!(looks < 150, sleeps, "{looks} looks");
        store.close().await;
    }
}

#[tokio::test]
async fn a_pooler_that_comes_between_is_noticed_and_nothing_is_lost() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let (pooler, database) = (Pooler::start_in("session").await, postgres_server().await.fresh().await);
    let store = open(&pooler.url(&database), Config { light_sleep_ms: 0, ..Config::default() }).await;
    let daemon = Daemon::new();
    let mut wakes = store.wakes();
    // With sessions of its own the daemon sleeps, and its statements are prepared.
    let falls_asleep = async {
        while !somebody_sleeps(&database).await {
            wakes.borrow_and_update();
            daemon.lease(&*store, 1, None).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), falls_asleep).await.expect("the daemon sleeps");
    let enqueue = async || {
        let jobs = (0..50).map(|_| work()).collect();
        store.enqueue(jobs, None).await.expect("the store takes the jobs").into_iter().map(|answer| answer.id).collect::<BTreeSet<JobId>>()
    };
    let mut wanted = enqueue().await;
    let mut got = work_off(&*store).await;
    pooler.share_sessions();
    for _ in 0..20 {
        wanted.extend(enqueue().await);
        let (one, two) = tokio::join!(work_off(&*store), work_off(&*store));
        got.extend([one, two].concat());
    }
    got.extend(work_off(&*store).await);
    assert_eq!(got.len(), wanted.len(), "none twice");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), wanted);
}
