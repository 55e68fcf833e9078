//! GitHub: `X-Hub-Signature-256: sha256=<lower-case hex>`, HMAC-SHA256 over the body. The older `X-Hub-Signature` (SHA-1)
//! is ignored. Nothing but the body is signed: neither a time nor the delivery id, so what is remembered against replay is the
//! body (see [`super::Verified::identity`]).

use super::{Rejection, claim::Claim, key, only};
use http::HeaderMap;

const HEADER: &str = "x-hub-signature-256";

pub(super) fn claim(headers: &HeaderMap) -> Result<Claim<'_>, Rejection> {
    let signature = only(headers, HEADER)?.strip_prefix("sha256=").ok_or(Rejection::Mismatch)?;
    Claim::new(Vec::new(), vec![signature], key::HEX)
}
