//! Checks Standard Webhooks `v1` signatures as a receiver does (standardwebhooks.com; reference: providers 3.2). Written
//! apart from the daemon's own signing on purpose: a mistake there must not be met by the same mistake here.

use crate::job::Timestamp;
use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// How far the sender's clock may be from ours, either way.
const TOLERANCE_SECS: u64 = 300;

/// The decoded key of a `whsec_…` secret.
pub(super) struct Key(Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key([hidden])")
    }
}

impl Key {
    /// # Errors
    /// A sentence, when `secret` is not `whsec_` and base64.
    pub(super) fn read(secret: &SecretString) -> Result<Self, String> {
        let text = secret.expose_secret();
        let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok().filter(|key| !key.is_empty());
        key.map(Self)
            .ok_or_else(|| "a webhook secret must be `whsec_` followed by base64; make one with `openssl rand -base64 32`".to_owned())
    }

    /// # Errors
    /// What is wrong, in two or three words.
    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), &'static str> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or("missing header");
        let (id, time, signatures) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
        let digits = !time.is_empty() && time.len() <= 12 && time.bytes().all(|b| b.is_ascii_digit());
        let sent: i64 = time.parse().ok().filter(|_| digits).ok_or("bad timestamp")?;
        let now = now.0.div_euclid(1_000_000);
        if sent.abs_diff(now) > TOLERANCE_SECS {
            return Err(if sent < now { "too old" } else { "too new" });
        }
        let candidates: Vec<&str> = signatures.split(' ').filter_map(|entry| entry.strip_prefix("v1,")).collect();
        if candidates.is_empty() {
            return Err("no v1");
        }
        let matches = |candidate: &&str| {
            STANDARD.decode(candidate).is_ok_and(|signature| self.signed(id, time, body).verify_slice(&signature).is_ok())
        };
        if candidates.iter().any(matches) { Ok(()) } else { Err("mismatch") }
    }

    fn signed(&self, id: &str, time: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the standard's own documents.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"type":"contact.created","timestamp":"2023-11-14T22:13:20Z","data":{"id":"1f81eb52"}}"#;
    const GOOD: &str = "v1,MHnzxCabQSC0wKbxy+mHrI3vkw2+RzRgCMrU1vodN7A=";

    fn check(id: &str, time: &str, signature: &str, body: &[u8], now: i64) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)] {
            headers.insert(name, value.parse().unwrap());
        }
        Key::read(&SecretString::from(SECRET)).unwrap().check(&headers, body, Timestamp::from_secs(now))
    }

    #[test]
    fn signatures_are_judged_as_the_standard_says() {
        let (id, sent) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_700_000_000);
        let at = |now| check(id, "1700000000", GOOD, BODY, now);
        assert_eq!([at(sent), at(sent + 300), at(sent - 300)], [Ok(()); 3]);
        assert_eq!([at(sent + 301), at(sent - 301)], [Err("too old"), Err("too new")]);
        assert_eq!(check(id, "1700000000", &format!("v2,x v1,AAAA {GOOD}"), BODY, sent), Ok(()));
        assert_eq!(check(id, "1700000000", GOOD, b"{}", sent), Err("mismatch"));
        assert_eq!(check("msg_other", "1700000000", GOOD, BODY, sent), Err("mismatch"));
        assert_eq!(check(id, "abc", GOOD, BODY, sent), Err("bad timestamp"));
        assert_eq!(check(id, "1700000000", "v2,AAAA", BODY, sent), Err("no v1"));
        assert!(Key::read(&SecretString::from("whsec_not base64")).is_err());
    }
}
