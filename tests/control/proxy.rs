//! Who calls through a proxy: quotas and the audit go by the address that a known proxy tells, and by nothing that anybody else writes.

use super::*;
use secrecy::SecretString;

const TOKEN: &str = "a-token-of-some-length-4f9d";

async fn port(proxies: &[&str]) -> Port {
    let behind_proxy = proxies.iter().map(|range| range.parse().expect("a range")).collect();
    let config = Config { behind_proxy, calls_per_address: 2, token: Some(SecretString::from(TOKEN)), ..Config::default() };
    Port::hooked(config, &signatures::Config::default(), Clock::manual(windlass::job::Timestamp::from_secs(1_900_000_000))).await
}

async fn told(port: &Port, forwarded_for: &str) -> Answer {
    let request = port.request(Method::POST, "/v1/queues/q/pause").bearer_auth(TOKEN).header("x-forwarded-for", forwarded_for);
    Answer::of(request.header("content-type", "application/json").body("{}")).await
}

async fn actors(port: &Port) -> Vec<String> {
    port.store.audit(None, 100).await.expect("it is read").items.into_iter().map(|row| row.actor).collect()
}

#[tokio::test]
async fn address_that_a_known_proxy_tells_is_the_callers() {
    let port = port(&["127.0.0.0/8"]).await;
    for told_by in ["198.51.100.7", "203.0.113.1, 198.51.100.7", "203.0.113.2, 198.51.100.7, 127.0.0.9"] {
        let answer = told(&port, told_by).await;
        if told_by.len() < 30 {
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        } else {
            assert_eq!(answer.json()["violated-policies"], json!(["address"]), "its third call, whatever it writes before its address");
        }
    }
    assert_eq!(told(&port, "198.51.100.8").await.status, StatusCode::OK, "another has calls of its own");
    assert_eq!(actors(&port).await, ["http:198.51.100.8", "http:198.51.100.7", "http:198.51.100.7"]);
}

#[tokio::test]
async fn forged_address_is_ignored() {
    for proxies in [&[][..], &["10.0.0.0/8"]] {
        let port = port(proxies).await;
        for _ in 0..4 {
            assert_eq!(told(&port, "198.51.100.7").await.status, StatusCode::OK, "this machine has no such bound");
        }
        assert_eq!(actors(&port).await, ["http:127.0.0.1"; 4], "{proxies:?}");
    }
}
