//! Slow, greedy and vanishing clients, and an orderly close.

use super::*;
use windlass::job::{Json, NewJob};

fn impatient() -> Config {
    Config { first_header_deadline_ms: 150, header_deadline_ms: 150, idle_deadline_ms: 150, ..Config::default() }
}

#[tokio::test]
async fn a_header_that_does_not_end_is_cut_off() {
    let port = Port::with(impatient()).await;
    for text in ["", "GET /livez HTTP/1.1\r\nhost: x\r\n"] {
        let answer = port.raw(text.as_bytes()).await;
        assert!(!answer.contains("200"), "{answer}");
    }
    assert_eq!(port.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let port = Port::with(impatient()).await;
    for content_type in ["application/json", "application/x-ndjson"] {
        for partial in ["", "?partial=true"] {
            let head = format!(
                "POST /v1/jobs{partial} HTTP/1.1\r\nhost: {}\r\ncontent-type: {content_type}\r\ncontent-length: 100\r\n\r\n{{\"kind\"",
                port.address
            );
            let answer = port.raw(head.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_too_slow"), "{content_type}{partial}: {answer}");
        }
    }
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn a_body_that_drips_for_ever_ends_with_the_request_s_deadline() {
    let port = Port::with(Config { request_deadline_ms: 200, ..Config::default() }).await;
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"kind\"";
    let answer = port.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"deadline\""), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_connection() {
    let port = Port::with(Config { idle_deadline_ms: 200, max_connections: 1, ..Config::default() }).await;
    let wordy = |_| {
        let mut job = NewJob::new(name("k"), Json::of(&1));
        job.extra.tags = vec![name(&"t".repeat(128)); 20];
        job
    };
    port.store.enqueue((0..1000).map(wordy).collect(), None).await.expect("enqueued");
    let mut greedy = TcpStream::connect(port.address).await.expect("the port listens");
    // Eight answers of three megabytes each: more than the kernel keeps for a socket.
    let ask = format!("GET /v1/jobs?limit=1000 HTTP/1.1\r\nhost: {}\r\n\r\n", port.address).repeat(8);
    greedy.write_all(ask.as_bytes()).await.expect("written");
    // The one connection there is comes free only when the greedy one is cut.
    assert_eq!(port.get("/livez").await.status, StatusCode::OK);
}

/// A request whose body the port is waiting for.
async fn being_answered(port: &Port) -> TcpStream {
    let mut socket = TcpStream::connect(port.address).await.expect("connected");
    let head = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
                content-length: 28\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("written");
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).await.expect("the port reads the body");
    socket
}

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn while_all_connections_are_being_answered_one_more_waits_for_its_turn() {
    let port = Port::with(Config { max_connections: 2, ..Config::default() }).await;
    let (mut first, mut second) = (being_answered(&port).await, being_answered(&port).await);
    let mut third = TcpStream::connect(port.address).await.expect("in the backlog");
    third.write_all(LIVEZ).await.expect("written");
    let answered_early = tokio::time::timeout(Duration::from_millis(100), third.readable()).await;
    assert!(answered_early.is_err(), "served beyond the cap");
    first.write_all(br#"{"kind":"k","payload":12345}"#).await.expect("written");
    assert!(read_to_end(&mut third).await.starts_with("HTTP/1.1 200 "), "the first is answered and makes room");
    second.write_all(br#"{"kind":"k","payload":12345}"#).await.expect("written");
    let mut answer = [0; 12];
    second.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 201", "whoever is being answered keeps his place");
}

#[tokio::test]
async fn connections_that_ask_for_nothing_make_room_for_one_that_does() {
    let patient = Config { first_header_deadline_ms: 600_000, header_deadline_ms: 600_000, ..Config::default() };
    let port = Port::with(Config { max_connections: 8, ..patient }).await;
    let mut idle = Vec::new();
    for n in 0..100 {
        let mut socket = TcpStream::connect(port.address).await.expect("connected");
        // Some began a header, and some had an answer and stay.
        match n % 3 {
            0 => {}
            1 => socket.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("written"),
            _ => {
                socket.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
                let mut answer = [0; 12];
                socket.read_exact(&mut answer).await.expect("answered");
            }
        }
        idle.push(socket);
    }
    assert!(port.raw(LIVEZ).await.starts_with("HTTP/1.1 200 "));
    let closed = tokio::time::timeout(PATIENCE, idle[0].read(&mut [0; 1])).await.expect("the oldest had to go");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn the_first_header_has_a_deadline_of_its_own() {
    let port = Port::with(Config { first_header_deadline_ms: 150, header_deadline_ms: 600_000, ..Config::default() }).await;
    for text in ["", "GET /livez HTTP/1.1\r\nhost: x\r\n"] {
        assert_eq!(port.raw(text.as_bytes()).await, "");
    }
}

#[tokio::test]
async fn a_header_block_beyond_its_bound_is_431() {
    let port = Port::start().await;
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    for headers in [many, long] {
        let answer = port.raw(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert_eq!(port.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn two_lengths_in_one_request_are_refused() {
    let port = Port::start().await;
    let smuggled = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 4\r\ncontent-length: 40\r\n\r\n{}{}";
    let answer = port.raw(smuggled.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn a_client_that_vanishes_in_mid_body_leaves_nothing_behind() {
    let port = Port::start().await;
    let mut socket = TcpStream::connect(port.address).await.expect("connected");
    let head =
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"kind\":\"k\",";
    socket.write_all(head.as_bytes()).await.expect("written");
    drop(socket);
    assert_eq!(port.get("/livez").await.status, StatusCode::OK);
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn bodies_wait_for_memory_and_are_all_served() {
    let body = 1 << 20;
    let port = Port::with(Config { max_body_bytes: body, max_buffered_bytes: body, ..Config::default() }).await;
    let text = format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(900_000));
    let calls = (0..8).map(|_| port.send(Method::POST, "/v1/jobs", "application/json", text.clone()));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
    assert_eq!(port.count().await, 8);
}

#[tokio::test]
async fn closing_lets_a_request_that_began_end_and_refuses_new_connections() {
    let port = Port::start().await;
    let address = port.address;
    let mut begun = TcpStream::connect(address).await.expect("connected");
    let body = json!({"kind": "k", "payload": 1}).to_string();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    begun.write_all(head.as_bytes()).await.expect("written");
    let mut interim = [0; 25];
    begun.read_exact(&mut interim).await.expect("the port reads the body");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    let idle = TcpStream::connect(address).await.expect("connected");
    let store = port.store.clone();
    let closed = tokio::spawn(port.stop());
    begun.write_all(body.as_bytes()).await.expect("written");
    let answer = read_to_end(&mut begun).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    tokio::time::timeout(PATIENCE, closed).await.expect("closed in time").expect("no panic");
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    drop(store);
}

#[tokio::test]
async fn a_request_that_will_not_end_is_cut_when_the_port_closes() {
    let port = Port::with(Config { close_deadline_ms: 100, ..Config::default() }).await;
    let mut stuck = TcpStream::connect(port.address).await.expect("connected");
    let head =
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n";
    stuck.write_all(head.as_bytes()).await.expect("written");
    let mut interim = [0; 25];
    stuck.read_exact(&mut interim).await.expect("the port reads the body");
    port.stop().await;
}
