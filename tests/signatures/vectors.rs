//! Every vector of the fixture: made or judged by the senders' own libraries.

use super::{at, headers};
use secrecy::SecretString;
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};
use windlass::signatures::{Rejection, Scheme, SecretFormat, Source, Verified};

#[derive(Deserialize)]
struct Vector {
    scheme: Scheme,
    name: String,
    secret: String,
    #[serde(default)]
    secret_format: SecretFormat,
    #[serde(default)]
    now: i64,
    headers: BTreeMap<String, String>,
    body: String,
    expect: String,
    why: Option<String>,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../fixtures/webhook_vectors.json")).expect("the fixture is JSON")
}

impl Vector {
    fn verify(&self, body: &[u8]) -> Result<Verified, Rejection> {
        let source = Source::new(self.scheme, self.secret_format, &[SecretString::from(self.secret.as_str())], Duration::from_secs(300));
        let pairs: Vec<(&str, &str)> = self.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        source.expect("a usable secret").verify(&headers(&pairs), body, at(self.now))
    }
}

#[test]
fn every_vector_is_judged_as_its_sender_would() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 43);
    for vector in &vectors {
        let judged = vector.verify(vector.body.as_bytes());
        match (vector.expect.as_str(), judged) {
            ("ok", Ok(_)) => {}
            ("error", Err(rejection)) => {
                let why = vector.why.as_deref().expect("a reason").replace(' ', "_").replace("no_v1", "no_signature");
                assert_eq!(rejection.reason(), why, "{}", vector.name);
            }
            (expected, judged) => panic!("{}: expected {expected}, got {judged:?}", vector.name),
        }
    }
}

#[test]
fn one_changed_bit_anywhere_in_the_body_is_refused() {
    for vector in vectors().iter().filter(|v| v.expect == "ok") {
        for place in 0..vector.body.len() {
            let mut body = vector.body.clone().into_bytes();
            body[place] ^= 1;
            assert_eq!(vector.verify(&body), Err(Rejection::Mismatch), "{} at byte {place}", vector.name);
        }
    }
}
