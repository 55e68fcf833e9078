//! `webhook.process`: events go on byte for byte, signed, and the receiver's answer decides.

use super::{Bench, JOB, job, rejected, result, retried};
use crate::clients::{
    now,
    server::{Reply, Server},
};
use serde_json::{Value, json};
use std::time::Duration;
use windlass::{
    job::Timestamp,
    signatures::{Scheme, SecretFormat, Source},
    workers,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn bench(url: &str) -> Bench {
    let table = format!(
        "[sources.shop]\nscheme = 'stripe'\nsecrets = ['x']\nforward_to = '{url}'\nforward_secret = '{SECRET}'\n[sources.quiet]\nscheme = 'github'\nsecrets = ['x']\n"
    );
    Bench::new(&workers::Config::default(), &Default::default(), &toml::from_str(&table).expect("a table"))
}

fn event(source: &str) -> Value {
    json!({
        "source": source, "event_id": "evt_1", "event_type": "invoice.paid", "event_time": "2026-06-01T11:00:00Z", "received_at": "2026-06-01T11:00:01Z",
        "headers": {"content-type": "application/json; charset=utf-8"}, "body": "{ \"id\" : \"evt_1\" }\n", "body_encoding": "utf8",
    })
}

async fn told(reply: Reply) -> windlass::engine::worker::Outcome {
    let server = Server::start(vec![reply]).await;
    bench(&server.url("/in")).run("webhook.process", &event("shop")).await
}

#[tokio::test]
async fn an_event_goes_on_byte_for_byte_under_a_signature_its_receiver_accepts() {
    let server = Server::start(vec![Reply::text(202, "queued")]).await;
    let bench = bench(&server.url("/in"));
    let outcome = bench.run("webhook.process", &event("shop")).await;
    let said = result(&outcome);
    assert_eq!(
        (&said["event_id"], &said["forwarded"], &said["answer"]["status"], &said["answer"]["body"]),
        (&json!("evt_1"), &json!(true), &json!(202), &json!("queued"))
    );
    let seen = server.only();
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.text().as_str()), ("POST", "/in", "{ \"id\" : \"evt_1\" }\n"));
    assert_eq!((seen.headers["webhook-id"].as_str(), seen.headers["content-type"].as_str()), ("evt_1", "application/json; charset=utf-8"));
    assert_eq!((seen.headers["windlass-source"].as_str(), seen.headers["windlass-event-type"].as_str()), ("shop", "invoice.paid"));
    assert_eq!(seen.headers["windlass-event-time"], "2026-06-01T11:00:00Z");
    let headers = seen.headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect();
    let receiver = Source::new(Scheme::Standard, SecretFormat::Base64, &[SECRET.into()], Duration::from_secs(2)).expect("a source");
    assert_eq!(receiver.verify(&headers, &seen.body, now().to_utc()).expect("accepted").event_id, "evt_1");
    assert!(bench.metric("windlass_deliveries_total{result=\"delivered\"} 1"));
    assert!(bench.metric("windlass_delivery_seconds_count{result=\"delivered\"} 1"));
}

#[tokio::test]
async fn the_id_stays_the_same_over_retries_and_the_time_is_each_attempts_own() {
    let server = Server::start(vec![Reply::text(500, ""), Reply::text(200, "")]).await;
    let bench = bench(&server.url("/in"));
    bench.run("webhook.process", &event("shop")).await;
    let mut again = job("webhook.process", &event("shop"));
    again.attempt = 2;
    let later = windlass::engine::worker::Context::detached(Timestamp::parse("2026-06-01T12:05:00Z").expect("a time"));
    result(&bench.worker("webhook.process").run(&again, &later).await);
    let [first, second] = server.seen().try_into().expect("two requests");
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    let seconds = |text: &str| text.parse::<i64>().expect("seconds");
    assert_eq!(seconds(&second.headers["webhook-timestamp"]) - seconds(&first.headers["webhook-timestamp"]), 300);
    assert_ne!(first.headers["webhook-signature"], second.headers["webhook-signature"]);
}

#[tokio::test]
async fn a_body_that_is_no_text_arrives_as_it_was() {
    let server = Server::start(vec![Reply::text(200, "")]).await;
    let mut binary = event("shop");
    (binary["body"], binary["body_encoding"]) = (json!("/wD+"), json!("base64"));
    result(&bench(&server.url("/in")).run("webhook.process", &binary).await);
    assert_eq!(server.only().body, b"\xff\x00\xfe");
    binary["body"] = json!("%%%");
    assert_eq!(rejected(&bench(&server.url("/in")).run("webhook.process", &binary).await).code, "bad_payload");
}

#[tokio::test]
async fn the_receivers_answer_decides_as_the_table_says() {
    for status in [301, 302, 400, 401, 404, 422, 429, 500, 502, 503, 504] {
        let outcome = told(Reply::text(status, "no").with("location", "http://127.0.0.1/")).await;
        assert_eq!(retried(&outcome).0.code, format!("http_{status}"), "every failure but a clear no is tried again");
    }
    for (status, wait) in [(429, 30), (503, 60)] {
        let outcome = told(Reply::text(status, "").with("retry-after", &wait.to_string())).await;
        assert_eq!(retried(&outcome).1, Some(wait * 1000));
    }
    assert_eq!(rejected(&told(Reply::text(410, "")).await).code, "http_410");
    for word in ["disable", "abort-message"] {
        assert_eq!(rejected(&told(Reply::text(500, "").with("webhook-delivery", word)).await).code, "http_500");
    }
    let cut = told(Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec())).await;
    assert_eq!(retried(&cut).0.code, "connection_lost");
    let failing = Server::start(vec![Reply::text(410, ""), Reply::text(500, "")]).await;
    let bench = bench(&failing.url("/in"));
    bench.run("webhook.process", &event("shop")).await;
    bench.run("webhook.process", &event("shop")).await;
    for line in ["windlass_deliveries_total{result=\"failed\"} 1", "windlass_deliveries_total{result=\"retried\"} 1"] {
        assert!(bench.metric(line), "{line}");
    }
}

#[tokio::test]
async fn an_answer_is_captured_up_to_its_cap() {
    let outcome = told(Reply::Endless).await;
    let answer = &result(&outcome)["answer"];
    assert_eq!((answer["body"].as_str().expect("text").len(), &answer["body_truncated"]), (20_000, &json!(true)));
}

#[tokio::test]
async fn a_source_without_an_endpoint_only_records_the_event() {
    let server = Server::start(vec![Reply::text(200, "")]).await;
    let outcome = bench(&server.url("/in")).run("webhook.process", &event("quiet")).await;
    let expected = json!({"source": "quiet", "event_id": "evt_1", "event_type": "invoice.paid", "forwarded": false});
    assert_eq!(result(&outcome), expected);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_event_of_a_source_that_was_taken_away_is_a_dead_letter_and_not_lost() {
    let server = Server::start(vec![Reply::text(200, "")]).await;
    let outcome = bench(&server.url("/in")).run("webhook.process", &event("gone")).await;
    let error = rejected(&outcome);
    assert_eq!(error.code, "unknown_source");
    assert!(error.message.contains("`gone`") && error.message.contains("redrive"), "{}", error.message);
    let outcome = bench(&server.url("/in")).run("webhook.process", &json!({"id": JOB})).await;
    assert_eq!(rejected(&outcome).code, "bad_payload");
}
