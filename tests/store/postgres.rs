//! What only Postgres brings: transactions of others that commit late, hold horizons, or come by the hundred thousand; and
//! several daemons on one database.

use crate::support::{Build as _, Daemon, TestStore, at, ids, now, work};
use std::collections::BTreeSet;
use tokio_postgres::Client;
use uuid::Uuid;
use windlass::job::{JobId, State};

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
    let calls = "DO $$ DECLARE id uuid; BEGIN FOR i IN 1 .. 12000 LOOP id := windlass_v1.mint(windlass_v1.clock(NULL)); \
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

/// The partitions of history, but for the rest.
async fn partitions(client: &Client) -> Vec<String> {
    let find = "SELECT relname::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'windlass.history'::regclass \
        AND inhrelid <> 'windlass.history_rest'::regclass ORDER BY 1";
    client.query(find, &[]).await.expect("partitions can be listed").iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn history_is_dropped_by_the_partition_and_the_counts_follow() {
    let Some(store) = store().await else { return };
    let (client, daemon) = (producer(&store).await, Daemon::new());
    let hours = |hours: u64| windlass::store::Retention { finished_hours: hours, dead_hours: 0, ..windlass::store::Retention::default() };
    let end = async |jobs: usize, seconds: i64| {
        store.put((0..jobs).map(|n| work().queue(if n % 2 == 0 { "even" } else { "odd" })).collect(), now(seconds)).await;
        for queue in ["even", "odd"] {
            store.complete(&daemon.lease_from(&*store, queue, 1000, now(seconds)).await, now(seconds)).await;
        }
    };
    let completed = async || {
        let mut counts = [0, 0];
        for (count, queue) in counts.iter_mut().zip(["even", "odd"]) {
            *count = store.queue_status(queue, now(0)).await.jobs.get(&State::Completed).copied().unwrap_or_default();
        }
        counts
    };
    let old = partitions(&client).await;
    store.prune(hours(2), 10, now(0)).await.unwrap();
    let made: Vec<String> = partitions(&client).await.into_iter().filter(|name| !old.contains(name)).collect();
    assert_eq!(made, ["history_2030010100", "history_2030010101", "history_2030010102"]);
    end(301, 60).await;
    end(41, 3660).await;
    assert_eq!(store.prune(hours(2), 10, now(2 * 3600 + 1800)).await.unwrap().jobs, 0, "an hour is kept until all of it is old enough");
    let (mut pruned, mut calls) = (0, 0);
    loop {
        let said = store.prune(hours(2), 10, now(3 * 3600 + 1)).await.unwrap();
        (pruned, calls) = (pruned + said.jobs, calls + 1);
        if !said.more {
            break;
        }
    }
    assert_eq!((pruned, completed().await), (301, [21, 20]), "after {calls} calls");
    let left = partitions(&client).await;
    assert!(!left.contains(&made[0]) && left.contains(&made[1]), "{left:?}");
    // Kept longer from now on: days follow the hours that are there.
    store.prune(hours(720), 10, now(86_400 + 60)).await.unwrap();
    end(5, 86_400 + 120).await;
    assert!(partitions(&client).await.contains(&"history_20300102".to_owned()));
    assert_eq!(completed().await, [24, 22]);
    let rest: i64 = client.query_one("SELECT count(*) FROM windlass.history_rest", &[]).await.unwrap().get(0);
    assert_eq!(rest, 0);
}

#[tokio::test]
async fn gates_of_keys_that_nobody_uses_are_forgotten() {
    let Some(store) = store().await else { return };
    let (client, daemon) = (producer(&store).await, Daemon::new());
    let gates = async || -> i64 { client.query_one("SELECT count(*) FROM windlass.gates", &[]).await.unwrap().get(0) };
    store.put((0..50).map(|n| work().key(&format!("k{n}"))).collect(), now(0)).await;
    let leased = daemon.lease(&*store, 40, now(1)).await;
    store.complete(&leased[..30], now(1)).await;
    for _ in 0..200 {
        store.prune(windlass::store::Retention::default(), 100, now(2)).await.unwrap();
    }
    assert_eq!(gates().await, 20, "ten run and ten wait");
    store.put(vec![work().key("k0"), work().key("k0")], now(3)).await;
    assert_eq!(daemon.lease(&*store, 40, now(3)).await.len(), 11, "a key that comes again has its limit again");
    store.assert_sound().await;
}

#[tokio::test]
async fn lease_call_that_commits_after_its_holder_left_is_taken_back() {
    let Some(store) = store().await else { return };
    let (client, daemon) = (producer(&store).await, Daemon::new());
    store.heartbeat(daemon.holder, std::time::Duration::from_secs(15), Vec::new(), Vec::new(), now(0)).await.unwrap();
    let late = store.put(vec![work()], now(1)).await;
    say(&client, "BEGIN").await;
    let lease = format!(
        "SELECT windlass_v1.lease('{}', gen_random_uuid(), '{{default}}', '{{1}}', '{{work}}', 1000000, 15000000, NULL, {})",
        daemon.holder.0,
        at(2).0
    );
    say(&client, &lease).await;
    store.goodbye(daemon.holder).await.unwrap();
    store.reap(now(3)).await.unwrap();
    say(&client, "COMMIT").await;
    assert_eq!(store.job(late[0]).await.state, State::Running);
    assert_eq!(store.reap(now(30)).await.unwrap().requeued, 0, "nothing is known of it yet");
    store.reap(now(64)).await.unwrap();
    assert_eq!(store.reap(now(65)).await.unwrap().requeued, 1);
    assert_eq!(ids(&Daemon::new().lease(&*store, 1, now(66)).await), late);
    store.reap(now(200)).await.unwrap();
    store.reap(now(300)).await.unwrap();
    let rows = client.query("SELECT holder::text, until, node FROM windlass.holders", &[]).await.unwrap();
    assert!(rows.is_empty(), "and then they are forgotten: {rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn job_that_is_committed_while_its_line_is_read_is_leased_once() {
    let Some(store) = TestStore::open_beside_others("postgres").await else { return };
    let mut producers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = producer(&store).await;
        producers.spawn(async move {
            let mut put = Vec::new();
            for _ in 0..400 {
                put.push(JobId(client.query_one("SELECT windlass.enqueue('work', '1')", &[]).await.expect("it is taken").get(0)));
            }
            put
        });
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let mut daemons = tokio::task::JoinSet::new();
    for other in [store.beside().await, store.shared()] {
        let stop = stop.clone();
        daemons.spawn(async move {
            let (daemon, mut mine) = (Daemon::new(), Vec::new());
            loop {
                let last = stop.is_cancelled();
                let reply = daemon.ask(&*other, "default", 50, None).await;
                let ends = reply.jobs.iter().map(|leased| {
                    windlass::job::Settlement::new(leased.lease, windlass::job::Transition::Complete, leased.lease.granted_at)
                });
                let answers = other.settle(ends.collect(), None).await.expect("the store settles");
                assert!(answers.iter().all(|answer| *answer == windlass::job::Applied::Applied), "{answers:?}");
                mine.extend(ids(&reply.jobs));
                if last && reply.jobs.is_empty() && !reply.more {
                    return mine;
                }
            }
        });
    }
    let put = producers.join_all().await.concat();
    stop.cancel();
    let got = daemons.join_all().await.concat();
    assert_eq!(got.len(), put.len(), "none twice");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), put.into_iter().collect());
    assert_eq!(store.queue_status("default", None).await.jobs.get(&State::Queued).copied().unwrap_or_default(), 0);
    store.assert_sound().await;
}
