//! What a believed event says of itself, by scheme (reference: providers 3.4), and the form in which it travels from the
//! door that took it to the worker that processes it.

use super::{Scheme, Verified, standard};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Fits into an idempotency key beside the source's name, and is longer than any provider's id.
const MAX_ID: usize = 200;
/// Longer than any type name; it becomes a header and a log field.
const MAX_TYPE: usize = 128;

pub(super) fn describe(scheme: Scheme, headers: &HeaderMap, body: &[u8], secret_index: usize) -> Verified {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // A body that is no JSON is no fault of the signature; such an event simply says nothing of itself.
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |member: &str| json.get(member).and_then(Value::as_str).map(str::to_owned);
    let (id, event_type, event_time) = match scheme {
        Scheme::Stripe => (text("id"), text("type"), json.get("created").and_then(Value::as_i64).and_then(from_seconds)),
        Scheme::Standard => (header(standard::family(headers)[0]), text("type"), text("timestamp").as_deref().and_then(from_rfc3339)),
        Scheme::Github => (header("x-github-delivery"), header("x-github-event"), None),
    };
    let of_body = || format!("sha256:{}", hex::encode(Sha256::digest(body)));
    let event_id = id.filter(|id| printable(id, MAX_ID)).unwrap_or_else(of_body);
    Verified {
        identity: if scheme.signs_id() { event_id.clone() } else { of_body() },
        event_id,
        event_type: event_type.filter(|name| printable(name, MAX_TYPE)),
        event_time,
        secret_index,
    }
}

fn printable(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn from_seconds(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0).filter(plausible)
}

fn from_rfc3339(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).filter(plausible)
}

/// Between 1970 and 9999, as our instants are: a sender's milliseconds read as seconds are not.
fn plausible(time: &DateTime<Utc>) -> bool {
    (0..=253_402_300_799).contains(&time.timestamp())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyEncoding {
    #[default]
    Utf8,
    Base64,
}

/// The payload of a `webhook.process` job: one believed event, its body byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The source's name in the configuration.
    pub source: String,
    /// See [`Verified::event_id`].
    pub event_id: String,
    /// Of GitHub not covered by the signature, as little as the headers below: whoever replays a body can say what he likes
    /// here. What must be sure is to be read from the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<DateTime<Utc>>,
    pub received_at: DateTime<Utc>,
    /// The few that describe the body; never a signature or a credential. No scheme signs them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    pub body: String,
    #[serde(default)]
    pub body_encoding: BodyEncoding,
}

impl Event {
    /// Headers that travel on with an event.
    const KEPT: [&str; 4] = ["content-type", "user-agent", "x-github-event", "x-github-delivery"];

    #[must_use]
    pub fn new(source: &str, verified: Verified, received_at: DateTime<Utc>, headers: &HeaderMap, body: &[u8]) -> Self {
        let kept = |name: &&str| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned()));
        let (body, body_encoding) = match std::str::from_utf8(body) {
            Ok(text) => (text.to_owned(), BodyEncoding::Utf8),
            Err(_) => (BASE64_STANDARD.encode(body), BodyEncoding::Base64),
        };
        Self {
            source: source.to_owned(),
            event_id: verified.event_id,
            event_type: verified.event_type,
            event_time: verified.event_time,
            received_at,
            headers: Self::KEPT.iter().filter_map(kept).collect(),
            body,
            body_encoding,
        }
    }

    /// The body's bytes as they arrived.
    ///
    /// # Errors
    /// When `body` is said to be base64 and is not.
    pub fn body_bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        match self.body_encoding {
            BodyEncoding::Utf8 => Ok(self.body.clone().into_bytes()),
            BodyEncoding::Base64 => BASE64_STANDARD.decode(&self.body),
        }
    }
}
