//! What the port tells as it happens.

use super::*;

/// Reads a stream of events until `says` is satisfied with all that was read.
async fn read_until(stream: &mut reqwest::Response, says: impl Fn(&str) -> bool) -> String {
    let mut told = String::new();
    while !says(&told) {
        let chunk = tokio::time::timeout(PATIENCE, stream.chunk()).await.unwrap_or_else(|_| panic!("never told, but: {told}"));
        match chunk.expect("it goes on") {
            Some(bytes) => told.push_str(&String::from_utf8_lossy(&bytes)),
            None => return told,
        }
    }
    told
}

/// The data of the newest event of a name.
fn newest(told: &str, name: &str) -> Value {
    let data = told.split("\n\n").filter(|event| event.contains(&format!("event: {name}\n"))).filter_map(|event| {
        let line = event.lines().find_map(|line| line.strip_prefix("data: "))?;
        serde_json::from_str(line).ok()
    });
    data.last().unwrap_or_else(|| panic!("no {name} in {told}"))
}

#[tokio::test]
async fn queues_are_told_at_once_and_when_they_change() {
    let port = Port::start().await;
    port.enqueue(2, &json!({"kind": "k", "payload": 1})).await;
    let mut stream = port.request(Method::GET, "/v1/events").send().await.expect("an answer");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(
        (&stream.headers()["cache-control"], &stream.headers()["x-accel-buffering"]),
        (&"no-store".parse().unwrap(), &"no".parse().unwrap())
    );
    let told = read_until(&mut stream, |told| told.contains("event: queues") && told.contains("event: daemons")).await;
    let queues = newest(&told, "queues");
    assert_eq!((&queues[0]["jobs"]["queued"], &queues[0]["jobs"]["dead"]), (&json!(2), &json!(0)), "{told}");
    assert!(told.contains("retry: 2000") && told.contains("id: 1"), "{told}");
    port.post("/v1/queues/default/pause", &json!({"reason": "lunch"})).await;
    let told = read_until(&mut stream, |told| told.contains("lunch")).await;
    assert_eq!(newest(&told, "queues")[0]["paused"]["reason"], "lunch");
    port.store.close().await;
    let told = read_until(&mut stream, |told| told.contains("event: trouble")).await;
    assert_eq!(newest(&told, "trouble")["code"], "store_unavailable");
}

#[tokio::test]
async fn job_is_followed_to_its_end() {
    let port = Port::start().await;
    let id = port.enqueue(1, &json!({"kind": "k", "payload": {"a": 1}})).await[0];
    let mut stream = port.request(Method::GET, &format!("/v1/jobs/{id}/events")).send().await.expect("an answer");
    let told = read_until(&mut stream, |told| told.contains("event: job") && told.ends_with("\n\n")).await;
    assert_eq!((&newest(&told, "job")["state"], &newest(&told, "job")["payload"]), (&json!("queued"), &json!({"a": 1})));
    port.lease("default", "k", 1).await;
    let told = read_until(&mut stream, |told| told.contains("\"running\"") && told.ends_with("\n\n")).await;
    assert_eq!(newest(&told, "job")["attempt"], 1);
    port.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await;
    let other = port.enqueue(1, &json!({"kind": "other", "payload": 1})).await[0];
    port.post(&format!("/v1/jobs/{other}/cancel"), &json!({})).await;
    let ended = port.get(&format!("/v1/jobs/{other}/events")).await;
    let mut stream = port.request(Method::GET, &format!("/v1/jobs/{other}/events")).send().await.expect("an answer");
    let told = read_until(&mut stream, |_| false).await;
    assert!(told.contains("{\"why\":\"final\"}") && ended.status == StatusCode::OK, "{told}");
    port.get(&format!("/v1/jobs/{}/events", JobId::mint())).await.problem(404, "not_found");
}

#[tokio::test]
async fn open_streams_do_not_hold_up_the_end_of_the_port() {
    let port = Port::with(Config { close_deadline_ms: 60_000, ..Config::default() }).await;
    let id = port.enqueue(1, &json!({"kind": "k", "payload": 1})).await[0];
    let mut streams = Vec::new();
    for path in ["/v1/events".to_owned(), format!("/v1/jobs/{id}/events")] {
        let mut stream = port.request(Method::GET, &path).send().await.expect("an answer");
        read_until(&mut stream, |told| told.contains("event: ")).await;
        streams.push(stream);
    }
    // Well before the deadline of the port's close.
    port.stop().await;
    for mut stream in streams {
        let told = read_until(&mut stream, |_| false).await;
        assert!(told.contains("{\"why\":\"closing\"}"), "{told}");
    }
}

#[tokio::test]
async fn streams_are_bounded_and_a_place_is_given_back() {
    let port = Port::start().await;
    let mut streams = Vec::new();
    let refused = loop {
        let stream = port.request(Method::GET, "/v1/events").send().await.expect("an answer");
        if stream.status() != StatusCode::OK {
            break stream;
        }
        streams.push(stream);
        assert!(streams.len() <= 256, "there is no bound");
    };
    assert_eq!(
        (streams.len(), refused.status(), &refused.headers()["retry-after"]),
        (256, StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    streams.clear();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while port.request(Method::GET, "/v1/events").send().await.expect("an answer").status() != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "no place is given back");
    }
}
