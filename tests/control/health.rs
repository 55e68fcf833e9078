//! Probes and metrics.

use super::*;
use windlass::store::examine::Finding;

#[tokio::test]
async fn a_healthy_port_says_what_it_is() {
    let port = Port::start().await;
    assert_eq!(port.get("/livez").await.text, "ok\n");
    assert_eq!(port.get("/readyz").await.json(), json!({"ready": true, "failed": []}));
    let health = port.get("/healthz").await.json();
    assert_eq!((&health["status"], &health["durability"]), (&json!("ok"), &json!("strict")));
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime_seconds"].is_u64());
    let store = &health["checks"]["store"];
    assert_eq!((&store["ok"], &store["store"]), (&json!(true), &json!("sqlite")));
    assert!(store["latency_ms"].is_f64() && store["schema_version"].is_i64(), "{store}");
}

#[tokio::test]
async fn a_draining_port_is_not_ready_and_still_takes_work() {
    let port = Port::start().await;
    port.state.begin_drain();
    let ready = port.get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (StatusCode::SERVICE_UNAVAILABLE, json!({"ready": false, "failed": ["draining"]})));
    let health = port.get("/healthz").await;
    assert_eq!((health.status, health.json()["status"].clone()), (StatusCode::OK, json!("draining")));
    assert_eq!(port.get("/livez").await.status, StatusCode::OK);
    assert_eq!(port.enqueue(1, &json!({"kind": "k", "payload": 1})).await.len(), 1);
}

#[tokio::test]
async fn a_store_that_is_away_is_not_ready_but_alive() {
    let port = Port::start().await;
    port.store.close().await;
    let ready = port.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["failed"].clone()), (StatusCode::SERVICE_UNAVAILABLE, json!(["store"])));
    let health = port.get("/healthz").await;
    assert_eq!((health.status, health.json()["status"].clone()), (StatusCode::SERVICE_UNAVAILABLE, json!("failing")));
    assert_eq!(port.get("/livez").await.status, StatusCode::OK);
    port.get("/metrics").await.problem(503, "store_unavailable");
}

#[tokio::test]
async fn a_store_that_goes_away_is_told_of_by_the_metrics() {
    let port = Port::start().await;
    assert_eq!(port.get("/readyz").await.status, StatusCode::OK);
    port.store.close().await;
    assert_eq!(port.get("/metrics").await.status, StatusCode::OK);
}

/// A second port over the store of `port`, whose loops are as `stalled` says.
async fn beside(port: &Port, stalled: fn() -> Vec<String>) -> (SocketAddr, CancellationToken) {
    let webhooks = signatures::Config::default();
    let state = State::new(&Config::default(), &webhooks, port.store.clone(), Metrics::new(), Clock::System, stalled).expect("a state");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, shutdown) = (listener.local_addr().expect("an address"), CancellationToken::new());
    tokio::spawn(control::serve(listener, state, shutdown.clone()));
    (address, shutdown)
}

#[tokio::test]
async fn a_loop_that_stopped_ticking_is_neither_alive_nor_ready() {
    let port = Port::start().await;
    let (address, shutdown) = beside(&port, || vec!["poller".to_owned()]).await;
    let _closes = shutdown.drop_guard();
    let ask = |path: &str| Answer::of(port.http.get(format!("http://{address}{path}")));
    assert_eq!(ask("/livez").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask("/readyz").await.json()["failed"], json!(["stalled:poller"]));
    assert_eq!(ask("/healthz").await.json()["checks"]["stalled"], json!(["poller"]));
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_request_only() {
    let port = Port::start().await;
    let (address, shutdown) = beside(&port, || panic!("a bug, made for this test")).await;
    let _closes = shutdown.drop_guard();
    let ask = |path: &str| Answer::of(port.http.get(format!("http://{address}{path}")));
    let problem = ask("/livez").await.problem(500, "internal");
    assert!(!problem.to_string().contains("made for this test"), "{problem}");
    assert_eq!(ask("/v1/queues").await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_mirror_the_queues_as_they_are_now() {
    let port = Port::start().await;
    port.state.know(&settings(), [&name("q")]);
    port.enqueue(3, &json!({"kind": "k", "payload": 1, "queue": "q"})).await;
    port.post("/v1/queues/q/pause", &json!({})).await;
    let answer = port.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        r#"windlass_queue_jobs{queue="q",state="queued"} 3"#,
        r#"windlass_queue_jobs{queue="q",state="dead"} 0"#,
        r#"windlass_queue_paused{queue="q"} 1"#,
        "windlass_jobs_quarantined 0",
    ] {
        assert!(answer.text.contains(line), "{line} is not in\n{}", answer.text);
    }
    assert!(answer.text.contains(r#"windlass_queue_oldest_ready_age_seconds{queue="q"}"#));
    port.post("/v1/queues/q/resume", &json!({})).await;
    port.lease("q", "k", 1).await;
    let text = port.get("/metrics").await.text;
    for line in [r#"windlass_queue_jobs{queue="q",state="running"} 1"#, r#"windlass_queue_paused{queue="q"} 0"#] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn queues_that_a_producer_made_up_are_one_row_of_the_metrics() {
    let port = Port::start().await;
    port.state.know(&settings(), [&name("worked")]);
    for queue in ["work", "worked", "default"] {
        port.enqueue(1, &json!({"kind": "k", "payload": 1, "queue": queue})).await;
    }
    let made_up: Vec<Value> = (0..500).map(|n| json!({"kind": "k", "payload": 1, "queue": format!("made-up-{n}")})).collect();
    assert_eq!(port.post("/v1/jobs", &Value::Array(made_up)).await.status, StatusCode::CREATED);
    for queue in ["made-up-1", "made-up-2", "work"] {
        port.post(&format!("/v1/queues/{queue}/pause"), &json!({})).await;
    }
    let text = port.get("/metrics").await.text;
    assert!(!text.contains("made-up"), "{text}");
    for line in [
        r#"windlass_queue_jobs{queue="work",state="queued"} 1"#,
        r#"windlass_queue_jobs{queue="worked",state="queued"} 1"#,
        r#"windlass_queue_jobs{queue="default",state="queued"} 1"#,
        r#"windlass_queue_jobs{queue="other",state="queued"} 500"#,
        r#"windlass_queue_paused{queue="work"} 1"#,
        r#"windlass_queue_paused{queue="other"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.contains(r#"windlass_queue_oldest_ready_age_seconds{queue="other"}"#), "{text}");
}

#[tokio::test]
async fn requests_are_counted_by_route_template_and_never_by_path() {
    let port = Port::start().await;
    for _ in 0..3 {
        port.get(&format!("/v1/jobs/{}", JobId::mint())).await;
        port.get("/no/such/route").await;
    }
    Answer::of(port.request("BREW".parse().expect("a method"), "/livez")).await.problem(405, "wrong_method");
    let text = port.get("/metrics").await.text;
    for line in [
        r#"windlass_http_requests_total{method="GET",route="/v1/jobs/{id}",status="4xx"} 3"#,
        r#"windlass_http_requests_total{method="GET",route="unmatched",status="4xx"} 3"#,
        r#"windlass_http_requests_total{method="other",route="/livez",status="4xx"} 1"#,
        r#"windlass_http_request_seconds_count{route="/v1/jobs/{id}"} 3"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn examination_is_shared_by_those_who_ask_soon_and_tells_of_store_and_machine() {
    let port = Port::start().await;
    port.state.look_at(|| vec![Finding::warn("machine", "it hums", "listen closely")]);
    let (one, two) = tokio::join!(port.get("/v1/doctor"), port.get("/v1/doctor"));
    let answer = one.json();
    assert_eq!((one.status, &answer["level"], &answer), (StatusCode::OK, &json!("warn"), &two.json()));
    let findings = answer["findings"].as_array().expect("a list");
    assert_eq!(findings.last(), Some(&json!({"check": "machine", "level": "warn", "says": "it hums", "remedy": "listen closely"})));
    assert!(findings.iter().any(|finding| finding["check"] == "durability" && finding["level"] == "ok"), "{answer:#}");
    let later =
        windlass::client::Client::new(&format!("http://{}", port.address), None).expect("a client").doctor().await.expect("an answer");
    assert_eq!(json!(later), answer);
}
