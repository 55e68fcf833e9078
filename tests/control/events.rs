//! CloudEvents 1.0 as a form of enqueueing: the three modes of the HTTP binding, the same event again, and what is no event.

use super::*;

fn event(id: &str, data: Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "com.example.order.paid", "time": "2026-11-20T10:00:00Z", "subject": "order-7",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": data})
}

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

impl Port {
    async fn structured(&self, event: &Value) -> Answer {
        self.send(Method::POST, "/v1/jobs", STRUCTURED, event.to_string()).await
    }

    /// As producers send them that put attributes into headers.
    fn binary(&self, id: &str, source: &str, data: &'static str) -> RequestBuilder {
        let request = self.request(Method::POST, "/v1/jobs").header("content-type", "application/json").header("ce-specversion", "1.0");
        request.header("ce-id", id).header("ce-source", source).header("ce-type", "com.example.order.paid").body(data)
    }
}

#[tokio::test]
async fn event_becomes_a_job_of_its_type_and_is_the_same_one_when_it_comes_again() {
    let port = Port::start().await;
    let made = port.structured(&event("a", json!({"order": 7}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let id = id_of(&made.json());
    let job = port.job(id).await;
    assert_eq!((&job["kind"], &job["payload"]), (&json!("com.example.order.paid"), &json!({"order": 7})));
    assert_eq!((&job["event_time"], &job["meta"]["ce"]["subject"]), (&json!("2026-11-20T10:00:00Z"), &json!("order-7")));
    assert!(job["meta"]["ce"]["traceparent"].is_string() && job["meta"]["ce"].get("data").is_none(), "{job}");
    // It may have come another way, with other attributes.
    let again = Answer::of(port.binary("a", "/shop", r#"{"order": 7}"#)).await;
    assert_eq!((again.status, id_of(&again.json()), &again.json()["duplicate"]), (StatusCode::OK, id, &json!(true)));
    let same = port.structured(&event("a", json!({"order": 7}))).await;
    assert_eq!((same.status, id_of(&same.json()), &same.json()["duplicate"]), (StatusCode::OK, id, &json!(true)));
    let elsewhere = Answer::of(port.binary("a", "/other", r#"{"order": 7}"#)).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);
    assert_ne!(id_of(&elsewhere.json()), id, "an id is its source's");
}

#[tokio::test]
async fn headers_are_decoded_and_data_keeps_its_bytes() {
    let port = Port::start().await;
    let request = port.binary("b", "/caf%C3%A9", r#"{"price": 1.50}"#).header("ce-queue", "orders").header("ce-priority", "2");
    let id = id_of(&Answer::of(request).await.json());
    let shown = port.get(&format!("/v1/jobs/{id}")).await;
    assert!(shown.text.contains(r#""payload":{"price": 1.50}"#), "{}", shown.text);
    let job = shown.json();
    assert_eq!((&job["meta"]["ce"]["source"], &job["queue"], &job["priority"]), (&json!("/café"), &json!("orders"), &json!(2)));
    let empty = Answer::of(port.binary("c", "/shop", "")).await;
    assert_eq!(port.job(id_of(&empty.json())).await["payload"], Value::Null);
    let mut bytes = event("d", Value::Null);
    bytes.as_object_mut().expect("an object").remove("data");
    bytes["data_base64"] = json!("AAEC");
    assert_eq!(port.job(id_of(&port.structured(&bytes).await.json())).await["payload"], json!({"data_base64": "AAEC"}));
}

#[tokio::test]
async fn batch_comes_in_whole_or_says_which_event_is_none() {
    let port = Port::start().await;
    let events = json!([event("a", json!(1)), event("b", json!(2))]);
    let made = port.send(Method::POST, "/v1/jobs", BATCH, events.to_string()).await;
    assert_eq!((made.status, made.json().as_array().map(Vec::len)), (StatusCode::CREATED, Some(2)), "{made:?}");
    let mut bad = event("d", json!(4));
    bad["source"] = json!("");
    let refused =
        port.send(Method::POST, "/v1/jobs", BATCH, json!([event("c", json!(3)), bad, 7]).to_string()).await.problem(400, "invalid");
    assert_eq!((&refused["errors"][0]["index"], &refused["errors"][0]["pointer"]), (&json!(1), &json!("#/1/source")));
    assert_eq!(port.count().await, 2, "nothing of it was written");
    let bomb = format!("[{}]", vec!["{}"; 100_000].join(","));
    let refused = port.send(Method::POST, "/v1/jobs", BATCH, bomb).await.problem(400, "invalid");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("more than 10000 items")), "{refused}");
    let none = port.send(Method::POST, "/v1/jobs", BATCH, "[]").await;
    assert_eq!((none.status, none.json()), (StatusCode::OK, json!([])));
}

#[tokio::test]
async fn what_is_no_event_is_told_where() {
    let port = Port::start().await;
    for (member, value, pointer) in [
        ("specversion", json!("0.3"), "#/specversion"),
        ("id", Value::Null, "#/id"),
        ("source", json!(7), "#/source"),
        ("type", json!("with space"), "#/type"),
        ("priority", json!("high"), "#/priority"),
        ("data_base64", json!("AAEC"), "#/data_base64"),
        ("time", json!("yesterday"), "#/event_time"),
    ] {
        let mut event = event("a", json!(1));
        event[member] = value;
        let problem = port.structured(&event).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    for body in ["", "[]", "7", "{"] {
        port.send(Method::POST, "/v1/jobs", STRUCTURED, body).await.problem(400, "invalid");
    }
    let many = (0..100).map(|n| (format!("a{n}"), json!(n))).collect::<serde_json::Map<_, _>>();
    let problem = port.structured(&Value::Object(many)).await.problem(400, "invalid");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("more than 64 attributes")), "{problem}");
    let problem = Answer::of(port.binary("a", "/shop", "plain text")).await.problem(400, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "#/data");
    Answer::of(port.binary("a", "/shop", "1").header("idempotency-key", "k")).await.problem(400, "conflict");
    assert_eq!(port.count().await, 0);
}
