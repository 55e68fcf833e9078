//! `windlass::Client` against a real port.

use super::*;
use secrecy::SecretString;
use windlass::{
    Client,
    client::Error,
    control::wire::{ItemAnswer, RedriveRequest, Retried},
    job::{Envelope, Job, Json, Timestamp, schedule::Schedule},
    store::Filter,
};

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_str(&value.to_string()).unwrap_or_else(|e| panic!("{e} in {value}"))
}

fn job(value: Value) -> Envelope {
    read(&value)
}

fn client(port: &Port) -> Client {
    Client::new(&port.url(""), None).expect("a client")
}

#[tokio::test]
async fn a_job_s_life_through_the_client() {
    let port = Port::start().await;
    let client = client(&port);
    let done = client.enqueue(&job(json!({"kind": "k", "payload": {"a": 1}, "meta": {"m": [1]}, "tags": ["t"]}))).await.expect("enqueued");
    assert!(!done.duplicate);
    let shown: Job = client.get(done.id).await.expect("answered").expect("found");
    assert_eq!((shown.payload, shown.extra.meta), (Json::of(&json!({"a": 1})), Some(Json::of(&json!({"m": [1]})))));
    assert_eq!(client.get(JobId::mint()).await.expect("answered").map(|job| job.id), None);
    let listed = client.list(&Filter { tag: Some(name("t")), ..Filter::default() }, None, 10).await.expect("listed");
    assert_eq!(listed.items.iter().map(|job| job.id).collect::<Vec<_>>(), [done.id]);
    let cancelled = client.cancel(done.id, Some("no longer")).await.expect("cancelled");
    assert_eq!(cancelled.cancelled, "now");
    let refused = client.retry(done.id).await.expect_err("it is final");
    assert_eq!(refused.code(), Some("not_allowed"), "{refused}");
    assert!(!refused.is_temporary());
}

#[tokio::test]
async fn many_jobs_all_or_nothing_each_or_as_lines() {
    let port = Port::start().await;
    let client = client(&port);
    let good = job(json!({"kind": "k", "payload": 1}));
    let bad = Envelope { priority: Some(10), ..good.clone() };
    assert_eq!(client.enqueue_many(&vec![good.clone(); 100]).await.expect("enqueued").len(), 100);
    let error = client.enqueue_many(&[good.clone(), bad.clone()]).await.expect_err("one is bad");
    let Error::Refused { problem, .. } = &error else { panic!("{error:?}") };
    assert_eq!(problem.errors[0].index, Some(1));
    let each = client.enqueue_each(&[bad, good.clone()]).await.expect("answered");
    assert!(matches!(each.as_slice(), [ItemAnswer::Refused { .. }, ItemAnswer::Enqueued(_)]), "{each:?}");
    let line = format!("{}\n", Json::of(&good).as_str());
    let streamed = client.enqueue_ndjson(line.repeat(1500), true).await.expect("streamed");
    assert_eq!((streamed.answers.len(), streamed.stopped), (1500, None));
    assert_eq!(port.count().await, 1601);
    port.store.close().await;
    let error = client.enqueue_ndjson(line, false).await.expect_err("the store is away");
    assert!(error.is_temporary(), "{error}");
    let Error::Refused { retry_after, .. } = error else { panic!("{error:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn dead_letters_queues_and_schedules_through_the_client() {
    let port = Port::start().await;
    let client = client(&port);
    let dead = port.dead(3, &json!({"kind": "k", "payload": 1})).await;
    assert_eq!(client.dead(&Filter::default(), None, 10).await.expect("listed").items.len(), 3);
    assert_eq!(client.dead_letter(dead[0]).await.expect("answered").map(|job| job.id), Some(dead[0]));
    assert_eq!(client.redrive(dead[0]).await.expect("redriven").done, Retried::Redriven);
    client.purge(dead[1]).await.expect("purged");
    let rest = client.redrive_many(&RedriveRequest { all: true, ..RedriveRequest::default() }).await.expect("redriven");
    assert_eq!((rest.redriven, rest.more), (1, false));

    let paused = client.pause(&name("default"), Some("because"), None).await.expect("paused");
    assert_eq!(paused.paused.map(|pause| pause.reason).as_deref(), Some("because"));
    assert!(client.queues().await.expect("listed").iter().any(|queue| queue.paused.is_some()));
    assert_eq!(client.resume(&name("default")).await.expect("resumed").paused, None);

    let schedule: Schedule = read(&json!({"name": "s", "every_ms": 60_000, "job": {"kind": "k", "payload": 1}}));
    client.put_schedule(&schedule).await.expect("put");
    assert_eq!(client.schedules().await.expect("listed").len(), 1);
    assert!(client.schedule(&name("s")).await.expect("answered").is_some_and(|s| s.next.is_some()));
    assert!(client.pause_schedule(&name("s"), true).await.expect("paused").paused);
    let preview: Vec<Timestamp> = client.preview_schedule(&name("s"), 3).await.expect("previewed");
    assert_eq!(preview[2].since(preview[0]), Duration::from_secs(120));
    assert!(client.occurrences(&name("s"), 10).await.expect("listed").is_empty());
    assert!(!client.run_schedule(&name("s")).await.expect("run").duplicate);
    client.delete_schedule(&name("s")).await.expect("deleted");
    assert!(client.schedule(&name("s")).await.expect("answered").is_none());
}

#[tokio::test]
async fn the_daemon_s_state_is_read_even_when_it_is_bad() {
    let port = Port::start().await;
    let client = client(&port);
    assert!(client.ready().await.expect("answered").ready);
    port.enqueue(1, &json!({"kind": "k", "payload": 1})).await;
    assert!(client.metrics().await.expect("answered").contains("windlass_queue_jobs"));
    port.store.close().await;
    assert_eq!(client.ready().await.expect("answered").failed, ["store"]);
    assert_eq!(client.health().await.expect("answered").status, "failing");
}

#[tokio::test]
async fn a_token_is_shown_and_never_printed() {
    let token = SecretString::from("the-token-of-this-test");
    let port = Port::with(Config { token: Some(token.clone()), ..Config::default() }).await;
    let error = client(&port).queues().await.expect_err("no token");
    assert_eq!(error.code(), Some("unauthorized"));
    let admitted = Client::new(&port.url("/"), Some(&token)).expect("a client");
    admitted.queues().await.expect("admitted");
    assert!(!format!("{admitted:?}").contains("the-token"), "{admitted:?}");
}

#[tokio::test]
async fn who_is_not_there_and_who_is_somebody_else_are_told_apart() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let error = Client::new(&format!("http://{address}"), None).expect("a client").queues().await.expect_err("nobody listens");
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_temporary(), "{error:?}");

    let other = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = other.local_addr().expect("an address");
    let answering = tokio::spawn(async move {
        let (mut socket, _) = other.accept().await.expect("a caller");
        let mut read = [0; 1024];
        let _ = socket.read(&mut read).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
    });
    let error = Client::new(&format!("http://{address}"), None).expect("a client").queues().await.expect_err("not a control port");
    assert!(matches!(error, Error::Unreadable { status: 200, .. }) && !error.is_temporary(), "{error:?}");
    answering.await.expect("no panic");
    for address in ["", "not a url", "ftp://x", "/path", "127.0.0.1:7717"] {
        assert!(matches!(Client::new(address, None), Err(Error::BadAddress(_))), "{address}");
    }
}

#[tokio::test]
async fn an_answer_lost_on_the_way_does_not_make_a_second_job() {
    let port = Port::start().await;
    // Passes the first request on, and closes the connection in place of its answer.
    let between = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, behind) = (between.local_addr().expect("an address"), port.address);
    let passing = tokio::spawn(async move {
        for lost in [true, false] {
            let (mut near, _) = between.accept().await.expect("a caller");
            let mut far = TcpStream::connect(behind).await.expect("the port listens");
            if lost {
                let mut request = vec![0; 64 << 10];
                let read = near.read(&mut request).await.expect("a request");
                far.write_all(&request[..read]).await.expect("passed on");
                let mut answer = [0; 1];
                far.read_exact(&mut answer).await.expect("carried out");
            } else {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        }
    });
    let client = Client::new(&format!("http://{address}"), None).expect("a client");
    let done = client.enqueue(&job(json!({"kind": "k", "payload": 1}))).await.expect("enqueued by the second try");
    assert!(!done.duplicate, "the caller enqueued once and sees one new job");
    assert_eq!(port.count().await, 1);
    drop(client);
    passing.await.expect("no panic");
}
