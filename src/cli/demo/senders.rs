//! Those who post webhooks in the tour: each signs as the real sender does, with a secret that the daemon knows. The daemon's
//! own code has no part in it; a mistake of ours would not cancel itself out.

use super::Secrets;
use crate::{
    clients::http::{Call, Http, Keep, UrlFrom},
    job::Timestamp,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;

/// One delivery, as it goes over the wire.
pub struct Sent {
    pub label: &'static str,
    /// The last part of `/hooks/{source}`.
    pub source: &'static str,
    /// The sender's own id of the event.
    pub id: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

pub fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn hmac(key: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize().into_bytes().to_vec()
}

/// One from each.
pub fn events(secrets: &Secrets, now: Timestamp) -> [Sent; 3] {
    [stripe(&secrets.stripe, now), github(&secrets.github), standard(&secrets.standard, now)]
}

/// Signed with a secret that nobody shares.
pub fn forged(now: Timestamp) -> Sent {
    stripe("whsec_guessed", now)
}

fn fresh(prefix: &str) -> String {
    format!("{prefix}{}", uuid::Uuid::now_v7().simple())
}

const fn seconds(now: Timestamp) -> i64 {
    now.millis().div_euclid(1000)
}

/// `t=…,v1=HMAC(secret, "t.body")`.
fn stripe(secret: &str, now: Timestamp) -> Sent {
    let (id, t) = (fresh("evt_"), seconds(now));
    let data = json!({"object": {"id": fresh("in_"), "object": "invoice", "amount_paid": 4900, "currency": "eur"}});
    let event = json!({"id": id, "object": "event", "type": "invoice.paid", "created": t, "data": data});
    let body = event.to_string();
    let signature = hex::encode(hmac(secret.as_bytes(), &[&format!("{t}."), &body]));
    let headers = vec![("stripe-signature", format!("t={t},v1={signature}"))];
    Sent { label: "Stripe invoice.paid", source: "stripe", id, headers, body }
}

/// `sha256=HMAC(secret, body)`, the event and its id in headers.
fn github(secret: &str) -> Sent {
    let id = uuid::Uuid::now_v7().to_string();
    let body =
        json!({"ref": "refs/heads/main", "repository": {"full_name": "northfield/planner"}, "commits": [{"message": "Fix the timetable"}]})
            .to_string();
    let headers = vec![
        ("x-github-event", "push".to_owned()),
        ("x-github-delivery", id.clone()),
        ("x-hub-signature-256", format!("sha256={}", hex::encode(hmac(secret.as_bytes(), &[&body])))),
    ];
    Sent { label: "GitHub push", source: "github", id, headers, body }
}

/// `v1,BASE64(HMAC(key, "id.t.body"))`, the key being what the base64 after `whsec_` stands for.
fn standard(secret: &str, now: Timestamp) -> Sent {
    let (id, t) = (fresh("msg_"), seconds(now));
    let body = event_body("enrolment.created", &json!({"student": "priya", "course": "HIST 134"}), now);
    let key = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap_or_default();
    let signature = base64(&hmac(&key, &[&format!("{id}.{t}."), &body]));
    let headers = vec![("webhook-id", id.clone()), ("webhook-timestamp", t.to_string()), ("webhook-signature", format!("v1,{signature}"))];
    Sent { label: "enrolment.created", source: "standard", id, headers, body }
}

fn event_body(kind: &str, data: &Value, now: Timestamp) -> String {
    json!({"type": kind, "timestamp": now, "data": data}).to_string()
}

/// Returns the status of the answer.
pub async fn post(http: &Http, hooks: &str, sent: &Sent) -> anyhow::Result<u16> {
    let mut headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    for (name, value) in &sent.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
    }
    let answer = http
        .call(Call {
            url_from: UrlFrom::Config,
            method: Method::POST,
            url: format!("{hooks}/{}", sent.source).parse()?,
            headers,
            body: sent.body.clone().into(),
            timeout: Duration::from_secs(5),
            keep: Keep::First(1024),
        })
        .await?;
    Ok(answer.status.as_u16())
}
