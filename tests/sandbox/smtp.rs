//! The SMTP stand-in, spoken to by lettre and by hand.

use super::{LONG, sandbox};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{Error, authentication::Credentials, client::Tls},
};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use windlass::sandbox::{Fault, Provider, Sandbox, Stage};

type Mailer = AsyncSmtpTransport<Tokio1Executor>;

fn mailer(sandbox: &Sandbox) -> Mailer {
    let builder = Mailer::builder_dangerous("127.0.0.1").port(sandbox.smtp_addr().port()).tls(Tls::None);
    builder.credentials(Credentials::new("ana".into(), "secret".into())).build()
}

fn message(to: &str, body: &str) -> Message {
    Message::builder()
        .from("Windlass <noreply@example.org>".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Reminder: essay due")
        .body(body.to_owned())
        .unwrap()
}

async fn send(mailer: &Mailer, to: &str) -> Result<u16, Error> {
    mailer.send(message(to, "Hello.")).await.map(|reply| u16::from(reply.code()))
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent_dots_and_all() {
    let sandbox = sandbox().await;
    let body = "First line\r\n.\r\n..leading dots\r\n.one\r\nümlaut\r\n";
    mailer(&sandbox).send(message("bo@example.net", body)).await.unwrap();
    let kept = sandbox.mailbox().wait_for(1, LONG).await.unwrap();
    assert_eq!(
        (kept[0].from.as_str(), kept[0].to.as_slice(), kept[0].login.as_deref()),
        ("noreply@example.org", &["bo@example.net".to_owned()][..], Some("ana"))
    );
    assert_eq!(kept[0].header("subject").as_deref(), Some("Reminder: essay due"));
    assert!(kept[0].body().contains("\r\n.\r\n..leading dots\r\n.one\r\n"), "{:?}", kept[0].body());
}

#[tokio::test]
async fn replies_are_scripted_at_each_stage_and_keep_their_class() {
    let sandbox = sandbox().await;
    let stages = [
        (Stage::Greeting, 421, true),
        (Stage::Auth, 535, false),
        (Stage::MailFrom, 451, true),
        (Stage::Recipient, 550, false),
        (Stage::Data, 452, true),
    ];
    for (stage, code, transient) in stages {
        sandbox.switches().fail_next(Provider::Smtp, 1, Fault::reply(code, stage));
        let error = send(&mailer(&sandbox), "bo@example.net").await.unwrap_err();
        assert_eq!(
            (error.status().map(u16::from), error.is_transient(), error.is_permanent()),
            (Some(code), transient, !transient),
            "{stage:?}"
        );
    }
    assert!(sandbox.mailbox().all().is_empty());
    assert_eq!(send(&mailer(&sandbox), "bo@example.net").await.unwrap(), 250);
}

#[tokio::test]
async fn a_marked_recipient_fails_as_often_as_it_says() {
    let sandbox = sandbox().await;
    let mailer = mailer(&sandbox);
    let to = "bo+sandbox.fail.2.code.450@example.net";
    assert!(send(&mailer, to).await.is_err());
    assert!(send(&mailer, "other@example.net").await.is_ok());
    assert!(send(&mailer, to).await.is_err());
    assert!(send(&mailer, to).await.is_ok());
    assert_eq!(sandbox.mailbox().came(), 2);
}

#[tokio::test]
async fn a_server_that_hangs_after_the_message_may_have_kept_it() {
    let sandbox = sandbox().await;
    for (calls, kept, count) in [(1, false, 0), (2, true, 1)] {
        sandbox.switches().fail_next(Provider::Smtp, 1, Fault::Hang { kept });
        let mailer = mailer(&sandbox);
        // lettre itself would wait for a reply for ever.
        let sent = tokio::time::timeout(Duration::from_millis(300), send(&mailer, "bo@example.net")).await;
        assert!(sent.is_err(), "no reply comes");
        sandbox.calls().list().wait_for(calls, LONG).await.expect("the server was reached");
        assert_eq!(sandbox.mailbox().came(), count);
    }
}

#[tokio::test]
async fn too_many_messages_a_second_are_told_to_wait() {
    let sandbox = sandbox().await;
    sandbox.switches().limit(Provider::Smtp, Some(1));
    let mailer = mailer(&sandbox);
    assert!(send(&mailer, "bo@example.net").await.is_ok());
    assert!(send(&mailer, "bo@example.net").await.unwrap_err().is_transient());
}

/// Says each line and returns the code of each reply.
async fn by_hand(sandbox: &Sandbox, lines: &str) -> Vec<u16> {
    let mut stream = BufReader::new(TcpStream::connect(sandbox.smtp_addr()).await.unwrap());
    stream.write_all(lines.as_bytes()).await.unwrap();
    let (mut codes, mut line) = (Vec::new(), String::new());
    while tokio::time::timeout(LONG, stream.read_line(&mut line)).await.unwrap().unwrap() > 0 {
        if line.as_bytes().get(3) == Some(&b' ') {
            codes.push(line[..3].parse().unwrap());
        }
        line.clear();
    }
    codes
}

#[tokio::test]
async fn a_pipelined_conversation_is_answered_command_by_command() {
    let sandbox = sandbox().await;
    let codes = by_hand(
        &sandbox,
        "EHLO a\r\nDATA\r\nRCPT TO:<x@y.z>\r\nMAIL FROM:<>\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<nobody>\r\nRSET\r\nMAIL FROM:<a@b.c> SIZE=99999999999\r\n\
         MAIL FROM:<a@b.c> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<x@y.z>\r\nDATA\r\nSubject: hi\r\n\r\n..dot\r\n.\r\nNOOP\r\nWHAT\r\nAUTH PLAIN !\r\nQUIT\r\n",
    );
    let wanted = [220, 250, 503, 503, 250, 503, 501, 250, 552, 250, 250, 354, 250, 250, 500, 501, 221];
    assert_eq!(codes.await, wanted);
    assert_eq!(sandbox.mailbox().all()[0].body(), ".dot\r\n");
    assert_eq!(by_hand(&sandbox, "HELO a\r\nAUTH LOGIN YW5h\r\nc2VjcmV0\r\nQUIT\r\n").await, [220, 250, 334, 235, 221]);
}
