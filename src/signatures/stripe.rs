//! Stripe: `Stripe-Signature: t=<unix>,v1=<hex>[,v1=…][,v0=…]`, HMAC-SHA256 over `<t>.<body>` with the whole `whsec_…` text.
//! Verified against the official library's behaviour (reference: providers 3.2): split at `,` and the first `=`, no
//! trimming, only `v1` counts, the last `t` wins, lower-case hex, an empty body is refused.

use super::{Rejection, key, key::Key, only, window::Window};
use http::HeaderMap;

const HEADER: &str = "stripe-signature";
/// A rolled secret makes two; a header with hundreds is somebody's attempt to make us compute.
const MAX_SIGNATURES: usize = 8;

pub(super) fn verify(keys: &[Key], headers: &HeaderMap, body: &[u8], window: Window) -> Result<usize, Rejection> {
    let header = only(headers, HEADER)?;
    if body.is_empty() {
        return Err(Rejection::EmptyBody);
    }
    let entries = || header.split(',').filter_map(|entry| entry.split_once('='));
    let timestamp = entries().rfind(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(Rejection::NoTimestamp)?;
    let candidates: Vec<&str> = entries().filter(|(name, _)| *name == "v1").map(|(_, value)| value).take(MAX_SIGNATURES).collect();
    if candidates.is_empty() {
        return Err(Rejection::NoSignature);
    }
    window.check(timestamp)?;
    key::matching(keys, &[timestamp.as_bytes(), b".", body], hex::encode, &candidates).ok_or(Rejection::Mismatch)
}
