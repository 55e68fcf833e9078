//! Standard Webhooks, symmetric (`v1`): `webhook-id`, `webhook-timestamp`, `webhook-signature` with a space-separated list of
//! `v1,<base64>`; Svix and those built on it send the same as `svix-*`. HMAC-SHA256 over `<id>.<timestamp>.<body>`
//! (specification: standardwebhooks.com; reference: providers 3.2). Entries of other versions are skipped.

use super::{Rejection, claim::Claim, key, only, window::Window};
use http::HeaderMap;

/// See `stripe.rs`: more is an attempt to make us compute.
const MAX_SIGNATURES: usize = 8;

pub(super) const ID: &str = "webhook-id";
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
pub(super) const SIGNATURE: &str = "webhook-signature";

/// The three header names of one family; a message is all of one or all of the other, never mixed.
pub(super) const FAMILIES: [[&str; 3]; 2] = [[ID, TIMESTAMP, SIGNATURE], ["svix-id", "svix-timestamp", "svix-signature"]];

/// The family whose id header is there; the unbranded one when neither is.
pub(super) fn family(headers: &HeaderMap) -> [&'static str; 3] {
    FAMILIES.into_iter().find(|[id, ..]| headers.contains_key(*id)).unwrap_or(FAMILIES[0])
}

pub(super) fn claim(headers: &HeaderMap, window: Window) -> Result<Claim<'_>, Rejection> {
    let [id, timestamp, signature] = family(headers);
    let (id, timestamp, signatures) = (only(headers, id)?, only(headers, timestamp)?, only(headers, signature)?);
    window.check(timestamp)?;
    let v1 = |entry: &'_ str| -> bool { entry.split_once(',').is_some_and(|(version, _)| version == "v1") };
    let candidates: Vec<&str> = signatures.split(' ').filter(|e| v1(e)).take(MAX_SIGNATURES).map(|e| &e["v1,".len()..]).collect();
    Claim::new(vec![id.as_bytes(), b".", timestamp.as_bytes(), b"."], candidates, key::BASE64)
}
