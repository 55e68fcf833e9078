//! Our own signature under what we send: Standard Webhooks `v1` (reference: providers 4.1). During a rotation every live
//! secret signs, newest first, so that receivers may hold either.

use super::{
    InvalidSecret,
    key::Key,
    standard::{ID, SIGNATURE, TIMESTAMP},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

#[derive(Debug)]
pub struct Signer {
    keys: Vec<Key>,
}

impl Signer {
    /// `secrets` are `whsec_…`, newest first.
    ///
    /// # Errors
    /// When there is none, or one is not base64 of 16 to 64 bytes.
    pub fn new(secrets: &[SecretString]) -> Result<Self, InvalidSecret> {
        if secrets.is_empty() {
            return Err(InvalidSecret::None);
        }
        Ok(Self { keys: secrets.iter().map(|secret| Key::standard(secret.expose_secret())).collect::<Result<_, _>>()? })
    }

    /// The three headers for `body`, sent now. `id` stays the same over retries (see [`message_id`]), `now` is this
    /// attempt's time.
    #[must_use]
    pub fn headers(&self, id: &str, now: DateTime<Utc>, body: &[u8]) -> [(HeaderName, HeaderValue); 3] {
        let id = message_id(id);
        let timestamp = now.timestamp().to_string();
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        let signatures: Vec<String> = self.keys.iter().map(|key| format!("v1,{}", BASE64_STANDARD.encode(key.sign(&parts)))).collect();
        let value = |text: &str| HeaderValue::from_str(text).expect("printable ASCII by construction");
        [
            (HeaderName::from_static(ID), value(&id)),
            (HeaderName::from_static(TIMESTAMP), value(&timestamp)),
            (HeaderName::from_static(SIGNATURE), value(&signatures.join(" "))),
        ]
    }
}

/// `id` as a message id: itself if it is printable ASCII without `.` (which would make `<id>.<timestamp>` ambiguous), else
/// a hash of it, which stays the same over retries just as well.
fn message_id(id: &str) -> String {
    let plain = (1..=200).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() && b != b'.');
    if plain { id.to_owned() } else { format!("msg_{}", &hex::encode(Sha256::digest(id))[..32]) }
}
