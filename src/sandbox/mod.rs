//! Stand-in providers on loopback: an OpenAI-compatible server, a DataForSEO-shaped one, an SMTP server, a receiver of
//! webhooks. They speak the real protocols on real sockets and keep what they got; what comes out really derives from
//! what went in. With switches to fail, delay, slow down and hang (`switches.rs`, `marker.rs`, `admin.rs`).
//!
//! For `windlass demo`, `windlass sandbox` and tests; no other room uses it.

mod admin;
mod answer;
mod calls;
mod config;
mod dataforseo;
mod marker;
mod openai;
mod reading;
mod receiver;
mod shelf;
mod smtp;
mod switches;
mod wire;

pub use calls::{Call, Calls, Totals};
pub use config::Config;
pub use receiver::{Counts, Receipt, Signature};
pub use shelf::Shelf;
pub use smtp::Message;
pub use switches::{Fault, Provider, Rule, Settings, Stage, Switches};

use crate::clock::Clock;
use axum::Router;
use receiver::Inbox;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the stand-ins share: settings, switches, and everything they keep.
#[derive(Debug)]
struct Backstage {
    config: Config,
    clock: Clock,
    switches: Switches,
    calls: Calls,
    mailbox: Shelf<Message>,
    inbox: Inbox,
    closing: CancellationToken,
}

/// Running stand-ins. They stop when this is dropped or the token given at the start fires.
#[derive(Debug)]
pub struct Sandbox {
    backstage: Arc<Backstage>,
    http: SocketAddr,
    smtp: SocketAddr,
    _open: DropGuard,
}

impl Sandbox {
    /// Serving when this returns, until `cancel` fires.
    ///
    /// # Errors
    /// When a port is taken or a configured webhook secret is not one.
    pub async fn start(config: Config, cancel: CancellationToken) -> io::Result<Self> {
        Self::start_at(config, Clock::System, cancel).await
    }

    /// As [`Sandbox::start`], with the time of `clock` in answers and in the checking of signatures.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub async fn start_at(config: Config, clock: Clock, cancel: CancellationToken) -> io::Result<Self> {
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, config.http_port)).await?;
        let smtp = TcpListener::bind((Ipv4Addr::LOCALHOST, config.smtp_port)).await?;
        let addresses = (http.local_addr()?, smtp.local_addr()?);
        let inbox = Inbox::new(&config.webhook_secrets).map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))?;
        let closing = cancel.child_token();
        let backstage = Arc::new(Backstage {
            config,
            clock,
            switches: Switches::default(),
            calls: Calls::default(),
            mailbox: Shelf::default(),
            inbox,
            closing: closing.clone(),
        });
        tokio::spawn(serve(wire::Door(http), routes().with_state(backstage.clone()), closing.clone()));
        tokio::spawn(smtp::serve(smtp, backstage.clone()));
        Ok(Self { backstage, http: addresses.0, smtp: addresses.1, _open: closing.drop_guard() })
    }

    /// The base that `/v1/chat/completions` is appended to.
    #[must_use]
    pub fn openai_url(&self) -> String {
        self.base_url()
    }

    /// The base that `/v3/serp/…` is appended to.
    #[must_use]
    pub fn dataforseo_url(&self) -> String {
        self.base_url()
    }

    /// The base of `/receive/{name}` and `/count/{name}`.
    #[must_use]
    pub fn receiver_url(&self) -> String {
        self.base_url()
    }

    /// The base of the admin API, `/_sandbox/…`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("{}/_sandbox", self.base_url())
    }

    #[must_use]
    pub const fn smtp_addr(&self) -> SocketAddr {
        self.smtp
    }

    #[must_use]
    pub fn switches(&self) -> &Switches {
        &self.backstage.switches
    }

    /// Every call served, with what it would have cost.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.backstage.calls
    }

    /// The messages that the SMTP server took.
    #[must_use]
    pub fn mailbox(&self) -> &Shelf<Message> {
        &self.backstage.mailbox
    }

    /// What `/receive/{name}` got.
    #[must_use]
    pub fn receipts(&self) -> &Shelf<Receipt> {
        self.backstage.inbox.receipts()
    }

    /// The counters of `/count/{name}` and `/receive/{name}`; all zero for a name never called.
    #[must_use]
    pub fn counts(&self, name: &str) -> Counts {
        self.backstage.inbox.counts(name)
    }

    /// Waits until the counters of `name` satisfy `enough`.
    ///
    /// # Errors
    /// What they are after `within`, when that was not enough.
    pub async fn wait_for_counts(
        &self,
        name: &str,
        within: std::time::Duration,
        enough: impl Fn(&Counts) -> bool,
    ) -> Result<Counts, Counts> {
        self.backstage.inbox.wait_for_counts(name, within, enough).await
    }

    /// Requires Standard Webhooks signatures by `secret` (`whsec_…`) on `/receive/{name}` from now on.
    ///
    /// # Errors
    /// A sentence, when `secret` is not one.
    pub fn expect_signatures(&self, name: &str, secret: &str) -> Result<(), String> {
        self.backstage.inbox.expect_signatures(name, secret)
    }

    /// What to tell a person who started the stand-ins: where they are, and how to point a client at each.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let (base, config) = (self.base_url(), &self.backstage.config);
        let key = if config.openai_key.is_some() { "the configured key as Bearer token" } else { "any key" };
        vec![
            format!("OpenAI-compatible  {base}/v1/chat/completions  ({key})"),
            format!(
                "DataForSEO v3      {base}/v3/serp/google/organic/live/advanced  (login {}, its configured password)",
                config.dataforseo_login
            ),
            format!("SMTP               {}  (no TLS; any login, or none)", self.smtp),
            format!("webhook receiver   {base}/receive/NAME  and  {base}/count/NAME"),
            format!("switches and log   {base}/_sandbox/switches  {base}/_sandbox/log  {base}/_sandbox/messages  {base}/_sandbox/receipts"),
        ]
    }

    fn base_url(&self) -> String {
        format!("http://{}", self.http)
    }
}

fn routes() -> Router<Arc<Backstage>> {
    Router::new().merge(openai::routes()).merge(dataforseo::routes()).merge(receiver::routes()).merge(admin::routes())
}

async fn serve(door: wire::Door, routes: Router, closing: CancellationToken) {
    let service = routes.into_make_service_with_connect_info::<wire::Scissors>();
    let until_closing = closing.cancelled_owned();
    // Serving ends with the token; accepting never fails for good.
    let _ = axum::serve(door, service).with_graceful_shutdown(until_closing).await;
}
