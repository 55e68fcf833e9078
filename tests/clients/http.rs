//! The client on real sockets: what it refuses to dial, to follow, to read and to wait for.

use super::{
    now, open_http,
    server::{Reply, Server},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use url::Url;
use windlass::{
    clients::{
        guard::Refusal,
        http::{Call, CallError, Config, Http, Keep, UrlFrom},
        lookup::Lookup,
    },
    clock::Clock,
    job::ErrorClass,
};

pub fn get(url: &str) -> Call {
    Call {
        url_from: UrlFrom::Job,
        method: Method::GET,
        url: Url::parse(url).expect("a URL"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(20),
        keep: Keep::Whole,
    }
}

/// Answers the n-th question with the n-th address, and counts.
struct Script {
    answers: Vec<SocketAddr>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Lookup for Script {
    async fn lookup(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.get(turn).map(|a| vec![*a]).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn resolving(allow: &str, answers: &[&str]) -> (Http, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers = answers.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect();
    let config = Config { allow: vec![allow.parse().expect("a network")], ..Config::default() };
    let script = Script { answers, asked: Arc::clone(&asked) };
    (Http::with_lookup(&config, Clock::manual(now()), Arc::new(script)).expect("a client"), asked)
}

#[tokio::test]
async fn loopback_is_refused_unless_it_is_allowed() {
    let server = Server::start(vec![Reply::text(200, "hello")]).await;
    let closed = Http::new(&Config::default(), Clock::manual(now())).expect("a client");
    let refused = closed.call(get(&server.url("/"))).await.expect_err("refused");
    assert!(matches!(refused, CallError::Refused(Refusal::Address(_))), "{refused}");
    assert_eq!(refused.class(), ErrorClass::Permanent);
    assert!(server.seen().is_empty(), "nothing was dialled");
    assert_eq!(open_http().call(get(&server.url("/"))).await.expect("an answer").body, "hello");
    let configured = Call { url_from: UrlFrom::Config, ..get(&server.url("/")) };
    assert_eq!(closed.call(configured).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_by_type_not_by_text() {
    let (http, _) = resolving("127.0.0.2/32", &["127.0.0.1"]);
    let refused = http.call(get("http://rebind.example:8080/")).await.expect_err("refused");
    assert!(matches!(&refused, CallError::Refused(Refusal::Address(ip)) if ip.to_string() == "127.0.0.1"), "{refused}");
}

#[tokio::test]
async fn a_resolver_that_changes_its_answer_cannot_move_a_judged_connection() {
    // 127.0.0.2 plays the public address, 127.0.0.1 the private one.
    let public = Server::start_at("127.0.0.2:0", vec![Reply::text(200, "public").with("connection", "close")]).await;
    let (http, asked) = resolving("127.0.0.2/32", &["127.0.0.2", "127.0.0.1"]);
    let url = format!("http://rebind.example:{}/", public.addr.port());
    assert_eq!(http.call(get(&url)).await.expect("an answer").body, "public");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one lookup a connection, and none after the judgement");
    let second = http.call(get(&url)).await;
    match second {
        // A new connection asks again and is judged again …
        Err(CallError::Refused(Refusal::Address(_))) => assert_eq!(asked.load(Ordering::SeqCst), 2),
        // … never does it end anywhere else.
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_never_followed() {
    let server = Server::start(vec![Reply::text(302, "").with("location", "http://169.254.169.254/latest/meta-data/")]).await;
    let answer = open_http().call(get(&server.url("/"))).await.expect("an answer");
    assert_eq!(answer.status, 302);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_whole_or_kept_in_part() {
    let config = Config { allow: vec!["127.0.0.0/8".parse().expect("a network")], max_body_bytes: 1000, ..Config::default() };
    let http = Http::new(&config, Clock::manual(now())).expect("a client");
    for reply in [Reply::text(200, &"x".repeat(1001)), Reply::Endless] {
        let server = Server::start(vec![reply]).await;
        let whole = http.call(get(&server.url("/"))).await.expect_err("too large");
        assert!(matches!(whole, CallError::TooLarge(1000)), "{whole}");
        let first = http.call(Call { keep: Keep::First(10), ..get(&server.url("/")) }).await.expect("an answer");
        assert_eq!((first.body.len(), first.truncated), (10, true));
    }
    let server = Server::start(vec![Reply::text(200, &"x".repeat(1000))]).await;
    let exact = http.call(get(&server.url("/"))).await.expect("an answer");
    assert_eq!((exact.body.len(), exact.truncated), (1000, false));
}

#[tokio::test]
async fn an_answer_that_stalls_ends_at_the_deadline() {
    let server = Server::start(vec![Reply::Hang]).await;
    let call = Call { timeout: Duration::from_millis(150), ..get(&server.url("/")) };
    let error = open_http().call(call).await.expect_err("no answer");
    assert!(matches!(error, CallError::Timeout(_)), "{error}");
    assert_eq!(error.class(), ErrorClass::Timeout);
}

#[tokio::test]
async fn a_cut_answer_and_a_closed_port_are_failures_to_try_again() {
    let cut = Server::start(vec![Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec())]).await;
    let error = open_http().call(get(&cut.url("/"))).await.expect_err("cut");
    assert!(matches!(error, CallError::Broken(_)), "{error}");
    let nonsense = Server::start(vec![Reply::Raw(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec())]).await;
    let error = open_http().call(get(&nonsense.url("/"))).await.expect_err("no HTTP");
    assert!(matches!(error, CallError::Broken(_)), "{error}");

    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let error = open_http().call(get(&format!("http://{free}/?token=canary"))).await.expect_err("nobody listens");
    assert!(matches!(error, CallError::Connect(_)), "{error}");
    assert!(!error.to_string().contains("canary"), "an error never shows a URL: {error}");
}

#[tokio::test]
async fn a_request_goes_straight_to_its_server_and_asks_for_no_compression() {
    let server = Server::start(vec![Reply::text(200, "plain")]).await;
    open_http().call(get(&server.url("/x"))).await.expect("an answer");
    let seen = server.only();
    assert_eq!(seen.path, "/x", "a proxy would be sent the whole URL");
    assert!(!seen.headers.contains_key("accept-encoding"));
    assert!(seen.headers["user-agent"].starts_with("windlass/"));
}
