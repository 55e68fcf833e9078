//! Mail: as it arrives, as it is refused, and what a cut conversation leaves behind.

use super::{mail_server::MailServer, now};
use std::time::Duration;
use windlass::{
    clients::{
        ProviderError,
        smtp::{Config, Email, Sent, Smtp, Tls},
    },
    job::ErrorClass,
};

fn config(server: &MailServer) -> Config {
    Config {
        host: "127.0.0.1".into(),
        port: Some(server.addr.port()),
        tls: Tls::None,
        from: "Würze GmbH <no-reply@example.com>".into(),
        ..Config::default()
    }
}

fn email() -> Email<'static> {
    Email {
        to: "Ada <ada@example.org>",
        reply_to: None,
        subject: "Grüße",
        text: Some("plain\n.leading dot\nende"),
        html: None,
        id: "0198-job",
        date: now(),
    }
}

async fn told(replies: &[(&str, &str)]) -> Result<Sent, ProviderError> {
    let server = MailServer::start(replies).await;
    Smtp::new(&config(&server)).expect("a client").send(email()).await
}

#[tokio::test]
async fn a_mail_arrives_with_its_envelope_its_headers_and_its_text() {
    let server = MailServer::start(&[]).await;
    let sent = Smtp::new(&config(&server)).expect("a client").send(email()).await.expect("taken");
    assert_eq!(sent, Sent { message_id: "<0198-job@example.com>".into(), reply: "2.0.0 Ok: queued as 4ABC".into() });
    let mail = server.mails().remove(0);
    assert!(mail.from.starts_with("MAIL FROM:<no-reply@example.com>"), "{}", mail.from);
    assert_eq!(mail.to, ["RCPT TO:<ada@example.org>"]);
    let header = |name: &str| mail.header(name).unwrap_or_default();
    assert_eq!(header("Message-ID"), "<0198-job@example.com>");
    assert_eq!(header("Date"), "Mon, 01 Jun 2026 12:00:00 +0000");
    assert_eq!(header("Subject"), "=?utf-8?b?R3LDvMOfZQ==?=");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert!(mail.data.contains("\r\n..leading dot\r\n"), "{}", mail.data);
}

#[tokio::test]
async fn text_and_html_travel_as_alternatives() {
    let server = MailServer::start(&[]).await;
    let smtp = Smtp::new(&config(&server)).expect("a client");
    smtp.send(Email { html: Some("<p>rich</p>"), ..email() }).await.expect("taken");
    smtp.send(Email { html: Some("<p>rich</p>"), text: None, reply_to: Some("help@example.com"), ..email() }).await.expect("taken");
    let [both, html] = server.mails().try_into().expect("two mails");
    assert!(both.header("Content-Type").is_some_and(|t| t.starts_with("multipart/alternative")));
    assert!(both.data.contains("plain") && both.data.contains("<p>rich</p>"));
    assert!(html.header("Content-Type").is_some_and(|t| t.starts_with("text/html")));
    assert_eq!(html.header("Reply-To").as_deref(), Some("help@example.com"));
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn every_reply_of_the_server_has_its_class() {
    use ErrorClass::{Auth, Permanent, Retry};
    for (command, reply, class, code) in [
        ("GREETING", "421 try later", Retry, "smtp_421"),
        ("GREETING", "554 not from there", Auth, "smtp_554"),
        ("MAIL", "452 4.3.1 disk full", Retry, "smtp_452"),
        ("MAIL", "530 5.7.0 log in first", Auth, "smtp_530"),
        ("MAIL", "553 5.1.8 bad sender", Permanent, "smtp_553"),
        ("RCPT", "450 4.2.0 greylisted", Retry, "smtp_450"),
        ("RCPT", "451 4.7.1 later", Retry, "smtp_451"),
        ("RCPT", "550 5.1.1 no such user", Permanent, "smtp_550"),
        ("RCPT", "552 5.2.2 mailbox full", Permanent, "smtp_552"),
        ("END", "554 5.7.1 spam", Permanent, "smtp_554"),
        ("END", "451 4.3.0 later", Retry, "smtp_451"),
    ] {
        let error = told(&[(command, reply)]).await.expect_err("refused");
        assert_eq!((error.class, error.code.as_str()), (class, code), "{command} {reply}");
    }
    let server = MailServer::start(&[("AUTH", "535 5.7.8 wrong password")]).await;
    let with_login = Config { username: "me".into(), password: Some("canary".into()), ..config(&server) };
    let error = Smtp::new(&with_login).expect("a client").send(email()).await.expect_err("refused");
    assert_eq!((error.class, error.code.as_str()), (Auth, "smtp_535"));
    assert!(!error.message.contains("canary") && server.mails().is_empty());
}

#[tokio::test]
async fn silence_and_a_closed_port_are_failures_to_try_again() {
    let server = MailServer::start(&[("END", "")]).await;
    let error = Smtp::new(&Config { timeout_ms: 150, ..config(&server) }).expect("a client").send(email()).await.expect_err("late");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Timeout, "timeout"));
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let error =
        Smtp::new(&Config { port: Some(free.port()), ..config(&server) }).expect("a client").send(email()).await.expect_err("closed");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Retry, "connect"));
}

#[tokio::test]
async fn a_send_that_was_dropped_halfway_never_reaches_into_the_next_mail() {
    let server = MailServer::start(&[("RCPT", "")]).await;
    let smtp = Smtp::new(&config(&server)).expect("a client");
    let halfway = async {
        // EHLO, MAIL, RCPT: now it waits for an answer that never comes.
        server.heard(3).await;
    };
    tokio::select! {
        sent = smtp.send(email()) => panic!("{sent:?}"),
        () = halfway => {}
    }
    let second = tokio::time::timeout(Duration::from_millis(150), smtp.send(email())).await;
    assert!(second.is_err(), "this server never answers RCPT");
    assert_eq!(server.connections(), 2, "the cut connection was not used again");
}

#[tokio::test]
async fn a_closed_idle_connection_is_replaced_and_not_an_error() {
    let server = MailServer::start(&[("NOOP", "421 idle for too long")]).await;
    let smtp = Smtp::new(&config(&server)).expect("a client");
    smtp.send(email()).await.expect("taken");
    smtp.send(email()).await.expect("taken");
    assert_eq!((server.mails().len(), server.connections()), (2, 2));
}

#[tokio::test]
async fn line_breaks_and_second_addresses_do_not_get_into_headers() {
    let server = MailServer::start(&[]).await;
    let smtp = Smtp::new(&config(&server)).expect("a client");
    for bad in [
        Email { subject: "x\r\nBcc: all@example.com", ..email() },
        Email { subject: "x\ny", ..email() },
        Email { to: "a@example.com\r\nRCPT TO:<b@example.com>", ..email() },
        Email { to: "a@example.com, b@example.com", ..email() },
        Email { to: "A <a@example.com>, b@example.com", ..email() },
        Email { to: "not an address", ..email() },
        Email { to: "", ..email() },
        Email { reply_to: Some("x@example.com\nBcc: y@example.com"), ..email() },
    ] {
        let error = smtp.send(bad).await.expect_err("refused");
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Permanent, "invalid_mail"), "{bad:?}");
    }
    assert_eq!(server.connections(), 0, "nothing was dialled");
}

#[tokio::test]
async fn mail_is_encrypted_unless_the_server_is_on_this_machine() {
    let server = MailServer::start(&[]).await;
    let insisting = Config { tls: Tls::Starttls, username: "me".into(), password: Some("canary".into()), ..config(&server) };
    let error = Smtp::new(&insisting).expect("a client").send(email()).await.expect_err("no STARTTLS there");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Auth, "smtp_unsupported"));
    assert!(server.mails().is_empty());
    for (changed, said) in [
        (Config { host: "mail.example.com".into(), ..config(&server) }, "providers.smtp.tls = \"none\" is for a server on this machine"),
        (Config { from: "nobody".into(), ..config(&server) }, "providers.smtp.from is not a mail address"),
        (Config { password: Some("x".into()), ..config(&server) }, "providers.smtp.password is set without"),
        (Config { tls: Tls::Tls, ca_file: Some("/nonexistent.pem".into()), ..config(&server) }, "providers.smtp.ca_file: cannot read"),
    ] {
        let error = Smtp::new(&changed).err().expect("refused").to_string();
        assert!(error.starts_with(said), "{error}");
    }
    let error = Smtp::new(&Config::default()).expect("nothing is wrong yet").send(email()).await.expect_err("not configured");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Auth, "not_configured"));
}
