//! The store is away, or says something else than yes.

use super::*;
use windlass::{control::Problem, job::InvalidEnvelope, store};

#[tokio::test]
async fn while_the_store_is_away_callers_are_told_to_come_back_and_nothing_about_the_inside() {
    let port = Port::start().await;
    port.store.close().await;
    let job = json!({"kind": "k", "payload": 1});
    for answer in [
        port.post("/v1/jobs", &job).await,
        port.post("/v1/jobs", &json!([job, job])).await,
        port.post("/v1/jobs?partial=true", &json!([job, job])).await,
        port.ndjson("/v1/jobs", &job.to_string()).await,
        port.ndjson("/v1/jobs?partial=true", &job.to_string()).await,
        port.get("/v1/jobs").await,
        port.get("/v1/queues").await,
        port.get("/v1/schedules").await,
        port.post("/v1/queues/q/pause", &json!({})).await,
        port.post("/v1/dead/redrive", &json!({"all": true})).await,
    ] {
        let problem = answer.problem(503, "store_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(problem["instance"].as_str().is_some_and(|id| id.starts_with("urn:uuid:")), "{problem}");
        assert!(!answer.text.contains("the store is closed"), "the store's own words stay inside: {problem}");
    }
}

#[tokio::test]
async fn a_bad_item_is_named_even_while_the_store_is_away() {
    let port = Port::start().await;
    // Who may call was asked before.
    assert_eq!(port.get("/v1/jobs").await.status, StatusCode::OK);
    port.store.close().await;
    port.post("/v1/jobs", &json!([{"kind": "k"}])).await.problem(400, "invalid");
    let answers = port.post("/v1/jobs?partial=true", &json!([{"kind": "k"}])).await;
    assert_eq!(answers.json()[0]["error"]["pointer"], "#/0/payload", "{answers:?}");
}

#[tokio::test]
async fn a_stream_that_loses_the_store_says_where_it_stopped() {
    let port = Port::start().await;
    let mut socket = TcpStream::connect(port.address).await.expect("the port listens");
    let head = "POST /v1/jobs?partial=true HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let line = "{\"kind\":\"k\",\"payload\":1}\n";
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    socket.write_all(format!("{head}{chunk}").as_bytes()).await.expect("written");
    let (mut answered, mut bytes) = (String::new(), [0; 4096]);
    while !answered.contains("\"id\"") {
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await.expect("answered").expect("read");
        answered.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    port.store.close().await;
    socket.write_all(format!("{chunk}{chunk}0\r\n\r\n").as_bytes()).await.expect("written");
    answered.push_str(&read_to_end(&mut socket).await);
    assert_eq!(answered.matches("\"id\"").count(), 1, "{answered}");
    assert!(answered.contains(r##"{"stopped_at":1,"error":{"index":1,"pointer":"#/1","code":"store_unavailable""##), "{answered}");
}

#[test]
fn each_of_the_store_s_errors_has_its_status_and_code() {
    use store::Error;
    let inside = "/var/lib/windlass/windlass.db: disk I/O error";
    let id = JobId::mint();
    let invalid = InvalidEnvelope::new("/payload", "wrong_type", "is not right");
    for (error, status, code) in [
        (Error::Unavailable(inside.into()), 503, "store_unavailable"),
        (Error::Unknown(inside.into()), 503, "outcome_unknown"),
        (Error::Invalid { index: 0, error: invalid }, 400, "invalid"),
        (Error::Duplicate { index: 0, holder: id }, 409, "duplicate"),
        (Error::Conflict { index: 0, id }, 409, "conflict"),
        (Error::NotFound { what: "job 7".into() }, 404, "not_found"),
        (Error::NotAllowed("job 7 is not dead".into()), 409, "not_allowed"),
        (Error::Corrupt(inside.into()), 500, "store_damaged"),
        (Error::Refused(inside.into()), 503, "store_refused"),
    ] {
        let problem = Problem::from(error);
        assert_eq!((problem.status().as_u16(), problem.code()), (status, code), "{problem:?}");
        assert!(!problem.detail().contains("/var/lib"), "{problem:?}");
    }
}
