//! `reminder.send`: templates, mail and endpoints.

use super::{Bench, JOB, parked, rejected, result, retried};
use crate::clients::{
    mail_server::MailServer,
    now,
    server::{Reply, Server},
};
use serde_json::{Value, json};
use std::time::Duration;
use windlass::{
    clients::{self, smtp},
    engine::worker::Outcome,
    job::Effect,
    signatures::{Scheme, SecretFormat, Source},
    workers,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn bench(mail: Option<&MailServer>) -> Bench {
    let smtp = mail.map_or_else(smtp::Config::default, |mail| smtp::Config {
        host: "127.0.0.1".into(),
        port: Some(mail.addr.port()),
        tls: smtp::Tls::None,
        from: "Windlass <no-reply@example.com>".into(),
        timeout_ms: 500,
        ..smtp::Config::default()
    });
    let mut config = workers::Config::default();
    config.reminder.http_secret = Some(SECRET.into());
    Bench::new(&config, &clients::Config { smtp, ..clients::Config::default() }, &Default::default())
}

fn mail() -> Value {
    json!({
        "channel": "email", "to": "{{ name }} <{{ address }}>", "subject": "Hello {{ name }}",
        "text": "{% for t in topics %}- {{ t }}\n{% endfor %}", "html": "<p>{{ topics[0] }}</p>",
        "vars": {"name": "Ada", "address": "ada@example.org", "topics": ["cells & <genes>", "x"]},
    })
}

fn sends(outcome: &Outcome) -> (&str, &str, Option<&str>) {
    match &outcome.effects[..] {
        [Effect::RecordSend { channel, key, provider_id }] => (channel, key, provider_id.as_deref()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mail_is_filled_in_sent_and_remembered() {
    let server = MailServer::start(&[]).await;
    let bench = bench(Some(&server));
    let outcome = bench.run("reminder.send", &mail()).await;
    let message_id = format!("<{JOB}@example.com>");
    let expected = json!({"channel": "email", "to": "Ada <ada@example.org>", "subject": "Hello Ada", "message_id": message_id, "reply": "2.0.0 Ok: queued as 4ABC"});
    assert_eq!(result(&outcome), expected);
    assert_eq!(sends(&outcome), ("email", format!("rem/{JOB}/email").as_str(), Some(message_id.as_str())));
    let mail = server.mails().remove(0);
    assert_eq!(mail.to, ["RCPT TO:<ada@example.org>"]);
    assert_eq!((mail.header("Subject").as_deref(), mail.header("Message-ID")), (Some("Hello Ada"), Some(message_id)));
    assert!(mail.data.contains("- cells & <genes>\r\n- x"), "text is not escaped: {}", mail.data);
    assert!(mail.data.contains("<p>cells &amp; &lt;genes&gt;</p>"), "html is: {}", mail.data);
    assert!(bench.metric("windlass_reminders_total{channel=\"email\",result=\"sent\"} 1"));
    assert!(bench.metric("windlass_provider_requests_total{class=\"ok\",kind=\"reminder.send\",provider=\"smtp\"} 1"));
}

#[tokio::test]
async fn the_servers_reply_decides_what_becomes_of_a_mail() {
    let told = async |command, reply| bench(Some(&MailServer::start(&[(command, reply)]).await)).run("reminder.send", &mail()).await;
    assert_eq!(retried(&told("RCPT", "450 greylisted").await).0.code, "smtp_450");
    assert_eq!(rejected(&told("RCPT", "550 no such user").await).code, "smtp_550");
    assert_eq!(parked(&told("MAIL", "530 log in first").await).0, "provider_auth");
    assert_eq!(retried(&told("END", "").await).0.code, "timeout");
    let nowhere = bench(None);
    let outcome = nowhere.run("reminder.send", &mail()).await;
    assert!(parked(&outcome).1.message.contains("providers.smtp.host"), "{outcome:?}");
    assert!(nowhere.metric("windlass_reminders_total{channel=\"email\",result=\"deferred\"} 1"));
}

#[tokio::test]
async fn an_endpoint_gets_a_signed_event_whose_time_is_when_it_was_due() {
    let server = Server::start(vec![Reply::text(200, "ok")]).await;
    let bench = bench(None);
    let payload = json!({"channel": "http", "url": server.url("/r"), "subject": "Hi {{ n }}", "body": "due", "vars": {"n": "Ada"}});
    let outcome = bench.run("reminder.send", &payload).await;
    let seen = server.only();
    let expected = json!({"type": "reminder.due", "timestamp": "2026-06-01T12:00:00Z",
        "data": {"job": JOB, "to": null, "subject": "Hi Ada", "text": "due", "html": null, "vars": {"n": "Ada"}}});
    assert_eq!(seen.json(), expected);
    let headers = seen.headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect();
    let receiver = Source::new(Scheme::Standard, SecretFormat::Base64, &[SECRET.into()], Duration::from_secs(2)).expect("a source");
    let verified = receiver.verify(&headers, &seen.body, now().to_utc()).expect("accepted");
    let id = format!("rem_{JOB}");
    assert_eq!((&verified.event_id, verified.event_type.as_deref()), (&id, Some("reminder.due")));
    assert_eq!(result(&outcome)["answer"]["body"], "ok");
    assert_eq!(sends(&outcome), ("http", format!("rem/{JOB}/http").as_str(), Some(id.as_str())));
    assert!(bench.metric("windlass_reminders_total{channel=\"http\",result=\"sent\"} 1"));
}

#[tokio::test]
async fn an_endpoint_that_fails_is_tried_again_and_one_inside_is_never_called() {
    let server = Server::start(vec![Reply::text(503, "").with("retry-after", "9")]).await;
    let bench = bench(None);
    let at = |url: &str| json!({"channel": "http", "url": url, "text": "x"});
    assert_eq!(retried(&bench.run("reminder.send", &at(&server.url("/"))).await).1, Some(9_000));
    assert_eq!(rejected(&bench.run("reminder.send", &at("http://10.0.0.1/")).await).code, "address_refused");
    for line in ["{channel=\"http\",result=\"retried\"} 1", "{channel=\"http\",result=\"failed\"} 1"] {
        assert!(bench.metric(&format!("windlass_reminders_total{line}")), "{line}");
    }
}

#[tokio::test]
async fn a_template_that_cannot_be_filled_in_is_refused_with_a_sentence() {
    let server = MailServer::start(&[]).await;
    let bench = bench(Some(&server));
    let with = |member: &str, value: &str| {
        let mut payload = mail();
        payload[member] = json!(value);
        payload
    };
    for (payload, said) in [
        (with("subject", "Hello {{ surname }} {{ age }}"), "the template `subject` needs `age`, `surname`, which `vars` does not hold"),
        (with("text", "{{ topics[0].title }}"), "the template `text` uses a variable that `vars` does not hold"),
        (with("html", "{{ name "), "the template `html` cannot be read"),
        (
            with("text", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
            "the template `text` does too much work",
        ),
        (with("text", "{% for a in range(3000) %}{{ '%999d' | format(a) }}{% endfor %}"), "the template `text` writes more than"),
        (with("text", "{% set a = topics ~ topics %}"), "the template `text` uses `set`, which reminders do not have"),
        (
            with("text", &format!("{{{{ 1{} }}}}", "+1".repeat(10_000))),
            "the template `text` has a tag of more than 200 names, values and signs",
        ),
        (with("text", "{% include 'secrets' %}"), "the template `text`"),
        (with("subject", "Hello\nBcc: all@example.com"), "line break"),
        (with("to", "{{ address }}, other@example.org"), "not one mail address"),
    ] {
        let outcome = bench.run("reminder.send", &payload).await;
        assert!(rejected(&outcome).message.contains(said), "{said}: {outcome:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_payload_that_cannot_work_is_refused_with_a_sentence() {
    let bench = bench(None);
    for (payload, said) in [
        (json!({"channel": "pigeon"}), "unknown variant `pigeon`, expected `email` or `http`"),
        (json!({"channel": "email", "subject": "x", "text": "y"}), "needs `to`"),
        (json!({"channel": "email", "to": "a@example.com", "text": "y"}), "needs `subject`"),
        (json!({"channel": "email", "to": "a@example.com", "subject": "x"}), "needs `text` or `html`"),
        (json!({"channel": "email", "to": "a@example.com", "subject": "x", "text": "y", "url": "https://x.example"}), "`url` belongs to"),
        (json!({"channel": "http", "text": "y"}), "needs `url`"),
        (json!({"channel": "http", "url": "nowhere", "text": "y"}), "`url` is not a URL"),
        (json!({"channel": "http", "url": "https://x.example", "when": "now"}), "unknown field `when`"),
    ] {
        let outcome = bench.run("reminder.send", &payload).await;
        let error = rejected(&outcome);
        assert!(error.code == "bad_payload" && error.message.contains(said), "{payload}: {}", error.message);
    }
}
