//! One SMTP conversation (RFC 5321; AUTH as in RFC 4954, SIZE, 8BITMIME, SMTPUTF8 and PIPELINING accepted).

use super::Message;
use crate::sandbox::{Backstage, Call, Fault, Provider, Stage, marker::Marker, switches::Verdict};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::io;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// The usual limit of servers; advertised, and kept to.
const MESSAGE_BYTES: usize = 25 << 20;
/// RFC 5321 4.5.3.1.5 asks for 512; with AUTH and SMTPUTF8 more comes.
const LINE_BYTES: u64 = 64 << 10;

struct Session<'b> {
    stream: BufReader<TcpStream>,
    backstage: &'b Backstage,
    login: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

/// Whether the conversation goes on.
enum Next {
    GoOn,
    End,
}

/// # Errors
/// When the connection breaks.
pub(super) async fn hold(stream: TcpStream, backstage: &Backstage) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut session = Session { stream: BufReader::new(stream), backstage, login: None, from: None, to: Vec::new() };
    if let Some(fault) = session.judge(Stage::Greeting, "").await.fault {
        return session.play(&fault, "").await.map(|_| ());
    }
    session.say("220 sandbox ESMTP").await?;
    while let Some(line) = session.line().await? {
        if let Next::End = session.command(&line).await? {
            break;
        }
    }
    Ok(())
}

impl Session<'_> {
    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.reset();
                let extensions = format!(
                    "250-sandbox\r\n250-SIZE {MESSAGE_BYTES}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 HELP"
                );
                self.say(&extensions).await?;
            }
            "HELO" => {
                self.reset();
                self.say("250 sandbox").await?;
            }
            "AUTH" => return self.auth(rest).await,
            "MAIL" => return self.mail(rest).await,
            "RCPT" => return self.recipient(rest).await,
            "DATA" => return self.data().await,
            "RSET" => {
                self.reset();
                self.say("250 2.0.0 Ok").await?;
            }
            "NOOP" => self.say("250 2.0.0 Ok").await?,
            "VRFY" => self.say("252 2.0.0 Cannot verify, but will accept the message").await?,
            "HELP" => self.say("214 2.0.0 This server keeps what it gets").await?,
            "QUIT" => {
                self.say("221 2.0.0 Bye").await?;
                return Ok(Next::End);
            }
            _ => self.say("500 5.5.2 Command not recognized").await?,
        }
        Ok(Next::GoOn)
    }

    async fn auth(&mut self, rest: &str) -> io::Result<Next> {
        let mut words = rest.split_whitespace();
        let login = match (words.next().map(str::to_ascii_uppercase).as_deref(), words.next()) {
            (Some("PLAIN"), Some(initial)) => plain_login(initial),
            (Some("PLAIN"), None) => plain_login(&self.asked("334 ").await?),
            (Some("LOGIN"), initial) => {
                let login = match initial {
                    Some(initial) => decoded(initial),
                    None => decoded(&self.asked("334 VXNlcm5hbWU6").await?),
                };
                let password = decoded(&self.asked("334 UGFzc3dvcmQ6").await?);
                login.filter(|_| password.is_some())
            }
            _ => {
                self.say("504 5.5.4 Unrecognized authentication type").await?;
                return Ok(Next::GoOn);
            }
        };
        let Some(login) = login else {
            self.say("501 5.5.2 Cannot decode the response").await?;
            return Ok(Next::GoOn);
        };
        if let Some(fault) = self.judge(Stage::Auth, &login).await.fault {
            return self.play(&fault, &login).await;
        }
        self.login = Some(login);
        self.say("235 2.7.0 Authentication successful").await?;
        Ok(Next::GoOn)
    }

    async fn mail(&mut self, rest: &str) -> io::Result<Next> {
        let Some((from, parameters)) = path(rest, "FROM:") else {
            self.say("501 5.5.4 Syntax: MAIL FROM:<address>").await?;
            return Ok(Next::GoOn);
        };
        if self.from.is_some() {
            self.say("503 5.5.1 Error: nested MAIL command").await?;
            return Ok(Next::GoOn);
        }
        let size = parameters.split_whitespace().find_map(|word| word.strip_prefix("SIZE=")).and_then(|size| size.parse::<usize>().ok());
        if size.is_some_and(|size| size > MESSAGE_BYTES) {
            self.say("552 5.3.4 Message size exceeds fixed limit").await?;
            return Ok(Next::GoOn);
        }
        let verdict = self.judge(Stage::MailFrom, &from).await;
        if verdict.slow_down {
            self.log(&from, 451, verdict.name());
            self.say("451 4.7.1 Too many messages, slow down").await?;
            return Ok(Next::GoOn);
        }
        if let Some(fault) = verdict.fault {
            return self.play(&fault, &from).await;
        }
        self.from = Some(from);
        self.say("250 2.1.0 Ok").await?;
        Ok(Next::GoOn)
    }

    async fn recipient(&mut self, rest: &str) -> io::Result<Next> {
        let address = path(rest, "TO:")
            .map(|(address, _)| address)
            .filter(|address| address.contains('@') || address.eq_ignore_ascii_case("postmaster"));
        match (self.from.is_some(), address) {
            (false, _) => self.say("503 5.5.1 Error: need MAIL command").await?,
            (_, None) => self.say("501 5.1.3 Bad recipient address syntax").await?,
            (true, Some(address)) => {
                if let Some(fault) = self.judge(Stage::Recipient, &address).await.fault {
                    return self.play(&fault, &address).await;
                }
                self.to.push(address);
                self.say("250 2.1.5 Ok").await?;
            }
        }
        Ok(Next::GoOn)
    }

    async fn data(&mut self) -> io::Result<Next> {
        if self.to.is_empty() {
            self.say("503 5.5.1 Error: need RCPT command").await?;
            return Ok(Next::GoOn);
        }
        self.say("354 End data with <CR><LF>.<CR><LF>").await?;
        let Some(data) = self.message().await? else {
            self.reset();
            self.say("552 5.3.4 Message size exceeds fixed limit").await?;
            return Ok(Next::GoOn);
        };
        let subject = self.to.join(",");
        if let Some(fault) = self.judge(Stage::Data, &subject).await.fault {
            self.reset();
            return self.play(&fault, &subject).await;
        }
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        let at = self.backstage.clock.now();
        self.backstage.mailbox.put(Message { at, from, to, login: self.login.clone(), data: String::from_utf8_lossy(&data).into_owned() });
        if let Some(fault) = self.judge(Stage::Kept, &subject).await.fault {
            return self.play(&fault, &subject).await;
        }
        self.log(&subject, 250, None);
        self.say(&format!("250 2.0.0 Ok: queued as {:08X}", self.backstage.mailbox.came())).await?;
        Ok(Next::GoOn)
    }

    /// The message up to the lone dot, unstuffed; nothing when it is too long.
    async fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        let mut too_long = false;
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                return Ok((!too_long).then_some(message));
            }
            too_long |= message.len() + line.len() > MESSAGE_BYTES;
            if !too_long {
                message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            }
        }
    }

    async fn judge(&self, stage: Stage, subject: &str) -> Verdict {
        let marker = Marker::in_address(subject.split(',').next().unwrap_or_default());
        let verdict = self.backstage.switches.judge_at(Provider::Smtp, subject, marker.as_ref(), Some(stage));
        tokio::time::sleep(verdict.delay).await;
        verdict
    }

    /// Goes wrong as `fault` says.
    async fn play(&mut self, fault: &Fault, subject: &str) -> io::Result<Next> {
        match fault {
            Fault::Hang { .. } => {
                self.log(subject, 0, Some(fault.name()));
                self.backstage.closing.cancelled().await;
                Ok(Next::End)
            }
            Fault::Reset | Fault::CutBody => {
                self.log(subject, 0, Some(fault.name()));
                Ok(Next::End)
            }
            other => {
                let code = if let Fault::Reply { code, .. } = other { *code } else { 451 };
                self.log(subject, code, Some(other.name()));
                self.say(&format!("{code} {}", words_of(code))).await?;
                // RFC 5321 3.8: after a 421 the server closes.
                Ok(if code == 421 { Next::End } else { Next::GoOn })
            }
        }
    }

    fn log(&self, subject: &str, status: u16, fault: Option<&'static str>) {
        let id = format!("{:08X}", self.backstage.mailbox.came());
        let call = Call { fault, ..Call::new(self.backstage.clock.now(), Provider::Smtp, id, subject, status) };
        self.backstage.calls.add(call);
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    async fn asked(&mut self, question: &str) -> io::Result<String> {
        self.say(question).await?;
        Ok(self.line().await?.unwrap_or_default())
    }

    /// The next command line, or nothing at the end of the conversation.
    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_BYTES);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            self.say("500 5.5.2 Line too long").await?;
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }
}

/// The address of `FROM:<a@b> SIZE=1`, and the parameters behind it.
fn path<'r>(rest: &'r str, keyword: &str) -> Option<(String, &'r str)> {
    let head = rest.get(..keyword.len())?;
    let tail = rest[keyword.len()..].trim_start();
    let (address, parameters) = tail.strip_prefix('<')?.split_once('>')?;
    (head.eq_ignore_ascii_case(keyword) && !address.contains(char::is_whitespace)).then(|| (address.to_owned(), parameters))
}

/// RFC 4616: authorisation id, login, password, each behind a NUL.
fn plain_login(response: &str) -> Option<String> {
    let decoded = decoded(response)?;
    let mut parts = decoded.split('\0').skip(1);
    parts.next().filter(|login| !login.is_empty()).map(str::to_owned)
}

fn decoded(response: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(response.trim()).ok()?).ok()
}

/// What a server says with a code, its enhanced code (RFC 3463) in front.
fn words_of(code: u16) -> String {
    let words = match code {
        421 => "4.3.2 Service not available, closing transmission channel",
        450 => "4.2.1 Mailbox unavailable, try again later",
        451 => "4.3.0 Local error in processing",
        452 => "4.2.2 Insufficient system storage",
        535 => "5.7.8 Authentication credentials invalid",
        550 => "5.1.1 No such user here",
        552 => "5.2.2 Mailbox full",
        553 => "5.1.3 Mailbox name not allowed",
        554 => "5.7.1 Transaction failed",
        _ => return format!("{}.0.0 As scripted", code / 100),
    };
    words.to_owned()
}
