//! Many jobs a call: arrays and NDJSON.

use super::*;

fn numbered(n: usize) -> Value {
    json!({"kind": "k", "payload": n})
}

#[tokio::test]
async fn an_array_is_answered_in_its_order() {
    let port = Port::start().await;
    let ids: Vec<JobId> = (0..50).map(|_| JobId::mint()).collect();
    let items: Vec<Value> = ids.iter().rev().map(|id| json!({"kind": "k", "payload": 1, "id": id})).collect();
    let answer = port.post("/v1/jobs", &Value::Array(items)).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let answered: Vec<JobId> = answer.json().as_array().expect("an array").iter().map(id_of).collect();
    assert!(answered.iter().eq(ids.iter().rev()));
    assert_eq!(port.post("/v1/jobs", &json!([])).await.json(), json!([]));
}

#[tokio::test]
async fn one_bad_item_writes_nothing_and_every_bad_index_is_named() {
    let port = Port::start().await;
    let items =
        json!([numbered(0), {"kind": "k"}, numbered(2), {"kind": "-bad", "payload": 1}, {"kind": "k", "payload": 1, "priority": 10}, 7]);
    let problem = port.post("/v1/jobs", &items).await.problem(400, "invalid");
    let errors = problem["errors"].as_array().expect("errors");
    let indexes: Vec<u64> = errors.iter().filter_map(|error| error["index"].as_u64()).collect();
    assert_eq!(indexes, [1, 3, 4, 5]);
    assert_eq!(errors[0]["pointer"], "#/1/payload");
    assert_eq!(errors[2]["pointer"], "#/4/priority");
    assert_eq!(errors[2]["code"], "out_of_range");
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn an_item_that_the_store_refuses_writes_nothing_either() {
    let port = Port::start().await;
    let holder = port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "unique_key": "taken"})).await.json();
    let rejecting = json!({"kind": "k", "payload": 1, "unique_key": "taken", "on_duplicate": "reject"});
    let problem = port.post("/v1/jobs", &json!([numbered(0), rejecting, numbered(2)])).await.problem(409, "duplicate");
    assert_eq!(problem["errors"][0]["index"], 1);
    assert_eq!(problem["errors"][0]["job"], holder["id"]);
    assert_eq!(port.count().await, 1);
}

#[tokio::test]
async fn with_partial_good_items_are_taken_and_bad_ones_answered_in_place() {
    let port = Port::start().await;
    port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "unique_key": "taken"})).await;
    let rejecting = json!({"kind": "k", "payload": 1, "unique_key": "taken", "on_duplicate": "reject"});
    let items = json!([rejecting, numbered(1), {"kind": "k"}, numbered(3), rejecting, rejecting, numbered(6)]);
    let answer = port.post("/v1/jobs?partial=true", &items).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let answers = answer.json();
    let answers = answers.as_array().expect("an array");
    assert_eq!(answers.len(), 7);
    for (index, answer) in answers.iter().enumerate() {
        let code = &answer["error"]["code"];
        match index {
            0 | 4 | 5 => assert_eq!((code, &answer["error"]["index"]), (&json!("duplicate"), &json!(index))),
            2 => assert_eq!((code, &answer["error"]["pointer"]), (&json!("wrong_type"), &json!("#/2/payload"))),
            _ => assert!(answer["id"].is_string(), "{index}: {answer}"),
        }
    }
    assert_eq!(port.count().await, 4);
    let leased = port.lease("default", "k", 10).await;
    let order: Vec<&str> = leased.iter().map(|one| one.job.payload.as_str()).collect();
    assert_eq!(order, ["1", "1", "3", "6"], "the order of the items is the order of the jobs");
}

fn lines(n: usize) -> String {
    (0..n).map(|n| format!("{}\n", numbered(n))).collect()
}

#[tokio::test]
async fn ndjson_is_answered_line_by_line_over_many_commits() {
    let port = Port::start().await;
    for (path, n) in [("/v1/jobs", 2500), ("/v1/jobs?partial=true", 2500), ("/v1/jobs", 0), ("/v1/jobs?partial=true", 1)] {
        let before = port.count().await;
        let answer = port.ndjson(path, &lines(n)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path} {n}");
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        let ids: std::collections::BTreeSet<JobId> = answer.lines().iter().map(id_of).collect();
        assert_eq!((answer.lines().len(), ids.len()), (n, n), "{path}");
        assert_eq!(port.count().await, before + n as u64);
    }
}

#[tokio::test]
async fn a_bad_line_writes_nothing_and_names_every_bad_index() {
    let port = Port::start().await;
    let text = format!("{}{{\"kind\":1}}\n\n{}not json\n", lines(1200), lines(3));
    let problem = port.ndjson("/v1/jobs", &text).await.problem(400, "invalid");
    let indexes: Vec<u64> = problem["errors"].as_array().expect("errors").iter().filter_map(|e| e["index"].as_u64()).collect();
    assert_eq!(indexes, [1200, 1204], "empty lines are no items");
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn with_partial_bad_lines_are_answered_in_place() {
    let port = Port::start().await;
    let huge = format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(1_200_000));
    let text = format!("{}nonsense\n{huge}\n{}", lines(2), lines(2).trim_end());
    let answers = port.ndjson("/v1/jobs?partial=true", &text).await.lines();
    assert_eq!(answers.len(), 6, "{answers:?}");
    assert_eq!(answers[2]["error"]["code"], "not_json");
    assert_eq!(answers[2]["error"]["index"], 2);
    assert_eq!(answers[3]["error"]["code"], "too_large");
    assert_eq!(port.count().await, 4);
}

#[tokio::test]
async fn a_producer_that_trickles_is_answered_while_it_still_sends() {
    let port = Port::start().await;
    let mut socket = TcpStream::connect(port.address).await.expect("the port listens");
    let head = format!(
        "POST /v1/jobs?partial=true HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
        port.address
    );
    socket.write_all(head.as_bytes()).await.expect("written");
    let mut answered = String::new();
    for n in 1..=3 {
        let line = format!("{}\n", numbered(n));
        socket.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.expect("written");
        let mut bytes = [0; 4096];
        while answered.matches("\"id\"").count() < n {
            let read = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await.expect("answered before the end").expect("read");
            assert_ne!(read, 0, "closed too early: {answered}");
            answered.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
    assert_eq!(port.count().await, 3);
}

#[tokio::test]
async fn a_client_that_reads_only_after_writing_everything_gets_every_answer() {
    let port = Port::start().await;
    const JOBS: usize = 40_000;
    let (mut reader, mut writer) = TcpStream::connect(port.address).await.expect("the port listens").into_split();
    let body = lines(JOBS);
    let head = format!(
        "POST /v1/jobs?partial=true HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        port.address,
        body.len()
    );
    writer.write_all(head.as_bytes()).await.expect("written");
    tokio::time::timeout(PATIENCE, writer.write_all(body.as_bytes())).await.expect("no deadlock").expect("written");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, reader.read_to_string(&mut answer)).await.expect("answered").expect("read");
    assert_eq!(answer.matches("\"id\"").count(), JOBS);
}
