//! `http.call`: what is sent, what completes, what comes back, and what is never dialled.

use super::{Bench, job, rejected, result, retried, snoozed_ms};
use crate::clients::{
    now,
    server::{Reply, Server},
};
use serde_json::{Value, json};
use windlass::{
    clients::http::{Config as Outbound, Http},
    clock::Clock,
    engine::worker::{Context, Verdict},
    job::Json,
    telemetry::Metrics,
    workers::{self, Deps},
};

fn bench() -> Bench {
    Bench::new(&workers::Config::default(), &Default::default(), &Default::default())
}

async fn told(reply: Reply) -> windlass::engine::worker::Outcome {
    let server = Server::start(vec![reply]).await;
    bench().run("http.call", &json!({"url": server.url("/")})).await
}

#[tokio::test]
async fn a_call_is_made_as_asked_and_its_answer_is_the_result() {
    let server =
        Server::start(vec![Reply::text(201, "made").with("content-type", "text/plain").with("set-cookie", "session=canary")]).await;
    let bench = bench();
    let payload = json!({"url": server.url("/a?b=c"), "method": "put", "headers": {"X-One": "1", "Authorization": "Bearer t"}, "body": {"z": 1, "a": [1.50]}});
    let outcome = bench.run("http.call", &payload).await;
    let expected = json!({"status": 201, "headers": {"content-type": "text/plain", "content-length": "4"}, "body": "made"});
    assert_eq!(result(&outcome), expected);
    let seen = server.only();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PUT", "/a?b=c"));
    assert_eq!((seen.headers["x-one"].as_str(), seen.headers["authorization"].as_str()), ("1", "Bearer t"));
    assert_eq!((seen.headers["content-type"].as_str(), seen.headers["windlass-job"].as_str()), ("application/json", super::JOB));
    assert_eq!(seen.headers["windlass-attempt"], "1");
    assert!(bench.metric("windlass_provider_requests_total{class=\"ok\",kind=\"http.call\",provider=\"http\"} 1"));
}

#[tokio::test]
async fn a_body_keeps_its_bytes_and_decides_the_method() {
    let server = Server::start(vec![Reply::text(200, "")]).await;
    let bench = bench();
    let mut exact = job("http.call", &json!(null));
    exact.payload = Json::parse(&format!(r#"{{"url":"{}","body":{{"b": 1.50,  "a":"\u00e9"}}}}"#, server.url("/"))).expect("JSON");
    bench.run_job(&exact).await;
    bench.run("http.call", &json!({"url": server.url("/"), "body": "plain\ntext", "headers": {"content-type": "text/csv"}})).await;
    bench.run("http.call", &json!({"url": server.url("/"), "body": null})).await;
    bench.run("http.call", &json!({"url": server.url("/"), "method": "DELETE"})).await;
    let [json, text, nothing, delete] = server.seen().try_into().expect("four requests");
    assert_eq!((json.method.as_str(), json.text().as_str()), ("POST", r#"{"b": 1.50,  "a":"\u00e9"}"#));
    assert_eq!((text.method.as_str(), text.text().as_str(), text.headers["content-type"].as_str()), ("POST", "plain\ntext", "text/csv"));
    assert_eq!((nothing.method.as_str(), nothing.headers.get("content-type")), ("GET", None));
    assert_eq!(delete.method, "DELETE");
}

#[tokio::test]
async fn a_long_or_binary_answer_is_kept_in_part_and_in_base64() {
    let long = result(&told(Reply::text(200, &"é".repeat(15_000))).await);
    assert_eq!((long["body"].as_str().expect("text").len(), &long["body_truncated"]), (20_000, &json!(true)));
    let odd = result(&told(Reply::text(200, &format!("x{}", "é".repeat(15_000)))).await);
    assert_eq!(odd["body"].as_str().expect("text").len(), 19_999, "cut between characters");
    let binary = Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\x00\xfe".to_vec());
    let binary = result(&told(binary).await);
    assert_eq!((&binary["body"], &binary["body_encoding"]), (&json!("/wD+"), &json!("base64")));
}

#[tokio::test]
async fn the_status_decides_between_again_and_never() {
    for status in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
        let outcome = told(Reply::text(status, "reason")).await;
        let (error, after) = retried(&outcome);
        assert_eq!((error.code.as_str(), after), (format!("http_{status}").as_str(), None));
        assert_eq!(error.message, format!("the server answered {status}: reason"));
    }
    for status in [301, 302, 307, 400, 401, 402, 403, 404, 405, 410, 413, 422, 451] {
        let outcome = told(Reply::text(status, "").with("location", "http://169.254.169.254/")).await;
        assert_eq!(rejected(&outcome).code, format!("http_{status}"));
    }
    for status in [200, 201, 202, 204, 206] {
        let outcome = told(Reply::Raw(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").into_bytes())).await;
        assert_eq!(result(&outcome)["status"], status);
    }
}

#[tokio::test]
async fn retry_after_is_honoured_and_a_429_that_names_its_time_costs_no_attempt() {
    let busy = told(Reply::text(503, "").with("retry-after", "7")).await;
    assert_eq!(retried(&busy).1, Some(7_000));
    let throttled = told(Reply::text(429, "").with("retry-after", "7")).await;
    assert!((7_000..9_000).contains(&snoozed_ms(&throttled)), "{throttled:?}");
}

#[tokio::test]
async fn an_address_inside_is_never_dialled_and_the_sentence_says_what_to_do() {
    let server = Server::start(vec![Reply::text(200, "")]).await;
    let closed = Http::new(&Outbound::default(), Clock::manual(now())).expect("a client");
    let deps = Deps::new(closed, Metrics::new());
    let register = workers::register(&Default::default(), &Default::default(), &Default::default(), &deps).expect("defaults are valid");
    let port = server.addr.port();
    for url in [
        server.url("/"),
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://2130706433:{port}/"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://user:pw@example.com/".into(),
        "gopher://example.com/".into(),
    ] {
        let job = job("http.call", &json!({"url": url}));
        let outcome = register.get("http.call").expect("a worker").run(&job, &Context::detached(now())).await;
        assert_eq!(rejected(&outcome).code, "address_refused", "{url}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn time_is_what_the_payload_says() {
    let server = Server::start(vec![Reply::Hang]).await;
    let outcome = bench().run("http.call", &json!({"url": server.url("/"), "timeout_ms": 100})).await;
    assert_eq!(retried(&outcome).0.code, "timeout");
    let cut = told(Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal".to_vec())).await;
    assert_eq!(retried(&cut).0.code, "connection_lost");
}

#[tokio::test]
async fn a_payload_that_cannot_be_sent_is_refused_with_a_sentence() {
    let bench = bench();
    let with = |member: &str, value: Value| {
        let mut payload = json!({"url": "http://127.0.0.1:9/"});
        payload[member] = value;
        payload
    };
    for (payload, said) in [
        (json!({}), "missing field `url`"),
        (json!({"url": "example.com/path"}), "`url` is not a URL"),
        (with("method", json!("CONNECT")), "`method` must be one of GET, HEAD, POST"),
        (with("timeout_ms", json!(0)), "`timeout_ms` must be 1 to 300000"),
        (with("timeout_ms", json!(300_001)), "`timeout_ms` must be 1 to 300000"),
        (with("headers", json!({"Host": "x"})), "the header `host` is set by"),
        (with("headers", json!({"Content-Length": "1"})), "the header `content-length` is set by"),
        (with("headers", json!({"Transfer-Encoding": "chunked"})), "the header `transfer-encoding` is set by"),
        (with("headers", json!({"Webhook-Signature": "v1,x"})), "the header `webhook-signature` is set by"),
        (with("headers", json!({"svix-id": "x"})), "the header `svix-id` is set by"),
        (with("headers", json!({"X-A": "1\r\nX-B: 2"})), "holds a line break"),
        (with("headers", json!({"X A": "1"})), "`X A` is not a header name"),
        (with("headers", json!({"X-A": 1})), "invalid type"),
        (with("retries", json!(3)), "unknown field `retries`"),
    ] {
        let outcome = bench.run("http.call", &payload).await;
        let Verdict::Reject { error } = &outcome.verdict else { panic!("{payload}: {outcome:?}") };
        assert!(error.code == "bad_payload" && error.message.contains(said), "{payload}: {}", error.message);
    }
}
