//! Webhook signatures: who sent these bytes, and our own name under the bytes we send. Pure: no I/O but reading secret
//! files at start, no clock; what happens to an event afterwards is `control/hooks.rs`' and `workers/webhook`'s affair.
//!
//! Rules of every scheme (reference: providers 3.2): the raw body is signed, never a parsed copy; comparison is constant
//! in time; timestamps are decimal digits within a tolerance both ways; several secrets may be live while one is rolled.
//!
//! A new scheme is a variant of [`Scheme`], a file with its check, and a line in [`Source::verify`] and `event::describe`.

mod config;
mod event;
mod github;
mod key;
mod sign;
mod standard;
mod stripe;
mod window;

pub use config::{Config, ConfigError, Problem, SourceConfig};
pub use event::{BodyEncoding, Event};
pub use key::{InvalidSecret, SecretFormat};
pub use sign::Signer;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use key::Key;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use window::Window;

/// How a source proves that an event is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// `Stripe-Signature: t=…,v1=…`.
    Stripe,
    /// Standard Webhooks `v1`, under `webhook-*` or `svix-*` headers: Svix, Clerk and many others send it.
    #[serde(alias = "svix", alias = "clerk", alias = "standard_webhooks")]
    Standard,
    /// `X-Hub-Signature-256: sha256=…`.
    Github,
}

impl Scheme {
    /// Whether the scheme signs a time at all; GitHub does not, there the memory of delivery ids is the guard against replay.
    #[must_use]
    pub const fn signs_time(self) -> bool {
        matches!(self, Self::Stripe | Self::Standard)
    }
}

/// A sender whose events are checked: its scheme, its live secrets, and how far its clock may be from ours.
#[derive(Debug)]
pub struct Source {
    scheme: Scheme,
    keys: Vec<Key>,
    tolerance: Duration,
}

/// What is known of an event whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The sender's own id, the same over its retries; `sha256:<hex of the body>` when it gives none. At most 200 printable
    /// ASCII characters.
    pub event_id: String,
    /// `invoice.paid`, `push` …, when the sender names one.
    pub event_type: Option<String>,
    /// When it happened at the sender, when the event says so. Arrival is the caller's to know.
    pub event_time: Option<DateTime<Utc>>,
    /// Which of the source's secrets matched, so that an operator sees when the old one is no longer used.
    pub secret_index: usize,
}

/// Why an event is not believed. For metrics and logs; the sender is told nothing but 401 (an oracle helps only forgers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the header {0} is missing or was sent twice")]
    MissingHeader(&'static str),
    #[error("the signature header carries no timestamp")]
    NoTimestamp,
    #[error("the timestamp is not a number of seconds")]
    BadTimestamp,
    #[error("the timestamp is older than the tolerance")]
    TooOld,
    #[error("the timestamp is further in the future than the tolerance")]
    TooNew,
    #[error("no signature of a version we check")]
    NoSignature,
    #[error("the body is empty")]
    EmptyBody,
    #[error("no signature matches")]
    Mismatch,
}

impl Rejection {
    /// One word for the metric's `reason` label.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MissingHeader(_) => "missing_header",
            Self::NoTimestamp => "no_timestamp",
            Self::BadTimestamp => "bad_timestamp",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::NoSignature => "no_signature",
            Self::EmptyBody => "empty_body",
            Self::Mismatch => "mismatch",
        }
    }
}

impl Source {
    /// # Errors
    /// When there is no secret, or one cannot be a secret of the scheme.
    pub fn new(scheme: Scheme, format: SecretFormat, secrets: &[SecretString], tolerance: Duration) -> Result<Self, InvalidSecret> {
        if secrets.is_empty() {
            return Err(InvalidSecret::None);
        }
        let keys = secrets.iter().map(|secret| Key::of(scheme, format, secret)).collect::<Result<_, _>>()?;
        Ok(Self { scheme, keys, tolerance })
    }

    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether `body`, exactly as it arrived with `headers`, is from this source, and what it says of itself.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<Verified, Rejection> {
        let window = Window { now, tolerance: self.tolerance };
        let secret_index = match self.scheme {
            Scheme::Stripe => stripe::verify(&self.keys, headers, body, window)?,
            Scheme::Standard => standard::verify(&self.keys, headers, body, window)?,
            Scheme::Github => github::verify(&self.keys, headers, body)?,
        };
        Ok(event::describe(self.scheme, headers, body, secret_index))
    }
}

/// The header's text, if it was sent exactly once: of two values one could be checked and the other believed.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Rejection> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Rejection::MissingHeader(name)),
        _ => Err(Rejection::MissingHeader(name)),
    }
}
