//! Whatever is sent: one clear sentence, the right status, nothing written.

use super::*;

async fn refused(port: &Port, body: impl Into<reqwest::Body>) -> Answer {
    port.send(Method::POST, "/v1/jobs", "application/json", body).await
}

#[tokio::test]
async fn what_is_no_json_is_400_with_its_place() {
    let port = Port::start().await;
    for body in ["", "  ", "{", "{\"kind\":}", "nonsense", "{\"kind\":\"k\",\"payload\":1} trailing", "\"text\"", "7", "[", "[{]", "[1,]"] {
        let problem = refused(&port, body).await.problem(400, "invalid");
        let code = &problem["errors"][0]["code"];
        assert!(["not_json", "wrong_type"].iter().any(|known| code == known), "{body:?}: {problem}");
    }
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn an_unknown_member_is_refused_by_name_with_the_nearest_known_one() {
    let port = Port::start().await;
    let problem = refused(&port, json!({"kind": "k", "payload": 1, "que": "q"}).to_string()).await.problem(400, "invalid");
    assert_eq!(
        problem["errors"][0],
        json!({"pointer": "#/que", "code": "unknown_member", "message": "unknown member `que`; did you mean `queue`?"})
    );
    let strange = refused(&port, json!({"kind": "k", "payload": 1, "a b\"é": 1}).to_string()).await.problem(400, "invalid");
    assert_eq!(strange["errors"][0]["pointer"], "#/a%20b%22%C3%A9");
}

#[tokio::test]
async fn a_member_of_the_wrong_type_is_named() {
    let port = Port::start().await;
    for (member, value) in [
        ("kind", json!(1)),
        ("queue", json!({})),
        ("delay_ms", json!("soon")),
        ("delay_ms", json!(-1)),
        ("priority", json!(300)),
        ("run_at", json!("tomorrow")),
        ("tags", json!("nightly")),
        ("id", json!("7")),
        ("after/0", json!([1])),
        ("ordered", json!("yes")),
    ] {
        let mut envelope = json!({"kind": "k", "payload": 1});
        envelope[member.trim_end_matches("/0")] = value;
        let problem = refused(&port, envelope.to_string()).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], format!("#/{member}"), "{problem}");
    }
}

#[tokio::test]
async fn names_beyond_the_grammar_are_refused() {
    let port = Port::start().await;
    for bad in ["", "-begins", "has space", "has/slash", "..", "a\u{0}b", "é", "a\nb", &"n".repeat(129), &"n".repeat(10_000)] {
        let problem = refused(&port, json!({"kind": bad, "payload": 1}).to_string()).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["code"], "bad_name", "{bad:?}: {problem}");
        assert!(problem.to_string().len() < 1000, "an error does not repeat a long input");
    }
    assert_eq!(refused(&port, json!({"kind": "n".repeat(128), "payload": 1}).to_string()).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_unsupported_member_is_refused_and_not_ignored() {
    let port = Port::start().await;
    let problem = refused(&port, json!({"kind": "k", "payload": 1, "account": {"unit": "credits", "amount": 3}}).to_string()).await;
    assert_eq!(problem.problem(400, "invalid")["errors"][0]["code"], "not_supported");
}

#[tokio::test]
async fn a_payload_beyond_the_limit_is_413_and_at_the_limit_is_taken() {
    let port = Port::start().await;
    let of = |bytes: usize| format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(bytes - 2));
    assert_eq!(refused(&port, of(1 << 20)).await.status, StatusCode::CREATED);
    let problem = refused(&port, of((1 << 20) + 1)).await.problem(413, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "#/payload");
    assert_eq!(problem["errors"][0]["code"], "too_large");
}

#[tokio::test]
async fn seventeen_mebibytes_are_413_by_declared_and_by_counted_length() {
    let port = Port::start().await;
    let body = format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(17 << 20));
    refused(&port, body.clone()).await.problem(413, "too_large");
    let chunks: Vec<Result<Vec<u8>, std::convert::Infallible>> =
        body.into_bytes().chunks(1 << 16).map(|chunk| Ok(chunk.to_vec())).collect();
    refused(&port, reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))).await.problem(413, "too_large");
    // A declared length is refused before a byte of the body was sent.
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 99999999999\r\n\r\n",
        port.address
    );
    let answer = port.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn nesting_bombs_end_as_a_sentence() {
    let port = Port::start().await;
    for depth in [66, 1000, 1_000_000] {
        let bomb = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let single = format!(r#"{{"kind":"k","payload":{bomb}}}"#);
        refused(&port, single.clone()).await.problem(400, "invalid");
        refused(&port, format!("[{single}]")).await.problem(400, "invalid");
        refused(&port, bomb.clone()).await.problem(400, "invalid");
        refused(&port, "{\"a\":".repeat(depth)).await.problem(400, "invalid");
        port.ndjson("/v1/jobs", &single).await.problem(400, "invalid");
    }
    let deepest = format!(r#"{{"kind":"k","payload":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert_eq!(refused(&port, deepest).await.status, StatusCode::CREATED);
    assert_eq!(port.count().await, 1);
}

#[tokio::test]
async fn invalid_utf8_and_raw_control_characters_are_refused_and_an_escaped_nul_is_kept() {
    let port = Port::start().await;
    let broken: [&[u8]; 4] = [
        b"{\"kind\":\"k\",\"payload\":\"\xff\xfe\"}",
        b"[{\"kind\":\"k\",\"payload\":\"\xc3\"}]",
        b"\xff",
        b"{\"kind\":\"k\",\"payload\":\"a\x00b\"}",
    ];
    for body in broken {
        let problem = refused(&port, body.to_vec()).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["code"], "not_json", "{problem}");
    }
    let kept = refused(&port, r#"{"kind":"k","payload":"a\u0000b\ud83d"}"#).await;
    assert_eq!(kept.status, StatusCode::CREATED, "{kept:?}");
    assert_eq!(port.lease("default", "k", 1).await[0].job.payload.as_str(), r#""a\u0000b\ud83d""#);
}

#[tokio::test]
async fn other_content_types_and_compressed_bodies_are_415() {
    let port = Port::start().await;
    let body = json!({"kind": "k", "payload": 1}).to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/cbor"] {
        port.send(Method::POST, "/v1/jobs", content_type, body.clone()).await.problem(415, "unsupported_media_type");
    }
    Answer::of(port.request(Method::POST, "/v1/jobs").body(body.clone())).await.problem(415, "unsupported_media_type");
    for encoding in ["gzip", "zstd", "br"] {
        let request =
            port.request(Method::POST, "/v1/jobs").header("content-type", "application/json").header("content-encoding", encoding);
        Answer::of(request.body(body.clone())).await.problem(415, "unsupported_encoding");
    }
    assert_eq!(port.count().await, 0);
}

#[tokio::test]
async fn ten_thousand_items_are_the_most_of_one_array() {
    let port = Port::start().await;
    let zeros = format!("[{}0]", "0,".repeat(5_000_000));
    let problem = refused(&port, zeros).await.problem(400, "invalid");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "five million items are one error");
    let all_bad = format!("[{}0]", "0,".repeat(9_999));
    let problem = refused(&port, all_bad).await.problem(400, "invalid");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(10_000), "each bad index is named");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_problems_too() {
    let port = Port::start().await;
    for path in ["/v1", "/v1/job", "/v1/jobs/", "/v2/jobs", "//v1/jobs", "/v1/jobs/../queues", "/hooks", "/hooks/a/b", "/%00", "/v1%2fjobs"]
    {
        // Written by hand: a client would tidy the path.
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", port.address);
        let answer = port.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("application/problem+json"), "{path}: {answer}");
    }
    for (method, path) in
        [("DELETE", "/v1/jobs"), ("POST", "/livez"), ("GET", "/v1/dead/redrive"), ("PUT", "/v1/queues"), ("GET", "/hooks/a")]
    {
        let answer = port.send(method.parse().expect("a method"), path, "application/json", "").await;
        answer.problem(405, "wrong_method");
        assert!(!answer.header("allow").is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn query_and_path_members_are_checked() {
    let port = Port::start().await;
    for path in [
        "/v1/jobs?limit=0",
        "/v1/jobs?limit=1001",
        "/v1/jobs?limit=99999999999999999999",
        "/v1/jobs?limit=-1",
        "/v1/jobs?state=sleeping",
        "/v1/jobs?queue=has%20space",
        "/v1/jobs?colour=red",
        "/v1/jobs?cursor=nonsense",
        "/v1/jobs/not-an-id",
        "/v1/jobs/%ff",
        "/v1/dead?state=queued",
        "/v1/schedules?limit=0",
        "/v1/schedules/has%20space",
    ] {
        let answer = port.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    }
    let long = port.get(&format!("/v1/jobs?cursor={}", "c".repeat(2000))).await;
    long.problem(400, "bad_cursor");
    port.get(&format!("/v1/jobs/{}", JobId::mint())).await.problem(404, "not_found");
}
