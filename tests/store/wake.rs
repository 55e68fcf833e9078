//! Falling asleep on Postgres: whoever brings work while a daemon sleeps wakes it, and nobody pays for one that is awake.
//! There is no poll behind the wake-ups here: what is overlooked is never found.

use crate::support::{Build as _, Daemon, TestStore, ids, work};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use windlass::{
    job::{JobId, Settlement, Transition},
    store::Store,
};

/// Longer than any machine needs; a wake-up that is lost never comes.
const NEVER: Duration = Duration::from_secs(30);

/// A daemon that leases and completes when it is woken, and only then.
fn start(store: Arc<dyn Store>) -> mpsc::UnboundedReceiver<JobId> {
    let (found, jobs) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (daemon, mut wakes) = (Daemon::new(), store.wakes());
        loop {
            wakes.borrow_and_update();
            let leased = daemon.lease(&*store, 10, None).await;
            if leased.is_empty() && wakes.changed().await.is_err() {
                return;
            }
            let ends = leased.iter().map(|leased| Settlement::new(leased.lease, Transition::Complete, leased.lease.granted_at));
            if !leased.is_empty() {
                store.settle(ends.collect(), None).await.expect("the store settles");
            }
            for id in ids(&leased) {
                let _ = found.send(id);
            }
        }
    });
    jobs
}

async fn next(jobs: &mut mpsc::UnboundedReceiver<JobId>) -> JobId {
    tokio::time::timeout(NEVER, jobs.recv()).await.expect("the daemon was woken").expect("the daemon goes on")
}

async fn sleeps(client: &Client) -> bool {
    let find = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1465206861 AND mode = 'ExclusiveLock' AND granted \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    client.query_one(find, &[]).await.expect("locks can be listed").get(0)
}

async fn until_it_rests(client: &Client) {
    let asleep = async {
        while !sleeps(client).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(NEVER, asleep).await.expect("the daemon falls asleep");
}

async fn enqueue(producer: &Client) -> JobId {
    JobId(producer.query_one("SELECT windlass.enqueue('work', '1')", &[]).await.expect("a job can be enqueued").get(0))
}

async fn begun() -> Option<(TestStore, Client, Client, mpsc::UnboundedReceiver<JobId>)> {
    let store = TestStore::open_beside_others("postgres").await?;
    let (producer, witness) = (store.connection().await, store.connection().await);
    let jobs = start(store.shared());
    Some((store, producer, witness, jobs))
}

/// A transaction that brought a job while the daemon was awake, and is open: it keeps it so.
async fn awake_with_one_open(producer: &Client, witness: &Client, jobs: &mut mpsc::UnboundedReceiver<JobId>, level: &str) -> JobId {
    let tried = async {
        loop {
            // So much that it gets up.
            let many = "SELECT count(*) FROM windlass.enqueue_many('work', array_fill('1'::json, ARRAY[400]))";
            witness.query_one(many, &[]).await.unwrap();
            for _ in 0..200 {
                next(jobs).await;
            }
            producer.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.unwrap();
            let late = enqueue(producer).await;
            let is_awake = !sleeps(witness).await;
            for _ in 0..200 {
                next(jobs).await;
            }
            if is_awake {
                return late;
            }
            producer.batch_execute("COMMIT").await.unwrap();
            next(jobs).await;
        }
    };
    tokio::time::timeout(NEVER, tried).await.expect("a transaction can be begun while the daemon is awake")
}

/// What its listening session said last, and when.
async fn said(witness: &Client) -> (i32, std::time::SystemTime) {
    let last = "SELECT pid, state_change FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '% listen'";
    let row = witness.query_one(last, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_daemon_that_sleeps_does_a_few_jobs_and_sleeps_on() {
    let Some((_store, producer, witness, mut jobs)) = begun().await else { return };
    let tried = async {
        loop {
            until_it_rests(&witness).await;
            let before = said(&witness).await;
            for _ in 0..20 {
                let job = enqueue(&producer).await;
                assert_eq!(next(&mut jobs).await, job);
            }
            // On a machine with much else to do it may get up in between.
            if before == said(&witness).await {
                return;
            }
        }
    };
    tokio::time::timeout(NEVER, tried).await.expect("it sleeps through twenty jobs");
}

#[tokio::test]
async fn a_sleeping_daemon_is_woken_by_every_door_and_falls_asleep_again() {
    let Some((store, producer, witness, mut jobs)) = begun().await else { return };
    for _ in 0..5 {
        until_it_rests(&witness).await;
        let by_function = enqueue(&producer).await;
        assert_eq!(next(&mut jobs).await, by_function);
        until_it_rests(&witness).await;
        let elsewhere = store.beside().await;
        let by_another_daemon = elsewhere.enqueue(vec![work().key("k")], None).await.unwrap()[0].id;
        assert_eq!(next(&mut jobs).await, by_another_daemon);
        elsewhere.close().await;
    }
}

#[tokio::test]
async fn nobody_falls_asleep_while_a_transaction_that_brought_work_is_open() {
    let Some((_store, producer, witness, mut jobs)) = begun().await else { return };
    until_it_rests(&witness).await;
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let late = awake_with_one_open(&producer, &witness, &mut jobs, level).await;
        for _ in 0..50 {
            assert!(!sleeps(&witness).await, "{level}");
            tokio::task::yield_now().await;
        }
        producer.batch_execute("COMMIT").await.unwrap();
        assert_eq!(next(&mut jobs).await, late);
        until_it_rests(&witness).await;
    }
}

#[tokio::test]
async fn no_commit_is_overlooked_whenever_it_comes() {
    let Some((_store, producer, witness, mut jobs)) = begun().await else { return };
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..150 {
        producer.batch_execute("BEGIN").await.unwrap();
        let mut wanted = vec![enqueue(&producer).await];
        // Some commit at once, some after the daemon has looked some times in vain, some while it is just falling asleep.
        for _ in 0..random.usize(0..60) {
            witness.batch_execute("SELECT 1").await.unwrap();
        }
        if round % 3 == 0 {
            wanted.push(enqueue(&witness).await);
        }
        producer.batch_execute("COMMIT").await.unwrap();
        let mut got = Vec::new();
        while got.len() < wanted.len() {
            got.push(next(&mut jobs).await);
        }
        got.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(got, wanted);
    }
}

#[tokio::test]
async fn a_busy_system_pays_no_notify() {
    let Some((store, producer, witness, mut jobs)) = begun().await else { return };
    until_it_rests(&witness).await;
    let (listening, mut connection) = tokio_postgres::connect(&store.url().await, NoTls).await.unwrap();
    let (note, mut notes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(said) = message {
                let _ = note.send(said.payload().to_owned());
            }
        }
    });
    listening.batch_execute("LISTEN windlass").await.unwrap();
    awake_with_one_open(&producer, &witness, &mut jobs, "READ COMMITTED").await;
    listening.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(notes.recv().await.as_deref(), Some(""));
    while notes.try_recv().is_ok() {}
    for _ in 0..50 {
        enqueue(&witness).await;
        next(&mut jobs).await;
    }
    listening.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(notes.try_recv().ok(), None, "fifty jobs and not one notification");
    producer.batch_execute("COMMIT").await.unwrap();
    next(&mut jobs).await;
}
