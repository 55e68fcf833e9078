//! `[webhooks.sources.*]`: secrets from text and files, and the sentences for what is wrong.

use super::at;
use secrecy::SecretString;
use std::time::Duration;
use windlass::signatures::{Config, Event, InvalidSecret, Scheme, SecretFormat, Source};

fn config(text: &str) -> Config {
    toml::from_str(text).expect("valid TOML for the room")
}

#[test]
fn secrets_come_from_the_table_and_from_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("old");
    std::fs::write(&file, "It's a Secret to Everybody\n").expect("written");
    let text = format!("[sources.gh]\nscheme = 'github'\nsecrets = ['new']\nsecret_files = ['{}']\n", file.display());
    let source = config(&text).sources["gh"].source("gh").expect("usable");
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let verified = source.verify(&super::headers(&[("x-hub-signature-256", signature)]), b"Hello, World!", at(0)).expect("valid");
    assert_eq!(verified.secret_index, 1);
}

#[test]
fn a_source_without_a_usable_secret_is_refused_with_its_place() {
    for (text, said) in [
        ("scheme = 'github'", "webhooks.sources.s.secrets: no secret is set"),
        ("scheme = 'stripe'\nsecrets = ['']", "webhooks.sources.s.secrets: the secret is empty"),
        ("scheme = 'svix'\nsecrets = ['whsec_c2hvcnQ=']", "webhooks.sources.s.secrets: the secret decodes to 5 bytes"),
        ("scheme = 'standard'\nsecrets = ['whsec_%%%']", "webhooks.sources.s.secrets: the secret is not base64"),
        ("scheme = 'github'\nsecret_files = ['/nonexistent/secret']", "webhooks.sources.s.secret_files: cannot read the secret file"),
    ] {
        let error = config(&format!("[sources.s]\n{text}\n")).sources["s"].source("s").expect_err("refused").to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn events_never_go_on_unsigned_or_to_something_that_is_no_web_address() {
    for (text, said) in [
        ("forward_to = 'https://app.example.com/in'", "webhooks.sources.s.forward_secret: events are forwarded unsigned"),
        ("forward_to = 'ftp://app.example.com/in'", "webhooks.sources.s.forward_to: must be an http or https URL"),
        ("forward_to = 'https://me:pw@app.example.com/in'", "webhooks.sources.s.forward_to: must be an http or https URL"),
    ] {
        let error =
            config(&format!("[sources.s]\nscheme = 'github'\n{text}\n")).sources["s"].forward("s").expect_err("refused").to_string();
        assert!(error.starts_with(said), "{error}");
        assert!(!error.contains("pw@"), "no credential in a message");
    }
}

#[test]
fn an_unknown_scheme_or_member_is_refused() {
    assert!(toml::from_str::<Config>("[sources.s]\nscheme = 'rot13'\n").is_err());
    assert!(toml::from_str::<Config>("[sources.s]\nscheme = 'github'\nsecretz = []\n").is_err());
}

#[test]
fn no_secret_is_ever_printed() {
    let config = config("[sources.s]\nscheme = 'github'\nsecrets = ['canary-one']\nforward_secret = 'canary-two'\n");
    let source = Source::new(Scheme::Github, SecretFormat::Raw, &[SecretString::from("canary-three")], Duration::ZERO).expect("usable");
    let printed = format!("{config:?} {source:?} {:?}", InvalidSecret::Empty);
    assert!(!printed.contains("canary"), "{printed}");
}

#[test]
fn an_event_travels_with_its_bytes_whatever_they_are() {
    for body in [b"plain".as_slice(), b"\xff\xfe\x00binary", b""] {
        let verified = windlass::signatures::Verified {
            event_id: "e".into(),
            identity: "e".into(),
            event_type: None,
            event_time: Some(at(7)),
            secret_index: 0,
        };
        let headers = super::headers(&[("content-type", "application/json"), ("authorization", "Bearer canary")]);
        let event = Event::new("s", verified, at(9), &headers, body);
        let text = serde_json::to_string(&event).expect("JSON");
        assert!(!text.contains("canary"));
        let back: Event = serde_json::from_str(&text).expect("the same shape");
        assert_eq!(back.body_bytes().expect("decodable"), body);
        assert_eq!(back, event);
    }
}
