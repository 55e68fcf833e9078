//! What the function takes, answers and refuses.

use super::door;
use crate::support::{Daemon, ids, name};
use redis::Value;
use serde_json::json;
use windlass::job::{JobId, State};

#[tokio::test]
async fn a_job_comes_in_and_is_leased_with_the_bytes_of_its_payload() {
    let Some((store, producer)) = door().await else { return };
    let ids_answered =
        producer.enqueue("mail", &["{\"kind\":\"work\", \"payload\" : {\"b\":1, \"a\":[1.50,\"é\"]} ,\"priority\":2}"]).await;
    assert_eq!(ids_answered[0].0.get_version_num(), 7);
    let leased = Daemon::new().lease_from(&*store, "mail", 5, None).await;
    assert_eq!(ids(&leased), ids_answered);
    assert_eq!(leased[0].job.payload.as_str(), "{\"b\":1, \"a\":[1.50,\"é\"]}");
    assert_eq!(store.job(ids_answered[0]).await.priority, 2);
    assert_eq!(store.queue_status("mail", None).await.jobs[&State::Running], 1);
}

#[tokio::test]
async fn what_the_kind_is_configured_with_fills_what_was_left_out() {
    let Some((store, producer)) = door().await else { return };
    let call = async || producer.enqueue("mail", &["{\"kind\":\"work\",\"payload\":1}"]).await[0];
    let before = store.job(call().await).await;
    assert_eq!((before.priority, before.max_attempts), (5, 5));
    store
        .configure_with(|settings| {
            let kind = settings.kinds.entry(name("work")).or_default();
            (kind.queue, kind.priority, kind.max_attempts) = (name("slow"), 7, 3);
            settings.payload_bytes = 20;
        })
        .await;
    // The key names the queue, as an envelope would.
    let after = store.job(call().await).await;
    assert_eq!((&*after.queue, after.priority, after.max_attempts), ("mail", 7, 3));
    let long = format!("{{\"kind\":\"work\",\"payload\":\"{}\"}}", "x".repeat(19));
    let refused = producer.refused("mail", &[long]).await;
    let message = "/payload: is 21 bytes, the limit is 20; store the data elsewhere and send a reference";
    assert_eq!(refused, ("too_large".to_owned(), message.to_owned()));
}

#[tokio::test]
async fn many_are_answered_in_their_order_and_duplicates_with_the_id_that_was_there() {
    let Some((store, producer)) = door().await else { return };
    let like: Vec<String> = (0..1000).map(|n| json!({"kind": "a", "payload": n}).to_string()).collect();
    let ids = producer.enqueue("many", &like).await;
    for n in [0, 1, 499, 500, 999] {
        assert_eq!(store.job(ids[n]).await.payload.as_str(), n.to_string());
    }
    assert_eq!(store.queue_status("many", None).await.jobs[&State::Queued], 1000);
    let mixed = [
        r#"{"kind":"a","payload":0,"unique_key":"z"}"#,
        r#"{"kind":"b","payload":1,"delay_ms":600000}"#,
        r#"{"kind":"a","payload":2,"unique_key":"z"}"#,
        r#"{"kind":"a","payload":3,"tags":["t"],"concurrency_key":"k"}"#,
    ];
    let ids = producer.enqueue("mixed", &mixed).await;
    assert_eq!(ids[2], ids[0]);
    assert_eq!(store.queue_status("mixed", None).await.jobs[&State::Scheduled], 1);
    assert_eq!(store.job(ids[3]).await.payload.as_str(), "3");
    let with_status: Vec<(String, String, i64)> = producer
        .call("mixed", &["WITHSTATUS", mixed[0], mixed[1], r#"{"kind":"a","payload":0,"after":["01890a5d-ac96-774b-bcce-b302099a8057"]}"#])
        .query_async(&mut producer.connection.clone())
        .await
        .expect("they are taken");
    let said: Vec<_> = with_status.iter().map(|(_, status, duplicate)| (status.as_str(), *duplicate)).collect();
    assert_eq!(said, [("queued", 1), ("scheduled", 0), ("parked", 0)]);
    assert_eq!(with_status[0].0, ids[0].to_string());
}

#[tokio::test]
async fn one_bad_envelope_keeps_all_of_a_call_out_and_every_bad_one_is_named() {
    let Some((store, producer)) = door().await else { return };
    let good = r#"{"kind":"a","payload":0}"#;
    let refused = producer.refused("q", &[good, r#"{"kind":"a"}"#, good, "[1,", r#"{"kind":"a","payload":0,"ordered":true}"#]).await;
    let message = "3 items are invalid; nothing was written; the first is /1/payload: `payload` is required (all: 1, 3, 4)";
    assert_eq!(refused, ("wrong_type".to_owned(), message.to_owned()));
    assert_eq!(store.all().await.len(), 0);
    let many = vec![good; 1001];
    let too_many = "1001 envelopes, and a call takes 1000; send them in several calls";
    assert_eq!(producer.refused("q", &many).await, ("too_large".to_owned(), too_many.to_owned()));
    let large = json!({"kind": "a", "payload": "x".repeat(1_048_576)}).to_string();
    let message = format!(": is {} bytes, and an envelope takes 1048576 here; send it by HTTP, or a reference to the data", large.len());
    assert_eq!(producer.refused("q", &[&large]).await, ("too_large".to_owned(), message));
    let nearly = json!({"kind": "a", "payload": "x".repeat(1_048_500)}).to_string();
    assert_eq!(producer.enqueue("q", &[&nearly]).await.len(), 1);
    let message = format!("{} bytes, and a call takes 4194304; send them in several calls", nearly.len() * 5);
    assert_eq!(producer.refused("q", &vec![nearly; 5]).await, ("too_large".to_owned(), message));
}

#[tokio::test]
async fn key_must_name_a_queue_and_the_envelope_no_other() {
    let Some((store, producer)) = door().await else { return };
    let good = r#"{"kind":"a","payload":0}"#;
    let message = "name one key, the prefix and the queue in braces, such as windlass:{mail}".to_owned();
    for keys in
        [vec!["windlass"], vec!["windlass:mail"], vec!["windlass:{}"], vec!["windlass:{a b}"], vec!["{a}"], vec!["w:{a}", "w:{b}"], vec![]]
    {
        let call = redis::cmd("FCALL").arg("windlass_enqueue").arg(keys.len()).arg(&keys).arg(good).clone();
        let answer: Result<Value, _> = call.query_async(&mut producer.connection.clone()).await;
        let refused = super::refusal(&answer.expect_err("no queue"));
        assert_eq!(refused, ("wrong_type".to_owned(), message.clone()), "{keys:?}");
    }
    let nothing = producer.refused("q", &[] as &[&str]).await;
    assert_eq!(nothing.1, "send one envelope or several behind the key, such as {\"kind\":\"email.send\",\"payload\":{}}");
    let other = producer.refused("mail", &[r#"{"kind":"a","payload":0,"queue":"slow"}"#]).await;
    let message = "/queue: the key names queue `mail`; leave `queue` out, or call with the key of `slow`";
    assert_eq!(other, ("conflict".to_owned(), message.to_owned()));
    assert_eq!(producer.enqueue("mail", &[r#"{"kind":"a","payload":0,"queue":"mail"}"#]).await.len(), 1);
    assert_eq!(store.all().await.len(), 1);
}

#[tokio::test]
async fn same_id_or_idempotency_key_is_the_same_job_and_another_body_a_conflict() {
    let Some((store, producer)) = door().await else { return };
    let id = JobId::mint();
    let with_id = |payload: i64| json!({"id": id, "kind": "a", "payload": payload}).to_string();
    assert_eq!(producer.enqueue("q", &[with_id(1)]).await, [id]);
    assert_eq!(producer.enqueue("q", &[with_id(1)]).await, [id]);
    let (code, message) = producer.refused("q", &[with_id(2)]).await;
    assert_eq!((code.as_str(), message), ("conflict", format!("job {id} exists with another body; use a fresh id or idempotency key")));
    let with_key = |payload: i64| json!({"idempotency_key": "order 17", "kind": "a", "payload": payload}).to_string();
    let first = producer.enqueue("q", &[with_key(1)]).await;
    assert_eq!(producer.enqueue("q", &[with_key(1), with_key(1)]).await, [first[0], first[0]]);
    let (_, message) = producer.refused("q", &[with_key(1), with_key(2)]).await;
    assert_eq!(message, format!("/1: job {} exists with another body; use a fresh id or idempotency key", first[0]));
    let unique = r#"{"kind":"a","payload":1,"unique_key":"u","on_duplicate":"reject"}"#;
    let holder = producer.enqueue("q", &[unique]).await;
    let refused = producer.refused("q", &[unique]).await;
    assert_eq!(refused, ("duplicate".to_owned(), format!("the unique key is held by job {}", holder[0])));
    assert_eq!(store.all().await.len(), 3);
}
