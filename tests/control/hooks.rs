//! Other people's events at the door.

use super::*;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use sha2::Sha256;
use std::collections::BTreeMap;
use windlass::{
    job::Timestamp,
    signatures::{Event, Scheme, SecretFormat, Signer, SourceConfig},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW_SECS: i64 = 1_700_000_000;

fn source(scheme: Scheme) -> SourceConfig {
    SourceConfig {
        scheme,
        secret_format: SecretFormat::Base64,
        secrets: vec![SecretString::from(SECRET)],
        secret_files: Vec::new(),
        tolerance_secs: 300,
        forward_to: None,
        forward_secret: None,
        forward_secret_file: None,
    }
}

fn sources() -> signatures::Config {
    let named = [("stripe", Scheme::Stripe), ("github", Scheme::Github), ("svix", Scheme::Standard)];
    signatures::Config { sources: named.map(|(name, scheme)| (name.to_owned(), source(scheme))).into() }
}

const TOKEN: &str = "hooks-need-no-token";

async fn door() -> Port {
    door_with(Config { max_hook_bytes: 64 << 10, ..Config::default() }).await
}

async fn door_with(config: Config) -> Port {
    let config = Config { token: Some(SecretString::from(TOKEN)), ..config };
    Port::hooked(config, &sources(), Clock::manual(Timestamp::from_secs(NOW_SECS))).await
}

fn hmac_hex(text: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(text);
    hex::encode(mac.finalize().into_bytes())
}

async fn post(port: &Port, source: &str, headers: &[(&str, String)], body: &[u8]) -> Answer {
    let request = port.request(Method::POST, &format!("/hooks/{source}")).header("content-type", "application/json").body(body.to_vec());
    Answer::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, value))).await
}

async fn stripe(port: &Port, at_secs: i64, body: &str) -> Answer {
    let signature = format!("t={at_secs},v1={}", hmac_hex(format!("{at_secs}.{body}").as_bytes()));
    post(port, "stripe", &[("stripe-signature", signature)], body.as_bytes()).await
}

async fn github(port: &Port, delivery: &str, body: &[u8]) -> Answer {
    let signature = format!("sha256={}", hmac_hex(body));
    let headers = [("x-hub-signature-256", signature), ("x-github-delivery", delivery.into()), ("x-github-event", "push".into())];
    post(port, "github", &headers, body).await
}

fn ok() -> Value {
    json!({"ok": true})
}

fn repeat() -> Value {
    json!({"ok": true, "duplicate": true})
}

async fn events(port: &Port) -> Vec<Event> {
    let leased = port.lease("default", "webhook.process", 1000).await;
    leased.iter().map(|one| one.job.payload.read().expect("an event")).collect()
}

#[tokio::test]
async fn a_signed_event_becomes_one_job_with_its_bytes_and_its_time() {
    let port = door().await;
    let body = "{\n  \"id\" : \"evt_1\",\"type\":\"invoice.paid\", \"created\": 1699999990, \"é\":1.50 }";
    let answer = stripe(&port, NOW_SECS, body).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, ok()));
    let leased = port.lease("default", "webhook.process", 10).await;
    assert_eq!(leased.len(), 1);
    let event: Event = leased[0].job.payload.read().expect("an event");
    assert_eq!(event.body, body);
    assert_eq!((event.source.as_str(), event.event_id.as_str(), event.event_type.as_deref()), ("stripe", "evt_1", Some("invoice.paid")));
    assert_eq!(event.event_time.map(|time| time.timestamp()), Some(1_699_999_990));
    assert_eq!(event.received_at.timestamp(), NOW_SECS);
    assert_eq!(event.headers.get("content-type").map(String::as_str), Some("application/json"));
    let extra = leased[0].job.extra.as_ref().expect("the rarer members");
    assert_eq!(extra.event_time, Some(Timestamp::from_secs(1_699_999_990)));
    assert!(!leased[0].job.payload.as_str().contains("v1="), "no signature is kept");
}

#[tokio::test]
async fn the_other_schemes_are_believed_too() {
    let port = door().await;
    assert_eq!(github(&port, "72d3162e", b"{\"ref\":\"main\"}").await.json(), ok());
    let body = b"{\"type\":\"user.created\",\"timestamp\":\"2023-11-14T22:13:10Z\"}";
    let signer = Signer::new(&[SecretString::from(SECRET)]).expect("a secret");
    let now = Timestamp::from_secs(NOW_SECS).to_utc();
    let signed = signer.headers("msg_1", now, body);
    let headers: Vec<(&str, String)> =
        signed.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text").to_owned())).collect();
    assert_eq!(post(&port, "svix", &headers, body).await.json(), ok());
    let mut seen: BTreeMap<String, Event> = events(&port).await.into_iter().map(|event| (event.source.clone(), event)).collect();
    assert_eq!(seen.remove("svix").expect("the event").event_type.as_deref(), Some("user.created"));
    assert_eq!(seen.remove("github").expect("the event").event_id, "72d3162e");
}

#[tokio::test]
async fn a_body_that_is_no_text_is_kept_byte_for_byte() {
    let port = door().await;
    let body = [0x00, 0xff, 0xfe, b'x', 0xc3];
    assert_eq!(github(&port, "d-1", &body).await.json(), ok());
    assert_eq!(events(&port).await[0].body_bytes().expect("base64"), body);
}

#[tokio::test]
async fn a_hundred_deliveries_of_one_event_are_one_job_and_all_hear_200() {
    let port = door().await;
    let body = r#"{"id":"evt_2","type":"a"}"#;
    // Retries are signed anew, at their own time.
    let answers = futures_util::future::join_all((0..100).map(|n| stripe(&port, NOW_SECS - n % 7, body))).await;
    let accepted = answers.iter().filter(|answer| answer.json() == ok()).count();
    let repeated = answers.iter().filter(|answer| answer.json() == repeat()).count();
    assert_eq!((accepted, repeated), (1, 99));
    assert_eq!(events(&port).await.len(), 1);
}

#[tokio::test]
async fn an_event_that_comes_later_again_is_a_repeat_even_when_received_at_another_time() {
    let port = door().await;
    let body = r#"{"id":"evt_3"}"#;
    assert_eq!(stripe(&port, NOW_SECS, body).await.json(), ok());
    port.state.clock.advance(Duration::from_secs(250));
    assert_eq!(stripe(&port, NOW_SECS + 250, body).await.json(), repeat());
    assert_eq!(stripe(&port, NOW_SECS, body).await.json(), repeat(), "a replay inside the tolerance");
    port.state.clock.advance(Duration::from_secs(51));
    stripe(&port, NOW_SECS, body).await.problem(401, "bad_signature");
    assert_eq!(events(&port).await.len(), 1);
}

#[tokio::test]
async fn the_same_event_id_with_another_body_keeps_the_first_and_is_counted() {
    let port = door().await;
    assert_eq!(stripe(&port, NOW_SECS, r#"{"id":"evt_4","pending_webhooks":2}"#).await.json(), ok());
    assert_eq!(stripe(&port, NOW_SECS, r#"{"id":"evt_4","pending_webhooks":1}"#).await.json(), repeat());
    let events = events(&port).await;
    assert_eq!(events.len(), 1);
    assert!(events[0].body.contains("\"pending_webhooks\":2"));
    let text = metrics(&port).await;
    assert!(text.contains(r#"windlass_webhooks_received_total{result="changed",source="stripe"} 1"#), "{text}");
}

#[tokio::test]
async fn the_counters_of_a_known_source_begin_at_zero() {
    let port = door().await;
    let text = metrics(&port).await;
    for result in ["accepted", "duplicate", "changed", "rejected", "failed"] {
        assert!(text.contains(&format!(r#"windlass_webhooks_received_total{{result="{result}",source="github"}} 0"#)), "{text}");
    }
}

async fn metrics(port: &Port) -> String {
    Answer::of(port.request(Method::GET, "/metrics").bearer_auth(TOKEN)).await.text
}

#[tokio::test]
async fn every_forgery_gets_the_same_401_and_the_metric_says_why() {
    let port = door().await;
    let body = br#"{"id":"evt_5"}"#;
    let signed = |at: i64, body: &[u8]| format!("t={at},v1={}", hmac_hex(&[format!("{at}.").as_bytes(), body].concat()));
    let mut answers = Vec::new();
    for signature in [
        String::new(),
        "t=,v1=".into(),
        format!("t={NOW_SECS},v1="),
        format!("t={NOW_SECS},v0=00"),
        format!("t={NOW_SECS},v1=00"),
        signed(NOW_SECS - 301, body),
        signed(NOW_SECS + 301, body),
        signed(NOW_SECS, b"{\"id\":\"evt_6\"}"),
        signed(NOW_SECS, body).to_uppercase(),
    ] {
        answers.push(post(&port, "stripe", &[("stripe-signature", signature)], body).await);
    }
    answers.push(post(&port, "stripe", &[], body).await);
    answers.push(post(&port, "github", &[("stripe-signature", signed(NOW_SECS, body))], body).await);
    for answer in &answers {
        answer.problem(401, "bad_signature");
        assert_eq!(answer.text, answers[0].text, "one answer for every reason");
    }
    assert!(events(&port).await.is_empty());
    let text = metrics(&port).await;
    for reason in ["missing_header", "no_signature", "mismatch", "too_old", "too_new"] {
        assert!(text.contains(&format!(r#"windlass_webhook_rejections_total{{reason="{reason}",source="stripe"}}"#)), "{reason}: {text}");
    }
    assert!(text.contains(r#"windlass_webhooks_received_total{result="rejected",source="stripe"} 10"#), "{text}");
}

#[tokio::test]
async fn unknown_sources_are_404_and_never_become_a_label() {
    let port = door().await;
    for source in ["paypal", "Stripe", "has%20space", "..%2fstripe", "%ff"] {
        let answer = post(&port, source, &[], b"{}").await;
        assert!([StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST].contains(&answer.status), "{source}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert!(!metrics(&port).await.contains("paypal"));
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_413_before_any_signature_work_and_compressed_is_415() {
    let port = door().await;
    let answer = github(&port, "big", &vec![b'x'; (64 << 10) + 1]).await;
    answer.problem(413, "too_large");
    assert_eq!(github(&port, "fits", &vec![b'x'; 64 << 10]).await.json(), ok());
    post(&port, "github", &[("content-encoding", "gzip".into())], b"x").await.problem(415, "unsupported_encoding");
}

#[tokio::test]
async fn while_the_store_is_away_the_sender_is_told_to_come_back() {
    let port = door().await;
    port.store.close().await;
    let answer = stripe(&port, NOW_SECS, r#"{"id":"evt_7"}"#).await;
    answer.problem(503, "store_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(metrics(&port).await.contains(r#"windlass_webhooks_received_total{result="failed",source="stripe"} 1"#));
}

#[tokio::test]
async fn a_secret_that_cannot_be_one_is_named_at_start() {
    let store = Port::start().await;
    for (name, change) in [("svix", "not base64!"), ("svix", ""), ("bad name", SECRET), ("a:b", SECRET), (&"n".repeat(49), SECRET)] {
        let one = SourceConfig { secrets: vec![SecretString::from(change)], ..source(Scheme::Standard) };
        let webhooks = signatures::Config { sources: [(name.to_owned(), one)].into() };
        let config = Config { token: Some(SecretString::from(TOKEN)), ..Config::default() };
        let made = State::new(&config, &webhooks, store.store.clone(), Metrics::new(), Clock::System, Vec::new);
        let error = made.err().expect("refused");
        assert!(error.contains(name) && !error.contains("not base64!"), "{error}");
        assert!(!error.contains("control.token"), "{error}");
    }
}

#[tokio::test]
async fn sources_without_a_token_are_refused_at_start() {
    let store = Port::start().await;
    let made = State::new(&Config::default(), &sources(), store.store.clone(), Metrics::new(), Clock::System, Vec::new);
    let error = made.err().expect("refused");
    assert!(error.contains("webhooks.sources.github") && error.contains("set control.token_file") && !error.contains('\n'), "{error}");
    let reloaded = store.state.reload(&Config::default(), &sources());
    assert_eq!(reloaded.expect_err("refused"), error);
}

#[tokio::test]
async fn a_replay_under_another_delivery_id_is_a_repeat_where_the_id_is_not_signed() {
    let port = door().await;
    let body = br#"{"ref":"main","after":"9fceb02"}"#;
    assert_eq!(github(&port, "d-1", body).await.json(), ok());
    assert_eq!(github(&port, "d-1", body).await.json(), repeat(), "GitHub's own redelivery");
    assert_eq!(github(&port, "d-2", body).await.json(), repeat(), "a captured body under an id made up on the way");
    assert_eq!(github(&port, "d-2", br#"{"ref":"main","after":"1a410ef"}"#).await.json(), ok(), "another event");
    let ids: Vec<String> = events(&port).await.into_iter().map(|event| event.event_id).collect();
    assert_eq!(ids, ["d-1", "d-2"], "the sender's ids are kept as they came");
}

/// A request to `/hooks/github` that announces a body of `length`, up to where the port begins to read it.
async fn announced(port: &Port, length: usize) -> TcpStream {
    let mut socket = TcpStream::connect(port.address).await.expect("the port listens");
    let signature = hmac_hex(b"whatever");
    let head = format!(
        "POST /hooks/github HTTP/1.1\r\nhost: {}\r\nx-hub-signature-256: sha256={signature}\r\nexpect: 100-continue\r\n\
         content-length: {length}\r\n\r\n",
        port.address
    );
    socket.write_all(head.as_bytes()).await.expect("written");
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).await.expect("the port reads the body");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket
}

#[tokio::test]
async fn webhooks_that_announce_much_and_send_little_keep_no_token_holder_waiting() {
    let mib = 1 << 20;
    let config = Config { max_body_bytes: mib, max_buffered_bytes: mib, max_hook_buffered_bytes: mib, ..Config::default() };
    let patient = Config { idle_deadline_ms: 60_000, hook_deadline_ms: 60_000, ..config };
    let port = door_with(patient).await;
    let mut dripping = Vec::new();
    for _ in 0..8 {
        let mut socket = announced(&port, mib).await;
        socket.write_all(b"x").await.expect("written");
        dripping.push(socket);
    }
    let job = json!({"kind": "k", "payload": "x".repeat(900_000)}).to_string();
    let call = port.request(Method::POST, "/v1/jobs").bearer_auth(TOKEN).header("content-type", "application/json").body(job);
    assert_eq!(Answer::of(call).await.status, StatusCode::CREATED);
    let large = format!(r#"{{"zen":"{}"}}"#, "x".repeat(900_000));
    assert_eq!(github(&port, "large", large.as_bytes()).await.json(), ok(), "nor an honest sender");
}

#[tokio::test]
async fn large_webhooks_wait_for_memory_and_are_all_served() {
    let port = door_with(Config { max_hook_buffered_bytes: 128 << 10, ..Config::default() }).await;
    let bodies: Vec<String> = (0..16).map(|n| format!(r#"{{"n":{n},"zen":"{}"}}"#, "x".repeat(900_000))).collect();
    for answer in futures_util::future::join_all(bodies.iter().map(|body| github(&port, "d", body.as_bytes()))).await {
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, ok()));
    }
}

#[tokio::test]
async fn a_webhook_body_that_drips_ends_with_its_own_deadline() {
    let port = door_with(Config { idle_deadline_ms: 60_000, hook_deadline_ms: 200, ..Config::default() }).await;
    let mut socket = announced(&port, 100).await;
    socket.write_all(b"x").await.expect("written");
    let answer = read_to_end(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_too_slow"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_a_signature_is_refused_before_the_body_is_read() {
    let patient = Config { idle_deadline_ms: 60_000, hook_deadline_ms: 60_000, max_hook_bytes: 64 << 10, ..Config::default() };
    let port = door_with(patient).await;
    let (short, loud) = (format!("sha256={}", &hmac_hex(b"x")[1..]), format!("sha256={}", hmac_hex(b"x").to_uppercase()));
    let old = format!("t={},v1={}", NOW_SECS - 301, hmac_hex(b"x"));
    for (source, header) in [
        ("github", "x-nothing: at-all".to_owned()),
        ("github", "x-hub-signature-256: sha256=".to_owned()),
        ("github", format!("x-hub-signature-256: {short}")),
        ("github", format!("x-hub-signature-256: {loud}")),
        ("stripe", format!("stripe-signature: {old}")),
        ("svix", format!("webhook-id: 1\r\nwebhook-timestamp: {NOW_SECS}\r\nwebhook-signature: v1,AAAA")),
    ] {
        let head = |length: usize| {
            let close = "connection: close\r\nexpect: 100-continue";
            format!("POST /hooks/{source} HTTP/1.1\r\nhost: {}\r\n{header}\r\n{close}\r\ncontent-length: {length}\r\n\r\n", port.address)
        };
        // The body never comes; whoever asks first hears the answer first.
        let answer = port.raw(head(100).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("bad_signature"), "{header}: {answer}");
        let answer = port.raw(head(64 << 11).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "a body too large is that first: {header}: {answer}");
    }
}
