//! Mail over SMTP: one submission server from the configuration, encrypted unless it is on this machine (reference:
//! providers 6.1). Built on lettre's connection rather than its pool: that pool takes a connection back when a send is
//! dropped halfway, and the next mail would go on inside the last one's body. Here a connection is kept for the next mail only
//! after a whole, answered send; a cancelled or failed one is closed with its future.

mod errors;
mod message;

pub use message::Email;

use super::{
    ProviderError,
    lookup::{Lookup as _, SystemLookup},
};
use crate::{job::ErrorClass, secret};
use errors::{Step, classify};
use lettre::{
    Message,
    message::Mailbox,
    transport::smtp::{
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        extension::ClientId,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

/// `[providers.smtp]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub host: String,
    /// None: 587, 465 or 25, by `tls`.
    pub port: Option<u16>,
    pub tls: Tls,
    /// A certificate authority of the house, PEM, besides the public ones.
    pub ca_file: Option<PathBuf>,
    pub username: String,
    pub password: Option<SecretString>,
    pub password_file: Option<PathBuf>,
    /// `Name <name@example.com>`; the domain also names the mails.
    pub from: String,
    /// What we call ourselves in EHLO; None: an address literal.
    pub hello_name: Option<String>,
    pub timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: None,
            tls: Tls::default(),
            ca_file: None,
            username: String::new(),
            password: None,
            password_file: None,
            from: String::new(),
            hello_name: None,
            // Greylisting and virus scanners take their time after DATA; half a minute is when a person would retry.
            timeout_ms: 30_000,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// In the clear until STARTTLS, which is insisted on.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
    /// Never; for a server on this machine only.
    None,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("providers.smtp.password: {0}")]
    Secret(#[from] secret::Error),
    #[error("providers.smtp.tls = \"none\" is for a server on this machine; use \"starttls\" or \"tls\" for {0}")]
    Unencrypted(String),
    #[error("providers.smtp.from is not a mail address; write name@example.com or Name <name@example.com>")]
    From,
    #[error("providers.smtp.password is set without providers.smtp.username")]
    Username,
    #[error("providers.smtp.ca_file: {0}")]
    Ca(String),
    #[error("providers.smtp.host: {0}")]
    Tls(lettre::transport::smtp::Error),
}

/// What a server said to a mail it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub message_id: String,
    /// The first line, often with the server's own id.
    pub reply: String,
}

pub struct Smtp {
    server: Option<Server>,
}

struct Server {
    host: String,
    port: u16,
    tls: Tls,
    tls_parameters: Option<TlsParameters>,
    credentials: Option<Credentials>,
    from: Mailbox,
    hello_name: ClientId,
    timeout: Duration,
    lookup: SystemLookup,
    idle: Mutex<Vec<(Instant, AsyncSmtpConnection)>>,
}

/// Servers close idle clients after minutes; ours are closed well before that.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// More connections at once are opened as needed, but not kept.
const MOST_IDLE: usize = 8;

impl Smtp {
    /// The provider's name in metrics.
    pub const NAME: &'static str = "smtp";

    /// # Errors
    /// Which member of the configuration is wrong, and what to do. No host at all is none: sending will say so.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let server = if config.host.is_empty() { None } else { Some(Server::new(config)?) };
        Ok(Self { server })
    }

    /// Hands one mail to the server. Once it returns `Ok`, the server has taken it over. A timeout after the last line may
    /// mean that it was taken nevertheless; the `Message-ID` is the same next time.
    ///
    /// # Errors
    /// Classified by the server's reply.
    pub async fn send(&self, email: Email<'_>) -> Result<Sent, ProviderError> {
        let server = self.server.as_ref().ok_or_else(|| {
            ProviderError::not_configured("no mail server is configured; set providers.smtp.host and providers.smtp.from")
        })?;
        let message = email.build(&server.from)?;
        let late = || ProviderError::new(ErrorClass::Timeout, "timeout", "the mail server did not answer in time");
        let reply = tokio::time::timeout(server.timeout, server.send(&message)).await.unwrap_or_else(|_| Err(late()))?;
        Ok(Sent { message_id: email.message_id(&server.from), reply })
    }
}

impl Server {
    fn new(config: &Config) -> Result<Self, ConfigError> {
        if config.tls == Tls::None && !is_loopback(&config.host) {
            return Err(ConfigError::Unencrypted(config.host.clone()));
        }
        let password = secret::of("password", config.password.as_ref(), config.password_file.as_deref())?;
        let credentials = match (config.username.as_str(), password) {
            ("", Some(_)) => return Err(ConfigError::Username),
            ("", None) => None,
            (name, password) => {
                let password = password.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default();
                Some(Credentials::new(name.to_owned(), password))
            }
        };
        let default_port = match config.tls {
            Tls::Starttls => 587,
            Tls::Tls => 465,
            Tls::None => 25,
        };
        Ok(Self {
            host: config.host.clone(),
            port: config.port.unwrap_or(default_port),
            tls: config.tls,
            tls_parameters: tls_parameters(config)?,
            credentials,
            from: message::mailbox("from", &config.from).map_err(|_| ConfigError::From)?,
            hello_name: config.hello_name.clone().map_or_else(ClientId::default, ClientId::Domain),
            timeout: Duration::from_millis(config.timeout_ms),
            lookup: SystemLookup::new(Duration::from_millis(config.timeout_ms / 2)),
            idle: Mutex::default(),
        })
    }

    async fn send(&self, message: &Message) -> Result<String, ProviderError> {
        let mut connection = match self.take_idle().await {
            Some(connection) => connection,
            None => self.connect(&self.addresses().await?).await.map_err(|error| classify(&error, Step::Login))?,
        };
        let reply = connection.send(message.envelope(), &message.formatted()).await;
        let reply = reply.map_err(|error| classify(&error, Step::Mail))?;
        self.keep_idle(connection);
        Ok(super::excerpt(reply.first_line().unwrap_or_default(), 200))
    }

    /// Left to lettre, the lookup would run on the threads that the store reads on.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, ProviderError> {
        let unknown = |error: io::Error| {
            ProviderError::new(ErrorClass::Retry, "connect", format!("the mail server's name cannot be looked up: {error}"))
        };
        let found = self.lookup.lookup(&self.host).await.map_err(unknown)?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address.ip(), self.port)).collect())
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<AsyncSmtpConnection, lettre::transport::smtp::Error> {
        let implicit = self.tls_parameters.clone().filter(|_| self.tls == Tls::Tls);
        let mut connection = AsyncSmtpConnection::connect_tokio1(addresses, Some(self.timeout), &self.hello_name, implicit, None).await?;
        if let (Tls::Starttls, Some(parameters)) = (self.tls, &self.tls_parameters) {
            connection.starttls(parameters.clone(), &self.hello_name).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    /// An idle connection that the server has not closed meanwhile.
    async fn take_idle(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (since, mut connection) = self.idle.lock().expect("nothing panics while it is locked").pop()?;
            if since.elapsed() < IDLE_TIME && connection.test_connected().await {
                return Some(connection);
            }
        }
    }

    fn keep_idle(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().expect("nothing panics while it is locked");
        if idle.len() < MOST_IDLE && !connection.has_broken() {
            idle.push((Instant::now(), connection));
        }
    }
}

fn tls_parameters(config: &Config) -> Result<Option<TlsParameters>, ConfigError> {
    if config.tls == Tls::None {
        return Ok(None);
    }
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_file {
        let pem = std::fs::read(path).map_err(|e| ConfigError::Ca(format!("cannot read {}: {e}", path.display())))?;
        let authority = Certificate::from_pem(&pem).map_err(|_| ConfigError::Ca(format!("{} is no PEM certificate", path.display())))?;
        builder = builder.add_root_certificate(authority);
    }
    builder.build_rustls().map(Some).map_err(ConfigError::Tls)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
