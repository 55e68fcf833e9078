//! Keys: from the text an operator pastes to the bytes that sign, and the two things done with them.

use super::{Scheme, claim::Encoding};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// The specification asks for 24 to 64 bytes, but Svix' own documented example has 18; what is shorter than 16 is no key.
const STANDARD_KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Lower-case, as every signer writes it.
pub(super) const HEX: Encoding = Encoding {
    encode: hex::encode,
    fits: |text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
};
/// With its padding.
pub(super) const BASE64: Encoding = Encoding {
    encode: |mac| BASE64_STANDARD.encode(mac),
    fits: |text| text.len() == 44 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)),
};

/// How the text of a Standard Webhooks secret is meant. The other schemes always sign with the text itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretFormat {
    /// Base64, usually after `whsec_`.
    #[default]
    Base64,
    /// The text's own bytes (Whop hands such secrets out).
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("no secret is set; without one anybody could sign")]
    None,
    #[error("the secret is empty; without one anybody could sign")]
    Empty,
    #[error(
        "the secret is not base64 after `whsec_`; copy it whole, or set `secret_format = \"raw\"` if the sender signs with the text itself"
    )]
    NotBase64,
    #[error(
        "the secret decodes to {0} bytes, a Standard Webhooks key has 16 to 64; copy it whole or make one with `openssl rand -base64 32`"
    )]
    Length(usize),
}

/// The bytes that sign. Never printed.
#[derive(Debug)]
pub(super) struct Key(SecretSlice<u8>);

impl Key {
    pub fn of(scheme: Scheme, format: SecretFormat, secret: &SecretString) -> Result<Self, InvalidSecret> {
        let text = secret.expose_secret();
        if text.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        match (scheme, format) {
            (Scheme::Standard, SecretFormat::Base64) => Self::standard(text),
            // Stripe's secrets begin with `whsec_` too, but there the whole text is the key.
            (Scheme::Stripe | Scheme::Github | Scheme::Standard, _) => Ok(Self(text.as_bytes().to_vec().into())),
        }
    }

    pub fn standard(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| InvalidSecret::NotBase64)?;
        if !STANDARD_KEY_BYTES.contains(&bytes.len()) {
            return Err(InvalidSecret::Length(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// HMAC-SHA256 over the parts, one after the other.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of any length; the error exists for other constructions behind the same trait.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("an HMAC key of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// The first key whose signature, as text, is among the candidates. Text and not bytes: a decoder that takes `AB` for `ab`
/// would accept what no signer sends. All keys and candidates are compared, in constant time each.
pub(super) fn matching(keys: &[Key], parts: &[&[u8]], encode: fn([u8; 32]) -> String, candidates: &[&str]) -> Option<usize> {
    let mut found = None;
    for (index, key) in keys.iter().enumerate() {
        let expected = encode(key.sign(parts));
        let matches = candidates.iter().fold(Choice::from(0), |any, candidate| any | expected.as_bytes().ct_eq(candidate.as_bytes()));
        if bool::from(matches) && found.is_none() {
            found = Some(index);
        }
    }
    found
}
