//! Webhook signatures: who sent these bytes, and our own name under the bytes we send. Pure: no I/O but reading secret
//! files at start, no clock; what happens to an event afterwards is `control/hooks.rs`' and `workers/webhook`'s affair.
//!
//! Rules of every scheme (reference: providers 3.2): the raw body is signed, never a parsed copy; comparison is constant
//! in time; timestamps are decimal digits within a tolerance both ways; several secrets may be live while one is rolled.
//!
//! A new scheme is a variant of [`Scheme`], a file with its claim, and a line in [`Source::claim`] and `event::describe`.

mod claim;
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
use claim::Claim;
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
    /// Whether the scheme signs a time at all; GitHub does not, there the memory of bodies is the guard against replay.
    #[must_use]
    pub const fn signs_time(self) -> bool {
        matches!(self, Self::Stripe | Self::Standard)
    }

    /// Whether the signature covers the event's id: Stripe has it in the body, Standard Webhooks sign the header.
    #[must_use]
    pub const fn signs_id(self) -> bool {
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
    /// ASCII characters. GitHub does not sign it.
    pub event_id: String,
    /// What makes it the same event: what is remembered against replay. The id where the signature covers it. GitHub signs the
    /// body alone, so there it is the body's hash: else one captured event could be sent again and again under ids made up on
    /// the way. GitHub's own redeliveries have the same body, and two events of its never do: they carry times and ids.
    pub identity: String,
    /// `invoice.paid`, `push` …, when the sender names one. Of GitHub it is a header that nobody signed: a hint, not a proof.
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

    /// What `headers` alone say, before there is a body: whether they show a signature that could be this source's.
    ///
    /// # Errors
    /// Why no body in the world would be believed under them.
    pub fn expect<'a>(&'a self, headers: &'a HeaderMap, now: DateTime<Utc>) -> Result<Expected<'a>, Rejection> {
        let window = Window { now, tolerance: self.tolerance };
        let claim = match self.scheme {
            Scheme::Stripe => stripe::claim(headers, window)?,
            Scheme::Standard => standard::claim(headers, window)?,
            Scheme::Github => github::claim(headers)?,
        };
        Ok(Expected { source: self, headers, claim })
    }

    /// Whether `body`, exactly as it arrived with `headers`, is from this source, and what it says of itself.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<Verified, Rejection> {
        self.expect(headers, now)?.verify(body)
    }
}

/// An event whose headers are here and whose body is not yet.
#[derive(Debug)]
pub struct Expected<'a> {
    source: &'a Source,
    headers: &'a HeaderMap,
    claim: Claim<'a>,
}

impl Expected<'_> {
    /// Whether `body` is what was signed, and what it says of itself.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, body: &[u8]) -> Result<Verified, Rejection> {
        // As Stripe's own library has it.
        if self.source.scheme == Scheme::Stripe && body.is_empty() {
            return Err(Rejection::EmptyBody);
        }
        let secret_index = self.claim.verify(&self.source.keys, body)?;
        Ok(event::describe(self.source.scheme, self.headers, body, secret_index))
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
