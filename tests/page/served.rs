//! What the port answers with at `/` and below `/assets/`.

use crate::control::{Answer, Port};
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use windlass::control::Config;

async fn closed() -> Port {
    Port::with(Config { token: Some(SecretString::from("a-token-of-some-length-4f9d")), ..Config::default() }).await
}

/// Where the document says that `file` is.
fn place_of(document: &str, file: &str) -> String {
    document.split('"').find(|text| text.starts_with("/assets/") && text.ends_with(file)).expect("it is named").to_owned()
}

#[tokio::test]
async fn frame_is_for_everybody_and_lets_nothing_else_in() {
    let port = closed().await;
    let document = port.get("/").await;
    let script = place_of(&document.text, "/main.js");
    for path in ["/", &script, &place_of(&document.text, "/page.css"), &place_of(&document.text, "/icon.svg")] {
        let answer = port.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.split(';').any(|one| one.trim() == part), "{path}: {part} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let has =
            ["x-frame-options", "referrer-policy", "x-content-type-options", "cross-origin-opener-policy", "cross-origin-resource-policy"];
        assert_eq!(has.map(|name| answer.header(name)), ["DENY", "no-referrer", "nosniff", "same-origin", "same-origin"], "{path}");
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{answer:?}");
    }
    assert_eq!(port.get(&script).await.header("content-type"), "text/javascript; charset=utf-8");
    port.get("/v1/queues").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn document_is_asked_for_again_and_its_files_are_kept_until_they_change() {
    let port = closed().await;
    let document = port.get("/").await;
    assert_eq!(document.header("cache-control"), "no-cache");
    let again = Answer::of(port.request(Method::GET, "/").header("if-none-match", document.header("etag"))).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let script = place_of(&document.text, "/main.js");
    assert!(port.get(&script).await.header("cache-control").contains("immutable"));
    let version = script.split('/').nth(2).expect("a version");
    port.get(&script.replace(version, "0000000000000000")).await.problem(404, "not_found");
    for path in
        ["/assets/", &format!("/assets/{version}/"), &format!("/assets/{version}/../mod.rs"), &format!("/assets/{version}/%2e%2e/mod.rs")]
    {
        assert_eq!(port.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}
