//! What we sign is what a Standard Webhooks receiver accepts.

use super::{at, source};
use windlass::signatures::{Rejection, Scheme, Signer};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

#[test]
fn we_sign_byte_for_byte_like_the_official_library() {
    let body = br#"{"type":"contact.created","timestamp":"2023-11-14T22:13:20Z","data":{"id":"1f81eb52"}}"#;
    let headers = Signer::new(&[KEY.into()]).expect("a secret").headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at(1_700_000_000), body);
    let [id, timestamp, signature] = headers.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
    assert_eq!(id, "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek");
    assert_eq!(timestamp, "webhook-timestamp: 1700000000");
    assert_eq!(signature, "webhook-signature: v1,MHnzxCabQSC0wKbxy+mHrI3vkw2+RzRgCMrU1vodN7A=");
}

#[test]
fn during_a_rotation_receivers_may_hold_either_secret() {
    let signer = Signer::new(&[OTHER.into(), KEY.into()]).expect("secrets");
    let headers: http::HeaderMap = signer.headers("msg_1", at(1_700_000_000), b"x").into_iter().collect();
    for secret in [KEY, OTHER] {
        source(Scheme::Standard, &[secret]).verify(&headers, b"x", at(1_700_000_000)).expect("accepted");
    }
}

#[test]
fn an_id_with_a_dot_is_hashed_so_that_no_other_message_has_the_same_signed_bytes() {
    let signer = Signer::new(&[KEY.into()]).expect("a secret");
    let [(_, id), ..] = signer.headers("a.b", at(1_700_000_000), b"x");
    assert!(!id.to_str().expect("text").contains('.'));
    let headers: http::HeaderMap = signer.headers("a.b", at(1_700_000_000), b"x").into_iter().collect();
    let receiver = source(Scheme::Standard, &[KEY]);
    assert_eq!(receiver.verify(&headers, b"x", at(1_700_000_000)).expect("accepted").event_id, id.to_str().expect("text"));
    assert_eq!(receiver.verify(&headers, b"x", at(1_700_000_301)), Err(Rejection::TooOld));
}
