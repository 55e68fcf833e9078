//! Sessions: what a token is exchanged for, what a browser must say with it, and how it ends.

use super::token;
use crate::control::{Answer, Port};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::Duration;
use windlass::{clock::Clock, control::Config, job::Scope, job::Timestamp, signatures, store::Actor};

async fn begin(port: &Port, token: &str) -> Answer {
    port.post("/v1/session", &json!({"token": token})).await
}

/// `name=value`, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.header("set-cookie").split(';').next().expect("a pair").to_owned()
}

fn asks(port: &Port, cookie: &str, method: Method, path: &str) -> RequestBuilder {
    port.request(method, path).header("cookie", cookie)
}

/// As the page itself asks.
fn page_asks(port: &Port, cookie: &str, method: Method, path: &str) -> RequestBuilder {
    asks(port, cookie, method, path).header("sec-fetch-site", "same-origin").header("x-windlass", "1")
}

#[tokio::test]
async fn token_is_exchanged_for_a_cookie_that_no_script_and_no_other_site_gets() {
    let port = Port::start().await;
    let shown = token(&port, &[Scope::Operate], None).await;
    let answer = begin(&port, &shown).await;
    let set = answer.header("set-cookie").to_owned();
    let flags: Vec<&str> = set.split("; ").skip(1).collect();
    assert_eq!(flags, ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]);
    assert!(!answer.text.contains(&shown) && !set.contains(&shown), "{answer:?}");
    let over_tls = port.request(Method::POST, "/v1/session").header("x-forwarded-proto", "https").json(&json!({"token": shown}));
    assert!(Answer::of(over_tls).await.header("set-cookie").ends_with("; Secure"));
    let who = Answer::of(asks(&port, &cookie(&answer), Method::GET, "/v1/session")).await.json();
    assert_eq!((&who["shown"], &who["scopes"]), (&json!("session"), &json!(["read", "operate"])), "{who}");
    assert_eq!(who["name"], json!(format!("token:{}", shown.split('_').nth(1).expect("an id"))));
}

#[tokio::test]
async fn nobody_gets_a_session_for_what_is_no_token() {
    let port = Port::with(Config { failures_per_address: 3, ..Config::default() }).await;
    let good = token(&port, &[Scope::Read], None).await;
    for shown in ["", "garbage", &good[..good.len() - 1]] {
        begin(&port, shown).await.problem(401, "unauthorized");
    }
    assert_eq!(begin(&port, "garbage").await.status, StatusCode::TOO_MANY_REQUESTS, "failures are counted");
    assert_eq!(begin(&port, &good).await.status, StatusCode::CREATED);
    for body in [json!({}), json!({"token": 1}), json!({"token": good, "more": 1}), json!([])] {
        let refused = port.post("/v1/session", &body).await;
        assert_eq!((refused.status, refused.text.contains(&good)), (StatusCode::BAD_REQUEST, false), "{refused:?}");
    }
    assert_eq!(port.send(Method::POST, "/v1/session", "text/plain", "{}").await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(begin(&port, &"x".repeat(5000)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let foreign = port.request(Method::POST, "/v1/session").header("sec-fetch-site", "cross-site").json(&json!({"token": good}));
    Answer::of(foreign).await.problem(403, "cross_site");
}

#[tokio::test]
async fn change_by_cookie_is_our_own_page_s_only() {
    let port = Port::start().await;
    let own = cookie(&begin(&port, &token(&port, &[Scope::Operate], None).await).await);
    let pause = |pairs: &[(&'static str, String)]| {
        let request = asks(&port, &own, Method::POST, "/v1/queues/q/pause");
        pairs.iter().fold(request, |request, (name, value)| request.header(*name, value))
    };
    let (same, ours) = (("sec-fetch-site", "same-origin".to_owned()), ("x-windlass", "1".to_owned()));
    let site = |site: &str| ("sec-fetch-site", site.to_owned());
    for pairs in [
        vec![],
        vec![ours.clone()],
        vec![same.clone()],
        vec![site("same-site"), ours.clone()],
        vec![site("cross-site"), ours.clone()],
        vec![site("none"), ours.clone()],
        vec![same.clone(), ours.clone(), ("origin", "http://evil.example".into())],
    ] {
        Answer::of(pause(&pairs)).await.problem(403, "cross_site");
    }
    let origin = ("origin", format!("http://{}", port.address));
    assert_eq!(Answer::of(pause(&[same, ours, origin])).await.status, StatusCode::OK);
    // Another port of this machine is the same site, and may not even look.
    let look = asks(&port, &own, Method::GET, "/v1/jobs").header("sec-fetch-site", "same-site");
    Answer::of(look).await.problem(403, "cross_site");
    assert_eq!(Answer::of(asks(&port, &own, Method::GET, "/v1/jobs")).await.status, StatusCode::OK);
    let token = token(&port, &[Scope::Operate], None).await;
    let bearer = port.request(Method::POST, "/v1/queues/q/resume").bearer_auth(token);
    assert_eq!(Answer::of(bearer).await.status, StatusCode::OK, "a program needs neither header");
}

#[tokio::test]
async fn cookie_is_believed_under_the_host_alone_where_it_was_given() {
    let port = Port::start().await;
    let own = cookie(&begin(&port, &token(&port, &[Scope::Read], None).await).await);
    let at = |host: String| asks(&port, &own, Method::GET, "/v1/jobs").header("host", host);
    assert_eq!(Answer::of(at(port.address.to_string())).await.status, StatusCode::OK);
    for host in ["evil.example".to_owned(), format!("localhost:{}", port.address.port()), "127.0.0.1:1".to_owned(), String::new()] {
        let refused = Answer::of(at(host.clone())).await.status;
        assert!([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&refused), "{host}: {refused}");
    }
}

#[tokio::test]
async fn session_ends_when_its_holder_says_so() {
    let port = Port::start().await;
    let shown = token(&port, &[Scope::Read], None).await;
    let (one, other) = (cookie(&begin(&port, &shown).await), cookie(&begin(&port, &shown).await));
    let end = |request: RequestBuilder| async move { Answer::of(request).await };
    end(asks(&port, &one, Method::DELETE, "/v1/session")).await.problem(403, "cross_site");
    assert_eq!(Answer::of(asks(&port, &one, Method::GET, "/v1/jobs")).await.status, StatusCode::OK);
    let ended = end(page_asks(&port, &one, Method::DELETE, "/v1/session")).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert!(ended.header("set-cookie").contains("Max-Age=0"), "{ended:?}");
    Answer::of(asks(&port, &one, Method::GET, "/v1/jobs")).await.problem(401, "unauthorized");
    assert_eq!(Answer::of(asks(&port, &other, Method::GET, "/v1/jobs")).await.status, StatusCode::OK, "the other goes on");
}

#[tokio::test]
async fn session_ends_with_its_token() {
    let port = Port::start().await;
    let shown = token(&port, &[Scope::Read], None).await;
    let own = cookie(&begin(&port, &shown).await);
    let mut events = page_asks(&port, &own, Method::GET, "/v1/events").send().await.expect("an answer");
    assert_eq!(events.status(), StatusCode::OK);
    let id = shown.split('_').nth(1).expect("an id").parse().expect("an id");
    port.store.end_token(&id, Timestamp(0), &Actor::new("test")).await.expect("it ends");
    let mut told = String::new();
    while let Some(chunk) = tokio::time::timeout(Duration::from_secs(30), events.chunk()).await.expect("it ends").expect("a chunk") {
        told.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(told.contains("event: end\ndata: {\"why\":\"unauthorized\"}"), "{told}");
    Answer::of(asks(&port, &own, Method::GET, "/v1/jobs")).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn session_lasts_half_a_day_and_no_longer_than_its_token() {
    let start = Timestamp::from_secs(1_900_000_000);
    let config = Config { token: Some(SecretString::from("a-token-of-some-length-4f9d")), ..Config::default() };
    let port = Port::hooked(config, &signatures::Config::default(), Clock::manual(start)).await;
    let own = cookie(&begin(&port, "a-token-of-some-length-4f9d").await);
    let look = || async { Answer::of(asks(&port, &own, Method::GET, "/v1/jobs")).await.status };
    port.state.clock.advance(Duration::from_secs(12 * 3600 - 1));
    assert_eq!(look().await, StatusCode::OK);
    port.state.clock.advance(Duration::from_secs(1));
    assert_eq!(look().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn configured_token_that_was_changed_ends_its_sessions() {
    let config = |token: &str| Config { token: Some(SecretString::from(token)), ..Config::default() };
    let port = Port::with(config("a-token-of-some-length-4f9d")).await;
    let own = cookie(&begin(&port, "a-token-of-some-length-4f9d").await);
    let look = || async { Answer::of(asks(&port, &own, Method::GET, "/v1/jobs")).await.status };
    assert_eq!(look().await, StatusCode::OK);
    port.state.reload(&config("another-token-of-some-length-4f9d"), &signatures::Config::default()).expect("it is taken");
    assert_eq!(look().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn where_nobody_has_a_token_nobody_needs_a_session() {
    let port = Port::start().await;
    let who = port.get("/v1/session").await.json();
    assert_eq!((&who["shown"], who["scopes"].as_array().map(Vec::len)), (&json!("nothing"), Some(Scope::ALL.len())), "{who}");
    begin(&port, "garbage").await.problem(401, "unauthorized");
    let _ = token(&port, &[Scope::Read], None).await;
    // What the port knows of tokens is a second old at most.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while port.get("/v1/session").await.status != StatusCode::UNAUTHORIZED {
        assert!(tokio::time::Instant::now() < deadline, "the first token closes the port");
    }
    assert_eq!(Value::Null, port.get("/v1/session").await.json()["scopes"]);
}
