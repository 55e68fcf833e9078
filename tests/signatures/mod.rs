//! Signatures against vectors made by the official libraries, and the rules that no vector covers.

mod config;
mod outbound;
mod rules;
mod vectors;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use std::time::Duration;
use windlass::signatures::{Scheme, SecretFormat, Source};

fn at(unix_secs: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(unix_secs, 0).expect("a time")
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).expect("a name"), HeaderValue::from_str(value).expect("a value")))
        .collect()
}

fn source(scheme: Scheme, secrets: &[&str]) -> Source {
    let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
    Source::new(scheme, SecretFormat::Base64, &secrets, Duration::from_secs(300)).expect("usable secrets")
}
