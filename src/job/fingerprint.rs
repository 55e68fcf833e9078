//! What a dead letter died of, in a form in which those that died of the same are equal: kind, reason, code and the message without what
//! differs from job to job.

use super::{Job, JobError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// Sixteen hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^[0-9a-f]{16}$"))]
pub struct Fingerprint(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is sixteen of 0-9 a-f, as the groups of dead letters show it")]
pub struct InvalidFingerprint;

/// As much of a message as tells troubles apart.
const TELLING: usize = 200;

impl Fingerprint {
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let error = last_error(job);
        let code = error.map(|error| error.code.as_str()).unwrap_or_default();
        let message = error.map(|error| gist(&error.message)).unwrap_or_default();
        let parts = [job.kind.as_str(), job.reason.as_deref().unwrap_or_default(), code, &message];
        Self(hex::encode(&Sha256::digest(parts.join("\n").as_bytes())[..8]))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let is_one = text.len() == 16 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if is_one { Ok(Self(text.to_owned())) } else { Err(InvalidFingerprint) }
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;
    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        text.parse()
    }
}

/// The error of the last attempt that had one.
#[must_use]
pub fn last_error(job: &Job) -> Option<&JobError> {
    job.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref())
}

/// The message with `#` in place of every word that has a digit in it, and of everything in quotation marks: ids, numbers, addresses, names.
fn gist(message: &str) -> String {
    let mut gist = String::new();
    let mut rest = message.chars().peekable();
    while let Some(c) = rest.next() {
        if gist.len() >= TELLING {
            break;
        } else if matches!(c, '"' | '\'' | '`') {
            if rest.clone().any(|later| later == c) {
                rest.find(|later| *later == c);
                gist.push('#');
            } else {
                gist.push(c);
            }
        } else if c.is_alphanumeric() {
            let mut word = String::from(c);
            while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '-' | '.' | ':' | '/')) {
                word.push(next);
            }
            let is_telling = !word.contains(|c: char| c.is_ascii_digit());
            gist.push_str(if is_telling { word.trim_end_matches(['.', ':', '-', '/']) } else { "#" });
        } else {
            gist.push(if c.is_whitespace() { ' ' } else { c });
        }
    }
    gist
}

#[cfg(test)]
mod tests {
    use super::gist;

    #[test]
    fn what_differs_from_job_to_job_tells_no_troubles_apart() {
        for (one, other) in [
            ("timed out after 3000 ms", "timed out after 12 ms"),
            ("no such page: https://a.example/7?x=1", "no such page: https://b.example/8?x=12"),
            ("job 0192d4e0-7b1a-7000-8000-0123456789ab is gone", "job 0192d4e0-7b1a-7000-8000-ba9876543210 is gone"),
            ("`title` is missing in \"Biology\"", "`year` is missing in \"History of art\""),
            ("line 1:\n bad", "line 2:  bad"),
        ] {
            assert_eq!(gist(one).replace("  ", " "), gist(other).replace("  ", " "));
        }
        assert_ne!(gist("the model refused"), gist("the model was overloaded"));
        assert_eq!(gist("it isn't there"), "it isn't there");
    }
}
