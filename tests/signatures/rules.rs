//! Rotation, hostile headers, and what an event says of itself.

use super::{at, headers, source};
use windlass::signatures::{Rejection, Scheme, Signer};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NOW: i64 = 1_700_000_000;

fn signed(secret: &str, id: &str, body: &[u8]) -> http::HeaderMap {
    Signer::new(&[secret.into()]).expect("a secret").headers(id, at(NOW), body).into_iter().collect()
}

#[test]
fn while_a_secret_is_rolled_either_one_is_accepted_and_named() {
    let both = source(Scheme::Standard, &[NEW, OLD]);
    for (secret, index) in [(NEW, 0), (OLD, 1)] {
        let verified = both.verify(&signed(secret, "msg_1", b"{}"), b"{}", at(NOW)).expect("accepted");
        assert_eq!(verified.secret_index, index);
    }
    let only_new = source(Scheme::Standard, &[NEW]);
    assert_eq!(only_new.verify(&signed(OLD, "msg_1", b"{}"), b"{}", at(NOW)), Err(Rejection::Mismatch));
}

#[test]
fn short_empty_and_prefix_signatures_never_match() {
    let whole = signed(OLD, "msg_1", b"{}");
    let signature = whole["webhook-signature"].to_str().expect("text");
    let standard = source(Scheme::Standard, &[OLD]);
    for forged in ["v1,", "v1", "v1,=", &signature[..signature.len() - 1], &format!("{signature}="), &signature.to_lowercase(), ""] {
        let mut headers = whole.clone();
        headers.insert("webhook-signature", forged.parse().expect("a value"));
        assert!(standard.verify(&headers, b"{}", at(NOW)).is_err(), "{forged}");
    }
}

#[test]
fn only_so_many_signatures_are_looked_at() {
    let whole = signed(OLD, "msg_1", b"{}");
    let right = whole["webhook-signature"].to_str().expect("text").to_owned();
    let standard = source(Scheme::Standard, &[OLD]);
    let with = |wrong: usize| {
        let mut headers = whole.clone();
        headers.insert("webhook-signature", format!("{}{right}", "v1,AAAA ".repeat(wrong)).parse().expect("a value"));
        standard.verify(&headers, b"{}", at(NOW))
    };
    assert!(with(7).is_ok());
    assert_eq!(with(8), Err(Rejection::Mismatch));
}

#[test]
fn a_timestamp_is_decimal_digits_and_nothing_else() {
    let standard = source(Scheme::Standard, &[OLD]);
    for text in ["+1700000000", " 1700000000", "1.7e9", "0x6553f100", "-1", "", "1700000000000000000000"] {
        let mut headers = signed(OLD, "msg_1", b"{}");
        headers.insert("webhook-timestamp", text.parse().expect("a value"));
        assert_eq!(standard.verify(&headers, b"{}", at(NOW)), Err(Rejection::BadTimestamp), "{text:?}");
    }
}

#[test]
fn a_header_that_was_sent_twice_is_not_believed() {
    let mut headers = signed(OLD, "msg_1", b"{}");
    headers.append("webhook-id", "msg_2".parse().expect("a value"));
    assert_eq!(source(Scheme::Standard, &[OLD]).verify(&headers, b"{}", at(NOW)), Err(Rejection::MissingHeader("webhook-id")));
}

#[test]
fn the_two_header_families_are_never_mixed() {
    let ours = signed(OLD, "msg_1", b"{}");
    let mixed = headers(&[
        ("svix-id", "msg_1"),
        ("svix-timestamp", ours["webhook-timestamp"].to_str().expect("text")),
        ("webhook-signature", ours["webhook-signature"].to_str().expect("text")),
    ]);
    assert_eq!(source(Scheme::Standard, &[OLD]).verify(&mixed, b"{}", at(NOW)), Err(Rejection::MissingHeader("svix-signature")));
}

#[test]
fn with_two_stripe_times_the_last_one_is_the_signed_one() {
    let stripe = source(Scheme::Stripe, &["whsec_test_secret_one"]);
    let body = br#"{"id":"evt_test_1","object":"event","type":"invoice.payment_succeeded","created":1699999990}"#;
    let v1 = "v1=33ac376428e078448f5a7febb40c0d29f573b83652627380e03031f020b1822c";
    let judge = |value: &str| stripe.verify(&headers(&[("stripe-signature", value)]), body, at(NOW));
    assert!(judge(&format!("t=1,t=1700000000,{v1}")).is_ok());
    assert_eq!(judge(&format!("t=1700000000,t=1,{v1}")), Err(Rejection::TooOld));
    assert_eq!(judge(&format!("t=1700000000, {v1}")), Err(Rejection::NoSignature), "a space makes the entry unknown");
    assert_eq!(stripe.verify(&headers(&[("stripe-signature", &format!("t=1700000000,{v1}"))]), b"", at(NOW)), Err(Rejection::EmptyBody));
}

#[test]
fn each_scheme_finds_id_type_and_time_where_its_sender_puts_them() {
    let body = br#"{"id":"evt_test_1","object":"event","type":"invoice.payment_succeeded","created":1699999990}"#;
    let v1 = "t=1700000000,v1=33ac376428e078448f5a7febb40c0d29f573b83652627380e03031f020b1822c";
    let stripe = source(Scheme::Stripe, &["whsec_test_secret_one"]).verify(&headers(&[("stripe-signature", v1)]), body, at(NOW));
    let stripe = stripe.expect("valid");
    assert_eq!((stripe.event_id.as_str(), stripe.event_type.as_deref()), ("evt_test_1", Some("invoice.payment_succeeded")));
    assert_eq!(stripe.event_time, Some(at(1_699_999_990)));

    let body = br#"{"type":"user.created","timestamp":"2023-11-14T22:13:20+01:00","data":{}}"#;
    let standard = source(Scheme::Standard, &[OLD]).verify(&signed(OLD, "msg_7", body), body, at(NOW)).expect("valid");
    assert_eq!((standard.event_id.as_str(), standard.event_type.as_deref()), ("msg_7", Some("user.created")));
    assert_eq!(standard.event_time, Some(at(1_699_996_400)));

    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let github = source(Scheme::Github, &["It's a Secret to Everybody"]);
    let named = headers(&[("x-hub-signature-256", signature), ("x-github-delivery", "72d3162e"), ("x-github-event", "push")]);
    let named = github.verify(&named, b"Hello, World!", at(NOW)).expect("valid");
    assert_eq!((named.event_id.as_str(), named.event_type.as_deref(), named.event_time), ("72d3162e", Some("push"), None));
    let unnamed = github.verify(&headers(&[("x-hub-signature-256", signature)]), b"Hello, World!", at(NOW)).expect("valid");
    assert_eq!(unnamed.event_id, "sha256:dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f");
}
