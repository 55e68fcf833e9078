//! A scripted SMTP server on loopback: takes mail, or answers a chosen command with a chosen reply.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Clone, Debug, Default)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
}

impl Mail {
    /// The value of a header, folded lines joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next()?.replace("\r\n ", " ");
        head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
    }
}

#[derive(Clone, Debug)]
pub struct MailServer {
    pub addr: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
    connections: Arc<AtomicUsize>,
    /// Changes with every line that arrives.
    lines: watch::Receiver<usize>,
}

impl MailServer {
    /// `replies` maps a command (`GREETING`, `EHLO`, `MAIL`, `RCPT`, `DATA`, `END` for the dot, `AUTH`) to what is answered
    /// instead of the usual; an empty reply is silence.
    pub async fn start(replies: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (line_seen, lines) = watch::channel(0);
        let server = Self { addr: listener.local_addr().expect("an address"), mails: Arc::default(), connections: Arc::default(), lines };
        let replies: Arc<BTreeMap<String, String>> = Arc::new(replies.iter().map(|(c, r)| ((*c).into(), (*r).into())).collect());
        let (mails, connections, line_seen) = (Arc::clone(&server.mails), Arc::clone(&server.connections), Arc::new(line_seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let session = Session { mails: Arc::clone(&mails), replies: Arc::clone(&replies), line_seen: Arc::clone(&line_seen) };
                tokio::spawn(async move { session.serve(stream).await });
            }
        });
        server
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().expect("no panic while locked").clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Until at least `count` lines have arrived on all connections together.
    pub async fn heard(&self, count: usize) {
        self.lines.clone().wait_for(|lines| *lines >= count).await.expect("the server lives");
    }
}

struct Session {
    mails: Arc<Mutex<Vec<Mail>>>,
    replies: Arc<BTreeMap<String, String>>,
    line_seen: Arc<watch::Sender<usize>>,
}

impl Session {
    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        self.answer(&mut stream, "GREETING", "220 scripted ESMTP").await?;
        let mut mail = Mail::default();
        loop {
            let line = self.line(&mut stream).await?;
            let command = line.split([' ', '\r']).next()?.to_ascii_uppercase();
            match command.as_str() {
                "EHLO" => self.answer(&mut stream, "EHLO", "250-scripted\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME").await?,
                "MAIL" => mail = Mail { from: line.trim().to_owned(), ..Mail::default() },
                "RCPT" => mail.to.push(line.trim().to_owned()),
                _ => {}
            }
            match command.as_str() {
                "EHLO" => {}
                "AUTH" => self.answer(&mut stream, "AUTH", "235 welcome").await?,
                "DATA" => {
                    self.answer(&mut stream, "DATA", "354 go on").await?;
                    loop {
                        match self.line(&mut stream).await?.as_str() {
                            ".\r\n" => break,
                            line => mail.data.push_str(line),
                        }
                    }
                    self.mails.lock().expect("no panic while locked").push(mail.clone());
                    self.answer(&mut stream, "END", "250 2.0.0 Ok: queued as 4ABC").await?;
                }
                "QUIT" => return self.answer(&mut stream, "QUIT", "221 bye").await,
                other => self.answer(&mut stream, other, "250 Ok").await?,
            }
        }
    }

    async fn line(&self, stream: &mut BufReader<TcpStream>) -> Option<String> {
        let mut line = String::new();
        let read = stream.read_line(&mut line).await.ok()?;
        self.line_seen.send_modify(|lines| *lines += 1);
        (read > 0).then_some(line)
    }

    async fn answer(&self, stream: &mut BufReader<TcpStream>, command: &str, usual: &str) -> Option<()> {
        match self.replies.get(command).map_or(usual, String::as_str) {
            "" => Some(()),
            reply => stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok(),
        }
    }
}
