//! What can be set about the control port, and which settings do not fit together. Reading files is `state.rs`' affair.

use super::{hooks, tls::Tls};
use crate::{
    job::{Limits, ShownToken, Timestamp},
    secret, signatures,
};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Characters of a token on a port that others can reach.
const TOKEN_BYTES: usize = 16;

/// The defaults are meant for production on one machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    /// Callers must show it as `Authorization: Bearer …`. Required as soon as `listen` is not loopback.
    pub token: Option<SecretString>,
    /// A file that holds the token, for systemd credentials; the end of its last line is not part of it.
    pub token_file: Option<PathBuf>,
    /// The certificate and those above it, and its key, in PEM: with them the port speaks TLS and nothing else.
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    /// Callers must show a certificate that one of these has signed.
    pub tls_client_ca_file: Option<PathBuf>,
    /// Address ranges of the proxies that calls come through: they are believed whose calls they bring.
    pub behind_proxy: Vec<IpNet>,
    /// Names, besides this machine's own, under which a port without token may be called: a web page that points its own
    /// name at 127.0.0.1 is not among them.
    pub allowed_hosts: Vec<String>,
    /// Calls a second that one token which was made may make, a second's worth at once; 0 is no bound.
    pub calls_per_token: u32,
    /// The same of one address of another machine, whatever it shows.
    pub calls_per_address: u32,
    /// Calls a second of one address that show nothing which lets anybody in; more are told to wait. Nobody guesses 256 bits, but some try.
    pub failures_per_address: u32,
    /// When there are so many, a new client takes the place of the one that has waited longest without asking for anything;
    /// while all are being answered, it waits in the kernel's backlog.
    pub max_connections: usize,
    /// Connections of one address of another machine; more are closed as they come. Loopback may be a proxy and has no such cap.
    pub max_connections_per_peer: usize,
    /// Bytes of one request, except for a streamed NDJSON body, which never is in memory as a whole.
    pub max_body_bytes: usize,
    /// Bytes of one job's payload; at most 16 MiB.
    pub max_payload_bytes: usize,
    /// Bytes of one inbound webhook.
    pub max_hook_bytes: usize,
    /// Bytes of all request bodies that are in memory at once, without those of webhooks; requests beyond wait their turn.
    pub max_buffered_bytes: usize,
    /// Bytes of all webhook bodies beyond 64 KiB that are in memory at once, and one more body beside.
    pub max_hook_buffered_bytes: usize,
    /// Bytes of one streamed NDJSON body.
    pub max_stream_bytes: u64,
    /// The whole header of a connection's first request must have arrived after so long.
    pub first_header_deadline_ms: u64,
    /// The same for a later request; an idle connection is kept as long.
    pub header_deadline_ms: u64,
    /// Longest silence within a body, and longest refusal to read an answer.
    pub idle_deadline_ms: u64,
    /// From the header of a webhook to the end of its body.
    pub hook_deadline_ms: u64,
    /// From the header to the answer.
    pub request_deadline_ms: u64,
    /// How long one NDJSON stream may go on.
    pub stream_deadline_ms: u64,
    /// How long `/readyz` and `/healthz` wait for the store.
    pub health_deadline_ms: u64,
    /// How long requests may go on once the port is told to close.
    pub close_deadline_ms: u64,
}

impl Config {
    pub const PORT: u16 = 7717;
    /// An envelope without its payload: 255 characters of key, 4 KiB of meta, a hundred dependencies, follow-ups' options.
    pub const ENVELOPE_BYTES: usize = 64 << 10;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, Self::PORT)),
            token: None,
            token_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            behind_proxy: Vec::new(),
            allowed_hosts: Vec::new(),
            // A producer that has more brings several jobs a call.
            calls_per_token: 1000,
            // A whole office, or a proxy that is not on this machine.
            calls_per_address: 10_000,
            failures_per_address: 10,
            max_connections: 1024,
            // A whole office behind one address stays below; four strangers together do not fill the port.
            max_connections_per_peer: 256,
            // One job with the largest payload that any configuration allows.
            max_body_bytes: Limits::PAYLOAD_HARD + Self::ENVELOPE_BYTES,
            max_payload_bytes: Limits::PAYLOAD_DEFAULT,
            // Stripe and Standard Webhooks senders stay far below; GitHub may send 25 MB, for whoever needs that.
            max_hook_bytes: 1 << 20,
            // Eight of the largest bodies, on a machine that also runs a database and a web server.
            max_buffered_bytes: 128 << 20,
            // Webhooks are a few KiB, which are not counted; what is counted is a burst of large ones.
            max_hook_buffered_bytes: 16 << 20,
            max_stream_bytes: 4 << 30,
            // A header is one packet. Who has not sent it after five seconds and two retransmissions is not coming.
            first_header_deadline_ms: 5000,
            // Browsers and proxies keep idle connections for half a minute and more.
            header_deadline_ms: 30_000,
            idle_deadline_ms: 10_000,
            // As long as the most patient senders wait for an answer; the cap of the body is known, so is the time it takes.
            hook_deadline_ms: 10_000,
            // Longer than any store call's own deadline, so that the store's word arrives and not ours.
            request_deadline_ms: 60_000,
            stream_deadline_ms: 3_600_000,
            // Probes give up after a second.
            health_deadline_ms: 900,
            close_deadline_ms: 5_000,
        }
    }
}

impl Config {
    /// # Errors
    /// One sentence about the first setting that cannot work.
    pub fn check(&self) -> Result<(), String> {
        let has_token = self.token.is_some() || self.token_file.is_some();
        if !self.listen.ip().is_loopback() && !has_token {
            return Err(format!(
                "control.listen = {} can be reached from other machines, which needs a token: set control.token_file (or \
                 WINDLASS__CONTROL__TOKEN), or listen on 127.0.0.1",
                self.listen
            ));
        }
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            return Err("control.tls_cert_file and control.tls_key_file go together; set both, or neither".into());
        }
        if self.tls_client_ca_file.is_some() && !self.speaks_tls() {
            return Err("control.tls_client_ca_file asks callers for certificates, which needs TLS: set control.tls_cert_file and control.tls_key_file".into());
        }
        if self.token.is_some() && self.token_file.is_some() {
            return Err("control.token and control.token_file are both set; keep one of them".into());
        }
        if let Some(token) = &self.token {
            token_is_usable(token.expose_secret())?;
        }
        if let Some(host) = self.allowed_hosts.iter().find(|host| host.is_empty() || host.contains(['/', ' ', '*'])) {
            return Err(format!("control.allowed_hosts has {host:?}; write plain host names, such as windlass.internal"));
        }
        self.check_sizes()
    }

    /// Whether these settings go with the webhook sources. Who names a source will let strangers reach `/hooks/`, through a proxy
    /// or a tunnel that in most set-ups forwards every other path as well, from an address of this machine: without a token
    /// that would be an administrator.
    ///
    /// # Errors
    /// One sentence about the first thing that does not fit.
    pub fn goes_with(&self, webhooks: &signatures::Config) -> Result<(), String> {
        for name in webhooks.sources.keys() {
            hooks::source_name(name)?;
        }
        let has_token = self.token.as_ref().is_some_and(|token| !token.expose_secret().is_empty()) || self.token_file.is_some();
        match webhooks.sources.keys().next() {
            Some(name) if !has_token => Err(format!(
                "webhooks.sources.{name} is set and control.token is not, so whatever lets its sender reach /hooks/ would let \
                 strangers administer this daemon: set control.token_file, or WINDLASS__CONTROL__TOKEN to the output of `openssl rand -hex 32`"
            )),
            _ => Ok(()),
        }
    }

    /// Whether a daemon may listen like this: not in the open, where others can listen too. Reads the files of TLS and of the token and throws them away.
    ///
    /// # Errors
    /// One sentence about the first thing that does not fit, or the first file that cannot be used.
    pub fn may_serve(&self, webhooks: &signatures::Config) -> Result<(), String> {
        if !self.listen.ip().is_loopback() && !self.speaks_tls() && self.behind_proxy.is_empty() {
            return Err(format!(
                "control.listen = {} can be reached from other machines, and tokens would cross the network in the open: set \
                 control.tls_cert_file and control.tls_key_file, or name the proxies that do TLS in control.behind_proxy, or listen on 127.0.0.1",
                self.listen
            ));
        }
        self.own_token(!webhooks.sources.is_empty())?;
        Tls::of(self, Timestamp(0)).map(drop)
    }

    /// The token that may do everything, if there is one.
    ///
    /// # Errors
    /// One sentence about a file that cannot be read, or a token that cannot be one where `strangers` come.
    pub(super) fn own_token(&self, strangers: bool) -> Result<Option<SecretString>, String> {
        let token = secret::of("control.token", self.token.as_ref(), self.token_file.as_deref()).map_err(|error| error.to_string())?;
        if let Some(token) = token.as_ref().map(SecretString::expose_secret) {
            token_is_usable(token)?;
            token_is_of_its_own(token)?;
            if strangers || self.is_for_others() {
                token_is_long_enough(token)?;
            }
        }
        Ok(token)
    }

    /// Whether others than programs of this machine may come to the port, straight or through a proxy.
    fn is_for_others(&self) -> bool {
        !self.listen.ip().is_loopback() || !self.behind_proxy.is_empty()
    }

    /// Whether the port speaks TLS.
    #[must_use]
    pub const fn speaks_tls(&self) -> bool {
        self.tls_cert_file.is_some()
    }

    fn check_sizes(&self) -> Result<(), String> {
        let whole = |name: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) { Ok(()) } else { Err(format!("control.{name} = {value} must be {least} to {most}")) }
        };
        let bytes = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        whole("calls_per_token", self.calls_per_token.into(), 0, 1_000_000)?;
        whole("calls_per_address", self.calls_per_address.into(), 0, 1_000_000)?;
        whole("failures_per_address", self.failures_per_address.into(), 0, 1_000_000)?;
        whole("max_connections", bytes(self.max_connections), 1, 65_536)?;
        whole("max_connections_per_peer", bytes(self.max_connections_per_peer), 1, 65_536)?;
        whole("max_payload_bytes", bytes(self.max_payload_bytes), 1, bytes(Limits::PAYLOAD_HARD))?;
        whole("max_body_bytes", bytes(self.max_body_bytes), 1024, 1 << 30)?;
        whole("max_hook_bytes", bytes(self.max_hook_bytes), 1024, bytes(self.max_body_bytes))?;
        whole("max_buffered_bytes", bytes(self.max_buffered_bytes), bytes(self.max_body_bytes), 1 << 40)?;
        whole("max_hook_buffered_bytes", bytes(self.max_hook_buffered_bytes), 1024, 1 << 40)?;
        whole("max_stream_bytes", self.max_stream_bytes, bytes(self.max_body_bytes), 1 << 50)?;
        for (name, value) in [
            ("first_header_deadline_ms", self.first_header_deadline_ms),
            ("header_deadline_ms", self.header_deadline_ms),
            ("idle_deadline_ms", self.idle_deadline_ms),
            ("hook_deadline_ms", self.hook_deadline_ms),
            ("request_deadline_ms", self.request_deadline_ms),
            ("stream_deadline_ms", self.stream_deadline_ms),
            ("health_deadline_ms", self.health_deadline_ms),
            ("close_deadline_ms", self.close_deadline_ms),
        ] {
            whole(name, value, 1, 86_400_000)?;
        }
        Ok(())
    }

    pub(super) const fn first_header_deadline(&self) -> Duration {
        Duration::from_millis(self.first_header_deadline_ms)
    }

    pub(super) const fn header_deadline(&self) -> Duration {
        Duration::from_millis(self.header_deadline_ms)
    }

    pub(super) const fn idle_deadline(&self) -> Duration {
        Duration::from_millis(self.idle_deadline_ms)
    }

    pub(super) const fn hook_deadline(&self) -> Duration {
        Duration::from_millis(self.hook_deadline_ms)
    }

    pub(super) const fn request_deadline(&self) -> Duration {
        Duration::from_millis(self.request_deadline_ms)
    }

    pub(super) const fn stream_deadline(&self) -> Duration {
        Duration::from_millis(self.stream_deadline_ms)
    }

    pub(super) const fn health_deadline(&self) -> Duration {
        Duration::from_millis(self.health_deadline_ms)
    }

    pub(super) const fn close_deadline(&self) -> Duration {
        Duration::from_millis(self.close_deadline_ms)
    }

    pub(super) const fn limits(&self) -> Limits {
        Limits { payload_bytes: self.max_payload_bytes }
    }
}

/// What can stand in an `Authorization` header and is worth asking for.
fn token_is_usable(token: &str) -> Result<(), String> {
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "the control token is empty or has characters that no header can carry; use letters and digits, such as the output of \
                    `openssl rand -hex 32`"
                .into(),
        );
    }
    Ok(())
}

/// Whoever reaches a port may try tokens on it, and this one may do everything.
fn token_is_long_enough(token: &str) -> Result<(), String> {
    if token.len() < TOKEN_BYTES {
        return Err(format!(
            "control.token has {} characters, and a port that others can reach needs one of at least {TOKEN_BYTES}, made by chance: use the output of \
             `openssl rand -hex 32`",
            token.len()
        ));
    }
    Ok(())
}

/// The daemon's token may do everything, so it is none that was made to do less.
fn token_is_of_its_own(token: &str) -> Result<(), String> {
    match ShownToken::parse(token) {
        Some(_) => {
            Err("control.token is one that `windlass token create` made, and would lose its bounds: leave control.token out, or give the \
                        daemon one of its own, such as the output of `openssl rand -hex 32`; the made one is for those who call"
                .into())
        }
        None => Ok(()),
    }
}
