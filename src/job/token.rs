//! Who may do what at the control port: a token's words. The store keeps a token's digest; the token itself is shown once, to whoever made it.

use super::{InvalidEnvelope, Name, Timestamp, objects_only};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

/// What one may do. Each is given by itself; some bring others along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// Bring jobs, and look at nothing.
    #[serde(rename = "enqueue")]
    Enqueue,
    /// See jobs and queues, but not what jobs carry and answer.
    #[serde(rename = "read")]
    Read,
    /// See payloads, results, checkpoints and progress too.
    #[serde(rename = "read.payload")]
    ReadPayload,
    /// Pause, cancel, retry, redrive; and see what `read` sees.
    #[serde(rename = "operate")]
    Operate,
    /// Everything: purge, schedules and tokens too.
    #[serde(rename = "admin")]
    Admin,
    /// Scrape the metrics, probe readiness and health.
    #[serde(rename = "metrics")]
    Metrics,
    /// Be a worker: lease jobs with all that they carry, keep them, settle them; and look at nothing else.
    #[serde(rename = "work")]
    Work,
}

impl Scope {
    pub const ALL: [Self; 7] = [Self::Enqueue, Self::Read, Self::ReadPayload, Self::Operate, Self::Admin, Self::Metrics, Self::Work];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Read => "read",
            Self::ReadPayload => "read.payload",
            Self::Operate => "operate",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::Work => "work",
        }
    }

    /// Whether who has this one may do what asks for `other`.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Admin, _) | (Self::ReadPayload | Self::Operate, Self::Read) => true,
            (own, other) => own as u8 == other as u8,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; the scopes are enqueue, read, read.payload, operate, admin, metrics and work")]
pub struct InvalidScope(String);

impl FromStr for Scope {
    type Err = InvalidScope;
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| InvalidScope(text.chars().take(40).collect()))
    }
}

/// Names a token in lists and in the audit; not secret. Sixteen hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^[0-9a-f]{16}$"))]
pub struct TokenId(String);

impl TokenId {
    const LENGTH: usize = 16;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token's id is sixteen of 0-9 a-f, as in windlass_<id>_<secret>")]
pub struct InvalidTokenId;

impl FromStr for TokenId {
    type Err = InvalidTokenId;
    fn from_str(text: &str) -> Result<Self, InvalidTokenId> {
        let is_one = text.len() == Self::LENGTH && is_hex(text);
        if is_one { Ok(Self(text.to_owned())) } else { Err(InvalidTokenId) }
    }
}

impl TryFrom<String> for TokenId {
    type Error = InvalidTokenId;
    fn try_from(text: String) -> Result<Self, InvalidTokenId> {
        text.parse()
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a store keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    /// Whose it is, for people.
    pub name: Name,
    /// SHA-256 of its secret, in hexadecimal. The secret has 256 bits of chance, so that nothing slower makes it safer.
    pub digest: String,
    pub scopes: BTreeSet<Scope>,
    /// The one tenant whose jobs it reaches; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    pub created_at: Timestamp,
    pub created_by: String,
    /// From then on it is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A token that is about to be made: what it may do, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct TokenRequest {
    pub name: Name,
    #[schemars(with = "Vec<Scope>", length(min = 1))]
    pub scopes: BTreeSet<Scope>,
    #[serde(default)]
    pub tenant: Option<Name>,
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

objects_only!(TokenRequest);

impl TokenRequest {
    /// # Errors
    /// When such a token would be good for nothing.
    pub fn check(&self, now: Timestamp) -> Result<(), InvalidEnvelope> {
        let fault = |pointer: &str, message: &str| Err(InvalidEnvelope::new(pointer, "out_of_range", message));
        if self.scopes.is_empty() {
            return fault("/scopes", "a token needs at least one scope: enqueue, read, read.payload, operate, admin, metrics or work");
        } else if self.expires_at.is_some_and(|end| end <= now) {
            return fault("/expires_at", "lies in the past; name a later instant, or leave it out");
        }
        Ok(())
    }
}

impl Token {
    /// The token for `chance` (its first 8 bytes become the id), and what is kept of it.
    #[must_use]
    pub fn make(request: TokenRequest, chance: [u8; 40], created_at: Timestamp, created_by: &str) -> (String, Self) {
        let (id, secret) = chance.split_at(8);
        let (id, secret) = (TokenId(hex::encode(id)), hex::encode(secret));
        let TokenRequest { name, scopes, tenant, expires_at } = request;
        let text = format!("windlass_{id}_{secret}");
        let digest = digest_of(&secret);
        (text, Self { id, name, digest, scopes, tenant, created_at, created_by: created_by.to_owned(), expires_at })
    }

    /// When one ends that is taken away after a while. At once is before all time: clocks need not agree about it.
    #[must_use]
    pub fn end(now: Timestamp, after: Duration) -> Timestamp {
        if after.is_zero() { Self::REVOKED } else { now.plus(after) }
    }

    pub const REVOKED: Timestamp = Timestamp(0);
    /// For so long one that ended is listed; it counts from when it was told to end, if that was later.
    pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

    /// What is kept of one whose row says nothing: it lets nobody in, and is one all the same.
    #[must_use]
    pub fn unreadable(id: TokenId) -> Self {
        let (name, created_by) = (Name::literal("unreadable"), String::new());
        let (digest, scopes, created_at) = (String::new(), BTreeSet::new(), Timestamp(0));
        Self { id, name, digest, scopes, tenant: None, created_at, created_by, expires_at: Some(Self::REVOKED) }
    }

    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    #[must_use]
    pub fn covers(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| own.covers(scope))
    }
}

fn digest_of(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

/// A token as a caller shows it.
pub struct ShownToken {
    pub id: TokenId,
    pub digest: String,
}

impl ShownToken {
    /// None: it has not the form of one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix("windlass_")?.split_once('_')?;
        (secret.len() == 64 && is_hex(secret)).then_some(())?;
        Some(Self { id: id.parse().ok()?, digest: digest_of(secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, Token) {
        let request = TokenRequest { name: Name::literal("ci"), scopes: [Scope::Enqueue].into(), tenant: None, expires_at: None };
        Token::make(request, std::array::from_fn(|n| n as u8), Timestamp(5), "cli:root")
    }

    #[test]
    fn token_that_is_shown_is_known_by_its_digest_and_holds_no_secret() {
        let (text, token) = made();
        let shown = ShownToken::parse(&text).expect("it is one of ours");
        assert_eq!((&shown.id, &shown.digest), (&token.id, &token.digest));
        let secret = &text["windlass_0001020304050607_".len()..];
        assert_eq!(secret.len(), 64);
        assert!(!serde_json::to_string(&token).expect("JSON").contains(secret));
    }

    #[test]
    fn what_is_no_token_is_told_from_one() {
        let (text, _) = made();
        let upper = text.to_uppercase();
        let longer = format!("{text}0");
        for other in
            ["", "windlass_", "windlass__", "windlass_0001020304050607", "sk-123", &text[1..], &text[..text.len() - 1], &upper, &longer]
        {
            assert!(ShownToken::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn scopes_bring_along_what_they_should_and_no_more() {
        use Scope::{Admin, Enqueue, Metrics, Operate, Read, ReadPayload, Work};
        for (own, others) in [
            (Enqueue, vec![Enqueue]),
            (Read, vec![Read]),
            (ReadPayload, vec![Read, ReadPayload]),
            (Operate, vec![Read, Operate]),
            (Admin, Scope::ALL.to_vec()),
            (Metrics, vec![Metrics]),
            (Work, vec![Work]),
        ] {
            assert_eq!(Scope::ALL.into_iter().filter(|other| own.covers(*other)).collect::<Vec<_>>(), others, "{own}");
            assert_eq!(own.as_str().parse(), Ok(own));
            assert_eq!(serde_json::to_string(&own).expect("JSON"), format!("\"{own}\""));
        }
    }

    #[test]
    fn token_that_cannot_be_read_lets_nobody_in_at_any_time() {
        let (text, token) = made();
        let lost = Token::unreadable(token.id);
        let shown = ShownToken::parse(&text).expect("it is one of ours");
        assert!(lost.digest != shown.digest && !lost.is_live(Timestamp(0)) && Scope::ALL.iter().all(|scope| !lost.covers(*scope)));
        assert_eq!(Token::end(Timestamp(5), Duration::ZERO), Timestamp(0), "whatever a clock says");
        assert_eq!(Token::end(Timestamp(5), Duration::from_micros(2)), Timestamp(7));
    }

    #[test]
    fn token_ends_at_its_instant() {
        let (_, token) = made();
        assert!(token.is_live(Timestamp::MAX));
        let token = Token { expires_at: Some(Timestamp(10)), ..token };
        assert!(token.is_live(Timestamp(9)) && !token.is_live(Timestamp(10)));
    }
}
