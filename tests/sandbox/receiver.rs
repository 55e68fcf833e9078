//! The receiver of webhooks and calls: what it keeps, what it counts, and whose signatures it takes.

use super::{LONG, client, sandbox};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;
use windlass::{
    clock::Clock,
    job::Timestamp,
    sandbox::{Config, Counts, Sandbox, Signature},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn signature(id: &str, time: i64, body: &[u8]) -> String {
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn bodies_and_headers_are_kept_as_they_came_and_repeats_are_told() {
    let sandbox = sandbox().await;
    let url = format!("{}/receive/orders", sandbox.receiver_url());
    let body = b"{\"a\": 1}\n\xff\x00".to_vec();
    for _ in 0..2 {
        client().post(&url).header("webhook-id", "evt_1").header("X-Own", "yes").body(body.clone()).send().await.unwrap();
    }
    let kept = sandbox.receipts().wait_for(2, LONG).await.unwrap();
    assert_eq!((kept[0].name.as_str(), kept[0].method.as_str(), &kept[0].body[..]), ("orders", "POST", &body[..]));
    assert_eq!(kept[0].headers["x-own"], "yes");
    assert_eq!((kept[0].duplicate, kept[1].duplicate, &kept[0].signature), (false, true, &Signature::NotAskedFor));
    assert_eq!(sandbox.counts("orders"), Counts { calls: 2, ids: 1, refused: 0 });
}

#[tokio::test]
async fn only_true_and_timely_signatures_are_taken_when_asked_for() {
    let now = 1_700_000_000;
    let clock = Clock::manual(Timestamp::from_secs(now));
    let sandbox = Sandbox::start_at(Config::default(), clock, CancellationToken::new()).await.unwrap();
    sandbox.expect_signatures("signed", SECRET).unwrap();
    assert!(sandbox.expect_signatures("signed", "whsec_*").is_err());
    let send = async |id: &str, time: i64, signature: String| {
        let request = client().post(format!("{}/receive/signed", sandbox.receiver_url())).body("{}");
        let request = request.header("webhook-id", id).header("webhook-timestamp", time).header("webhook-signature", signature);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("m1", now, signature("m1", now, b"{}")).await, 200);
    assert_eq!(send("m2", now, signature("m1", now, b"{}")).await, 401);
    assert_eq!(send("m3", now - 301, signature("m3", now - 301, b"{}")).await, 401);
    assert_eq!(client().post(format!("{}/receive/signed", sandbox.receiver_url())).send().await.unwrap().status().as_u16(), 401);
    let signatures: Vec<Signature> = sandbox.receipts().all().into_iter().map(|receipt| receipt.signature).collect();
    let invalid = |why| Signature::Invalid(why);
    assert_eq!(signatures, [Signature::Valid, invalid("mismatch"), invalid("too old"), invalid("missing header")]);
    assert_eq!(sandbox.counts("signed"), Counts { calls: 1, ids: 1, refused: 3 });
}

#[tokio::test]
async fn paths_say_how_often_each_call_fails() {
    let sandbox = sandbox().await;
    let call = async |path: &str, id: &str| {
        let url = format!("{}/{path}?id={id}", sandbox.receiver_url());
        let response = client().put(url).send().await.unwrap();
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry_after)
    };
    let path = "count/flaky/fail/2/status/503/retry-after/7/then/ok";
    let seven = || Some("7".to_owned());
    assert_eq!(
        [call(path, "a").await, call(path, "b").await, call(path, "a").await, call(path, "a").await],
        [(503, seven()), (503, seven()), (503, seven()), (200, None)]
    );
    assert_eq!(call("count/broken/fail", "a").await.0, 500);
    assert_eq!(call("receive/gone/fail/status/410", "a").await.0, 410);
    assert_eq!(sandbox.counts("flaky"), Counts { calls: 1, ids: 1, refused: 3 });
    let late = sandbox.wait_for_counts("flaky", LONG, |counts| counts.ids == 2);
    let (late, ..) = tokio::join!(late, async {
        call(path, "b").await;
        call(path, "b").await
    });
    assert_eq!(late, Ok(Counts { calls: 2, ids: 2, refused: 4 }));
}

#[tokio::test]
async fn the_admin_api_shows_and_sets_what_the_program_can() {
    let sandbox = sandbox().await;
    let admin = sandbox.admin_url();
    let get = async |path: &str| client().get(format!("{admin}/{path}")).send().await.unwrap().json::<Value>().await.unwrap();
    let switches = json!({"delay_ms": 1, "next": [{"times": 1, "fault": {"kind": "status", "status": 502}}]});
    let set = client().put(format!("{admin}/switches/receiver")).json(&switches).send().await.unwrap();
    assert_eq!(set.json::<Value>().await.unwrap(), switches);
    let wrong = client().put(format!("{admin}/switches/receiver")).json(&json!({"dely": 1})).send().await.unwrap();
    assert_eq!(wrong.status().as_u16(), 400);
    let count = format!("{}/count/x", sandbox.receiver_url());
    assert_eq!(client().get(&count).send().await.unwrap().status().as_u16(), 502);
    client().delete(format!("{admin}/switches/receiver")).send().await.unwrap();
    assert_eq!(get("switches").await["receiver"], json!({"delay_ms": 0, "next": []}));
    assert_eq!(client().get(&count).send().await.unwrap().status().as_u16(), 200);
    let log = get("log?provider=receiver").await;
    assert_eq!(log["totals"]["receiver"]["calls"], 2);
    assert_eq!((&log["calls"][0]["fault"], &log["calls"][1]["status"]), (&json!("status"), &json!(200)));
    assert_eq!(get("counts").await["x"], json!({"calls": 1, "ids": 1, "refused": 1}));
    let secret = client().put(format!("{admin}/secrets/x")).body(SECRET).send().await.unwrap();
    assert_eq!(secret.status().as_u16(), 204);
    assert_eq!(client().post(format!("{}/receive/x", sandbox.receiver_url())).send().await.unwrap().status().as_u16(), 401);
    assert_eq!(get("receipts").await[0]["signature"], json!({"invalid": "missing header"}));
    assert_eq!(get("messages").await, json!([]));
}
