//! GitHub: `X-Hub-Signature-256: sha256=<lower-case hex>`, HMAC-SHA256 over the body. The older `X-Hub-Signature` (SHA-1)
//! is ignored. No time is signed: the delivery id, kept over redeliveries, is the guard against replay.

use super::{Rejection, key, key::Key, only};
use http::HeaderMap;

const HEADER: &str = "x-hub-signature-256";

pub(super) fn verify(keys: &[Key], headers: &HeaderMap, body: &[u8]) -> Result<usize, Rejection> {
    let signature = only(headers, HEADER)?.strip_prefix("sha256=").ok_or(Rejection::Mismatch)?;
    key::matching(keys, &[body], hex::encode, &[signature]).ok_or(Rejection::Mismatch)
}
