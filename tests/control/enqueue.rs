//! One job a call.

use super::*;

#[tokio::test]
async fn a_job_is_durable_and_found_under_the_answered_id() {
    let port = Port::start().await;
    let answer = port.post("/v1/jobs", &json!({"kind": "http.call", "payload": {"url": "http://x", "n": 1}, "queue": "calls"})).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let done = answer.json();
    assert_eq!((&done["status"], &done["duplicate"]), (&json!("queued"), &json!(false)));
    assert_eq!(answer.header("location"), format!("/v1/jobs/{}", id_of(&done)));
    let job = port.job(id_of(&done)).await;
    assert_eq!(job["kind"], "http.call");
    assert_eq!(job["queue"], "calls");
    assert_eq!(job["state"], "queued");
    assert_eq!(job["attempt"], 0);
    assert_eq!(job["attempts"], json!([]));
    assert!(job.as_object().expect("an object").contains_key("result"), "result is named even when there is none: {job}");
}

#[tokio::test]
async fn a_payload_keeps_its_bytes_from_door_to_worker() {
    let port = Port::start().await;
    let payload = r#"{"z": 1.500,"a":1e400,  "n":-0, "big":123456789012345678901234567890,"a":"é\u0000😀"}"#;
    let answer = port.send(Method::POST, "/v1/jobs", "application/json", format!(r#"{{"kind":"k","payload":{payload}}}"#)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let leased = port.lease("default", "k", 1).await;
    assert_eq!(leased[0].job.payload.as_str(), payload);
    let shown = port.get(&format!("/v1/jobs/{}", id_of(&answer.json()))).await.text;
    assert!(shown.contains(payload), "{shown}");
}

#[tokio::test]
async fn a_delayed_job_is_answered_as_scheduled() {
    let port = Port::start().await;
    let answer = port.post("/v1/jobs", &json!({"kind": "k", "payload": null, "delay_ms": 60_000})).await;
    assert_eq!(answer.json()["status"], "scheduled");
}

#[tokio::test]
async fn the_same_unique_key_is_answered_with_the_job_that_holds_it() {
    let port = Port::start().await;
    let envelope = json!({"kind": "k", "payload": 1, "unique_key": "kw:rust"});
    let first = port.post("/v1/jobs", &envelope).await;
    let second = port.post("/v1/jobs", &envelope).await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(id_of(&first.json()), id_of(&second.json()));
    assert_eq!(second.json()["duplicate"], true);
    let refused = port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "unique_key": "kw:rust", "on_duplicate": "reject"})).await;
    let problem = refused.problem(409, "duplicate");
    assert_eq!(problem["errors"][0]["job"], first.json()["id"]);
}

#[tokio::test]
async fn the_same_id_and_body_is_the_same_answer_and_another_body_a_conflict() {
    let port = Port::start().await;
    let id = JobId::mint();
    let first = port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "id": id})).await;
    let again = port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "id": id})).await;
    assert_eq!(first.json(), again.json());
    port.post("/v1/jobs", &json!({"kind": "k", "payload": 2, "id": id})).await.problem(409, "conflict");
    assert_eq!(port.count().await, 1);
}

async fn with_key(port: &Port, key: &str, body: Value) -> Answer {
    let request = port.request(Method::POST, "/v1/jobs").header("content-type", "application/json").header("idempotency-key", key);
    Answer::of(request.body(body.to_string())).await
}

#[tokio::test]
async fn an_idempotency_key_replays_its_answer_and_refuses_another_body() {
    let port = Port::start().await;
    let first = with_key(&port, "\"order-17\"", json!({"kind": "k", "payload": 1})).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let again = with_key(&port, "order-17", json!({"kind": "k", "payload": 1})).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(id_of(&first.json()), id_of(&again.json()));
    with_key(&port, "order-17", json!({"kind": "k", "payload": 2})).await.problem(422, "conflict");
    assert_eq!(port.count().await, 1);
}

#[tokio::test]
async fn an_idempotency_key_names_one_job_and_agrees_with_the_envelope() {
    let port = Port::start().await;
    with_key(&port, "a", json!({"kind": "k", "payload": 1, "idempotency_key": "b"})).await.problem(400, "invalid");
    with_key(&port, "a", json!([{"kind": "k", "payload": 1}])).await.problem(400, "conflict");
    with_key(&port, "\"", json!({"kind": "k", "payload": 1})).await.problem(400, "bad_idempotency_key");
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn arrivals_are_counted_under_known_names_only() {
    let port = Port::start().await;
    port.store.configure(&settings()).await.expect("configured");
    port.state.know(&settings(), []);
    port.enqueue(2, &json!({"kind": "known", "payload": 1})).await;
    port.enqueue(3, &json!({"kind": "invented", "queue": "made-up", "payload": 1})).await;
    port.post("/v1/jobs", &json!({"kind": "known", "payload": 1, "unique_key": "a"})).await;
    port.post("/v1/jobs", &json!({"kind": "known", "payload": 1, "unique_key": "a"})).await;
    port.post("/v1/jobs", &json!({"kind": "known"})).await.problem(400, "invalid");
    let text = port.get("/metrics").await.text;
    for line in [
        r#"windlass_jobs_enqueued_total{kind="known",queue="work",result="new"} 3"#,
        r#"windlass_jobs_enqueued_total{kind="known",queue="work",result="duplicate"} 1"#,
        r#"windlass_jobs_enqueued_total{kind="other",queue="other",result="new"} 3"#,
        r#"windlass_jobs_enqueued_total{kind="other",queue="other",result="rejected"} 1"#,
        r#"windlass_http_requests_total{method="POST",route="/v1/jobs",status="4xx"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn concurrent_calls_are_all_answered_and_none_is_lost() {
    let port = Port::start().await;
    let calls = (0..200).map(|n| {
        let request = port.request(Method::POST, "/v1/jobs").header("content-type", "application/json");
        Answer::of(request.body(json!({"kind": "k", "payload": n}).to_string()))
    });
    let answers = futures_util::future::join_all(calls).await;
    let ids: std::collections::BTreeSet<JobId> = answers.iter().map(|answer| id_of(&answer.json())).collect();
    assert_eq!(ids.len(), 200);
    assert_eq!(port.count().await, 200);
}

#[tokio::test]
async fn caller_that_waits_is_answered_when_the_job_ends_and_not_before() {
    let port = Port::start().await;
    let id = port.enqueue(1, &json!({"kind": "work", "payload": 1})).await[0];
    let now = port.get(&format!("/v1/jobs/{id}?wait_ms=1")).await.json();
    assert_eq!(now["state"], "queued", "as it stands, when nobody waits any longer");
    let leased = port.lease("default", "work", 1).await;
    let waiting = port.request(Method::GET, &format!("/v1/jobs/{id}?wait_ms=30000"));
    let (answer, ()) = tokio::join!(Answer::of(waiting), async {
        let result = Some(windlass::job::Json::trusted("42"));
        let end = Settlement { result, ..Settlement::new(leased[0].lease, Transition::Complete, leased[0].lease.granted_at) };
        port.store.settle(vec![end], None).await.expect("it ends");
    });
    let ended = answer.json();
    assert_eq!((&ended["state"], &ended["result"]), (&json!("completed"), &json!(42)));
    port.get(&format!("/v1/jobs/{id}?wait_ms=30001")).await.problem(400, "out_of_range");
    port.get(&format!("/v1/jobs/{}?wait_ms=30000", JobId::mint())).await.problem(404, "not_found");
}

#[tokio::test]
async fn daemon_that_drains_lets_nobody_wait() {
    let port = Port::start().await;
    let id = port.enqueue(1, &json!({"kind": "work", "payload": 1})).await[0];
    let waiting = port.request(Method::GET, &format!("/v1/jobs/{id}?wait_ms=30000"));
    let (answer, ()) = tokio::join!(Answer::of(waiting), async { port.state.begin_drain() });
    assert_eq!(answer.json()["state"], "queued");
}
