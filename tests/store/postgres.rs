//! What only Postgres brings: transactions of others that commit late, hold horizons, or come by the hundred thousand; and
//! several daemons on one database.

use crate::support::{Build as _, Daemon, TestStore, ids, now, work};
use std::collections::BTreeSet;
use tokio_postgres::Client;
use uuid::Uuid;
use windlass::job::JobId;

/// A store on Postgres, unless the run leaves it out.
async fn store() -> Option<TestStore> {
    if TestStore::is_wanted("postgres") { Some(TestStore::open("postgres").await) } else { None }
}

/// A producer's own connection; what it begins, it may commit whenever it likes.
async fn producer(store: &TestStore) -> Client {
    store.connection().await
}

/// Enqueues one job in the producer's transaction, at test time 0.
async fn put(producer: &Client, key: Option<&str>) -> JobId {
    let id = Uuid::now_v7();
    let keys = key.map(|key| vec![key]);
    let statement = "SELECT windlass_v1.enqueue_plain(ARRAY[$1::text::uuid], ARRAY['work'], ARRAY['{}'], NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, $2, \
        NULL, NULL, $1::text::uuid, $1::text::uuid, $3)";
    producer.query_one(statement, &[&id.to_string(), &keys, &now(0).map(|t| t.0)]).await.expect("a job can be enqueued");
    JobId(id)
}

async fn say(producer: &Client, statement: &str) {
    producer.batch_execute(statement).await.expect(statement);
}

#[tokio::test]
async fn job_that_is_committed_late_is_not_lost() {
    let Some(store) = store().await else { return };
    let (late, daemon) = (producer(&store).await, Daemon::new());
    for key in [None, Some("k")] {
        say(&late, "BEGIN").await;
        let first = put(&late, key).await;
        let second = store.put(vec![work()], now(0)).await;
        assert_eq!(ids(&daemon.lease(&*store, 5, now(1)).await), second, "what is committed is leased, and passes it");
        say(&late, "COMMIT").await;
        assert_eq!(ids(&daemon.lease(&*store, 5, now(1)).await), [first]);
        assert_eq!(ids(&daemon.lease(&*store, 5, now(1)).await), [], "and is leased once");
    }
}

#[tokio::test]
async fn job_that_is_rolled_back_never_was() {
    let Some(store) = store().await else { return };
    let (other, daemon) = (producer(&store).await, Daemon::new());
    say(&other, "BEGIN; SAVEPOINT s").await;
    put(&other, None).await;
    say(&other, "ROLLBACK TO s").await;
    let kept = put(&other, None).await;
    say(&other, "COMMIT; BEGIN").await;
    put(&other, None).await;
    say(&other, "ROLLBACK").await;
    assert_eq!(ids(&daemon.lease(&*store, 5, now(1)).await), [kept]);
    assert_eq!(store.queue_status("default", now(1)).await.jobs.values().sum::<u64>(), 1);
}

#[tokio::test]
async fn long_writing_transaction_elsewhere_holds_nobody_up() {
    let Some(store) = store().await else { return };
    let (long, daemon) = (producer(&store).await, Daemon::new());
    say(&long, "CREATE TABLE theirs (n int); BEGIN; INSERT INTO theirs VALUES (1)").await;
    let mut done = BTreeSet::new();
    for _ in 0..20 {
        let put = store.put((0..10).map(|_| work()).collect(), now(0)).await;
        let leased = daemon.lease(&*store, 10, now(1)).await;
        assert_eq!(ids(&leased), put);
        store.complete(&leased, now(1)).await;
        done.extend(put);
    }
    assert_eq!(done.len(), 200);
    say(&long, "COMMIT").await;
}

#[tokio::test]
async fn commits_in_any_order_are_each_leased_once() {
    let Some(store) = store().await else { return };
    let daemon = Daemon::new();
    let mut producers = Vec::new();
    for _ in 0..8 {
        producers.push(producer(&store).await);
    }
    let (mut wanted, mut got) = (BTreeSet::new(), Vec::new());
    // Each round commits the open transactions in another order, with lease calls in between.
    for round in 0..12 {
        for (n, producer) in producers.iter().enumerate() {
            say(producer, "BEGIN").await;
            for _ in 0..=n % 3 {
                wanted.insert(put(producer, (n % 4 == 3).then_some("k")).await);
            }
        }
        for n in 0..producers.len() {
            say(&producers[(n * 3 + round) % producers.len()], "COMMIT").await;
            let leased = daemon.lease(&*store, 3, now(1)).await;
            got.extend(ids(&leased));
            store.complete(&leased, now(1)).await;
        }
    }
    got.extend(store.drain(&daemon, "default", now(2)).await);
    assert_eq!(got.len(), wanted.len(), "none twice");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), wanted, "and none left out");
    store.assert_sound().await;
}

#[tokio::test]
async fn more_calls_than_one_look_takes_in_are_all_taken_in() {
    let Some(store) = store().await else { return };
    let other = producer(&store).await;
    // Each call in a transaction of its own, while no daemon looks.
    let calls = "DO $$ DECLARE id uuid; BEGIN FOR i IN 1 .. 12000 LOOP id := windlass_v1.mint(); \
        PERFORM windlass_v1.enqueue_alike(ARRAY[id], ARRAY['{}'], 'work', NULL, NULL, NULL, NULL, NULL, id, id, 0); IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$";
    say(&other, calls).await;
    let (daemon, mut got) = (Daemon::new(), BTreeSet::new());
    loop {
        let reply = daemon.ask(&*store, "default", 1000, now(2_000_000_000)).await;
        got.extend(ids(&reply.jobs));
        if reply.jobs.is_empty() && !reply.more {
            break;
        }
    }
    assert_eq!(got.len(), 12_000);
    store.assert_sound().await;
}

#[tokio::test]
async fn several_daemons_share_a_queue_without_a_double() {
    let Some(store) = store().await else { return };
    let jobs = store.put((0..600).map(|n| if n % 3 == 0 { work().key(&format!("k{}", n % 30)) } else { work() }).collect(), now(0)).await;
    let others = [store.beside().await, store.beside().await];
    let mut tasks = tokio::task::JoinSet::new();
    for other in others.into_iter().chain([store.shared()]) {
        tasks.spawn(async move {
            let (daemon, mut mine) = (Daemon::new(), Vec::new());
            for _ in 0..200 {
                let reply = daemon.ask(&*other, "default", 20, now(1)).await;
                mine.extend(ids(&reply.jobs));
                let ends = reply.jobs.iter().map(|leased| {
                    windlass::job::Settlement::new(leased.lease, windlass::job::Transition::Complete, leased.lease.granted_at)
                });
                let answers = other.settle(ends.collect(), now(1)).await.expect("the store settles");
                assert!(answers.iter().all(|answer| *answer == windlass::job::Applied::Applied), "{answers:?}");
                if reply.jobs.is_empty() && !reply.more {
                    break;
                }
            }
            mine
        });
    }
    let mut got = tasks.join_all().await.concat();
    got.extend(store.drain(&Daemon::new(), "default", now(2)).await);
    assert_eq!(got.len(), jobs.len(), "none twice");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), jobs.into_iter().collect());
    store.assert_sound().await;
}
