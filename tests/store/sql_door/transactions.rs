//! A job comes with its producer's transaction and goes with it, whoever else is under way.

use super::{door, enqueue, refusal, say, try_enqueue, try_enqueue_many};
use crate::support::{Daemon, ids};
use serde_json::json;

#[tokio::test]
async fn commit_brings_the_job_and_rollback_or_a_savepoint_takes_it_back() {
    let Some((store, producer)) = door().await else { return };
    let daemon = Daemon::new();
    say(&producer, "BEGIN").await;
    let kept = enqueue(&producer, "{}").await;
    say(&producer, "SAVEPOINT s").await;
    enqueue(&producer, r#"{"unique_key":"u","idempotency_key":"i","concurrency_key":"c"}"#).await;
    say(&producer, "ROLLBACK TO s").await;
    assert_eq!(ids(&daemon.lease(&*store, 5, None).await), [], "not before the commit");
    say(&producer, "COMMIT; BEGIN").await;
    enqueue(&producer, r#"{"delay_ms":600000}"#).await;
    say(&producer, "ROLLBACK").await;
    assert_eq!(ids(&daemon.lease(&*store, 5, None).await), [kept]);
    assert_eq!(store.all().await.len(), 1);
    let again = enqueue(&producer, r#"{"unique_key":"u","idempotency_key":"i"}"#).await;
    assert_eq!(ids(&daemon.lease(&*store, 5, None).await), [again], "the keys of what was rolled back are free");
    store.assert_sound().await;
}

#[tokio::test]
async fn a_refused_call_in_a_savepoint_leaves_the_transaction_as_it_was() {
    let Some((store, producer)) = door().await else { return };
    say(&producer, "BEGIN").await;
    let first = enqueue(&producer, "{}").await;
    say(&producer, "SAVEPOINT s").await;
    refusal(try_enqueue(&producer, "work", "1", r#"{"que":1}"#).await);
    say(&producer, "ROLLBACK TO s").await;
    let second = enqueue(&producer, "{}").await;
    say(&producer, "COMMIT").await;
    assert_eq!(ids(&Daemon::new().lease(&*store, 5, None).await), [first, second]);
}

#[tokio::test]
async fn a_duplicate_is_answered_with_the_id_of_a_job_that_was_committed() {
    let Some((store, producer)) = door().await else { return };
    let other = store.connection().await;
    for (end, is_same) in [("COMMIT", true), ("ROLLBACK", false)] {
        for options in [r#"{"unique_key":"u","queue":"END"}"#, r#"{"idempotency_key":"END"}"#] {
            let options = options.replace("END", end);
            say(&producer, "BEGIN").await;
            let first = enqueue(&producer, &options).await;
            assert_eq!(enqueue(&producer, &options).await, first, "made earlier in the same transaction");
            // The second waits for the first one's transaction, and answers by how that ended.
            let waits = tokio::spawn({
                let (other, options) = (store.connection().await, options.clone());
                async move { enqueue(&other, &options).await }
            });
            while !somebody_waits(&other).await {
                tokio::task::yield_now().await;
            }
            say(&producer, end).await;
            assert_eq!(waits.await.unwrap() == first, is_same, "{options}");
        }
    }
}

/// Whether a session waits for another's transaction.
async fn somebody_waits(client: &tokio_postgres::Client) -> bool {
    let find = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted \
        AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))";
    client.query_one(find, &[]).await.expect("locks can be listed").get(0)
}

#[tokio::test]
async fn above_read_committed_a_key_taken_meanwhile_is_a_serialization_failure_and_no_endless_wait() {
    let Some((store, producer)) = door().await else { return };
    let other = store.connection().await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        for options in [r#"{"unique_key":"LEVEL"}"#, r#"{"idempotency_key":"LEVEL"}"#] {
            let options = options.replace("LEVEL", &level.replace(' ', "_"));
            say(&producer, &format!("BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM pg_class LIMIT 1")).await;
            let taken = enqueue(&other, &options).await;
            assert_eq!(refusal(try_enqueue(&producer, "work", r#"{"n":1}"#, &options).await).0, "40001");
            say(&producer, &format!("ROLLBACK; BEGIN ISOLATION LEVEL {level}")).await;
            assert_eq!(enqueue(&producer, &options).await, taken);
            enqueue(&producer, "{}").await;
            say(&producer, "COMMIT").await;
        }
    }
    assert_eq!(Daemon::new().lease(&*store, 20, None).await.len(), 8);
}

#[tokio::test]
async fn two_lists_with_the_same_keys_in_opposite_order_never_wait_for_each_other_in_a_ring() {
    let Some((store, _)) = door().await else { return };
    let list = |round: usize, backwards: bool| {
        let keys = (0..20).map(|n| if backwards { 19 - n } else { n });
        let jobs = keys.map(|n| json!({"kind": "a", "payload": 1, "unique_key": format!("r{round}k{n}")}));
        serde_json::Value::from_iter(jobs).to_string()
    };
    let (one, two) = (store.connection().await, store.connection().await);
    for round in 0..30 {
        let (forward, backward) = (list(round, false), list(round, true));
        let (a, b) = tokio::join!(try_enqueue_many(&one, &forward), try_enqueue_many(&two, &backward));
        let mut b = b.expect("no deadlock");
        b.reverse();
        assert_eq!(a.expect("no deadlock"), b);
    }
    assert_eq!(store.all().await.len(), 600);
}
