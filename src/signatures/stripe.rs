//! Stripe: `Stripe-Signature: t=<unix>,v1=<hex>[,v1=…][,v0=…]`, HMAC-SHA256 over `<t>.<body>` with the whole `whsec_…` text.
//! Verified against the official library's behaviour (reference: providers 3.2): split at `,` and the first `=`, no
//! trimming, only `v1` counts, the last `t` wins, lower-case hex, an empty body is refused.

use super::{Rejection, claim::Claim, key, only, window::Window};
use http::HeaderMap;

const HEADER: &str = "stripe-signature";
/// A rolled secret makes two; a header with hundreds is somebody's attempt to make us compute.
const MAX_SIGNATURES: usize = 8;

pub(super) fn claim(headers: &HeaderMap, window: Window) -> Result<Claim<'_>, Rejection> {
    let header = only(headers, HEADER)?;
    let entries = || header.split(',').filter_map(|entry| entry.split_once('='));
    let timestamp = entries().rfind(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(Rejection::NoTimestamp)?;
    let candidates: Vec<&str> = entries().filter(|(name, _)| *name == "v1").map(|(_, value)| value).take(MAX_SIGNATURES).collect();
    let claim = Claim::new(vec![timestamp.as_bytes(), b"."], candidates, key::HEX);
    // Without any candidate the time does not matter; with them it is what a sender wants to hear of first.
    if !matches!(claim, Err(Rejection::NoSignature)) {
        window.check(timestamp)?;
    }
    claim
}
