//! Recurring rules over HTTP.

use super::*;

fn nightly() -> Value {
    json!({"cron": "30 2 * * *", "tz": "America/New_York", "job": {"kind": "k", "payload": {"n": 1.50}}})
}

async fn put(port: &Port, name: &str, schedule: &Value) -> Answer {
    port.send(Method::PUT, &format!("/v1/schedules/{name}"), "application/json", schedule.to_string()).await
}

#[tokio::test]
async fn a_schedule_is_put_shown_previewed_and_deleted() {
    let port = Port::start().await;
    let answer = put(&port, "nightly", &nightly()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let shown = port.get("/v1/schedules/nightly").await.json();
    assert_eq!(shown["schedule"]["name"], "nightly");
    assert_eq!(shown["schedule"]["cron"], "30 2 * * *");
    assert_eq!(shown["paused"], false);
    let preview = port.get("/v1/schedules/nightly/preview?n=400").await.json();
    let instants = preview["instants"].as_array().expect("instants");
    assert_eq!(instants.len(), 400);
    assert_eq!(instants[0], shown["next"]);
    assert_eq!(port.get("/v1/schedules").await.json()["items"][0]["schedule"]["name"], "nightly");
    let deleted = Answer::of(port.request(Method::DELETE, "/v1/schedules/nightly")).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    for path in ["/v1/schedules/nightly", "/v1/schedules/nightly/preview", "/v1/schedules/nightly/occurrences"] {
        port.get(path).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_schedule_s_payload_keeps_its_bytes() {
    let port = Port::start().await;
    let payload = r#"{"z": 1.500,"a":1e400}"#;
    let text = format!(r#"{{"every_ms":60000,"job":{{"kind":"k","payload":{payload}}}}}"#);
    port.send(Method::PUT, "/v1/schedules/s", "application/json", text).await;
    let ran = Answer::of(port.request(Method::POST, "/v1/schedules/s/run")).await;
    assert_eq!(ran.status, StatusCode::CREATED, "{ran:?}");
    assert_eq!(port.lease("default", "k", 1).await[0].job.payload.as_str(), payload);
}

#[tokio::test]
async fn a_paused_schedule_has_no_next_instant() {
    let port = Port::start().await;
    put(&port, "s", &nightly()).await;
    let paused = Answer::of(port.request(Method::POST, "/v1/schedules/s/pause")).await.json();
    assert_eq!((&paused["paused"], &paused["next"]), (&json!(true), &Value::Null));
    let resumed = Answer::of(port.request(Method::POST, "/v1/schedules/s/resume")).await.json();
    assert_eq!(resumed["paused"], false);
    assert!(resumed["next"].is_string());
    Answer::of(port.request(Method::POST, "/v1/schedules/none/pause")).await.problem(404, "not_found");
}

#[tokio::test]
async fn schedules_are_listed_in_pages_by_name() {
    let port = Port::start().await;
    for n in 0..5 {
        put(&port, &format!("s{n}"), &nightly()).await;
    }
    let first = port.get("/v1/schedules?limit=2").await.json();
    assert_eq!((&first["items"][0]["schedule"]["name"], &first["next"]), (&json!("s0"), &json!("s1")));
    let rest = port.get("/v1/schedules?limit=3&cursor=s1").await.json();
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next"]), (Some(3), &Value::Null));
}

#[tokio::test]
async fn a_schedule_that_cannot_be_is_refused_with_its_place() {
    let port = Port::start().await;
    for (change, pointer) in [
        (json!({"cron": "not a rule"}), "#/cron"),
        (json!({"tz": "Mars/Olympus"}), "#/tz"),
        (json!({"job": {"kind": "k", "payload": 1, "id": JobId::mint()}}), "#/job/id"),
        (json!({"job": {"kind": "k", "payload": 1, "priority": 99}}), "#/job/priority"),
        (json!({"name": "other"}), "#/name"),
        (json!({"colour": "red"}), "#"),
        (json!({"every_ms": 1000}), "#"),
    ] {
        let mut schedule = nightly();
        for (member, value) in change.as_object().expect("members") {
            schedule[member] = value.clone();
        }
        let problem = put(&port, "s", &schedule).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let huge = json!({"every_ms": 60_000, "job": {"kind": "k", "payload": "x".repeat(1 << 20)}});
    assert_eq!(put(&port, "s", &huge).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(port.get("/v1/schedules").await.json()["items"], json!([]));
}
