//! What can be set about the control port, and which settings do not fit together. Reading files is `state.rs`' affair.

use crate::job::Limits;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// The defaults are meant for production on one machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    /// Callers must show it as `Authorization: Bearer …`. Required as soon as `listen` is not loopback.
    pub token: Option<SecretString>,
    /// A file that holds the token, for systemd credentials; the end of its last line is not part of it.
    pub token_file: Option<PathBuf>,
    /// Names, besides this machine's own, under which a port without token may be called: a web page that points its own
    /// name at 127.0.0.1 is not among them.
    pub allowed_hosts: Vec<String>,
    /// Clients beyond these wait in the kernel's backlog.
    pub max_connections: usize,
    /// Bytes of one request, except for a streamed NDJSON body, which never is in memory as a whole.
    pub max_body_bytes: usize,
    /// Bytes of one job's payload; at most 16 MiB.
    pub max_payload_bytes: usize,
    /// Bytes of one inbound webhook.
    pub max_hook_bytes: usize,
    /// Bytes of all request bodies that are in memory at once; requests beyond wait their turn.
    pub max_buffered_bytes: usize,
    /// Bytes of one streamed NDJSON body.
    pub max_stream_bytes: u64,
    /// The whole header of a request must have arrived after so long; an idle connection is kept as long.
    pub header_deadline_ms: u64,
    /// Longest silence within a body, and longest refusal to read an answer.
    pub idle_deadline_ms: u64,
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
            allowed_hosts: Vec::new(),
            max_connections: 1024,
            // One job with the largest payload that any configuration allows.
            max_body_bytes: Limits::PAYLOAD_HARD + Self::ENVELOPE_BYTES,
            max_payload_bytes: Limits::PAYLOAD_DEFAULT,
            // Stripe and Standard Webhooks senders stay far below; GitHub may send 25 MB, for whoever needs that.
            max_hook_bytes: 1 << 20,
            // Eight of the largest bodies, on a machine that also runs a database and a web server.
            max_buffered_bytes: 128 << 20,
            max_stream_bytes: 4 << 30,
            // Browsers and proxies keep idle connections for half a minute and more; a slow sender holds one connection so long.
            header_deadline_ms: 30_000,
            idle_deadline_ms: 10_000,
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

    fn check_sizes(&self) -> Result<(), String> {
        let whole = |name: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) { Ok(()) } else { Err(format!("control.{name} = {value} must be {least} to {most}")) }
        };
        let bytes = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        whole("max_connections", bytes(self.max_connections), 1, 65_536)?;
        whole("max_payload_bytes", bytes(self.max_payload_bytes), 1, bytes(Limits::PAYLOAD_HARD))?;
        whole("max_body_bytes", bytes(self.max_body_bytes), 1024, 1 << 30)?;
        whole("max_hook_bytes", bytes(self.max_hook_bytes), 1024, bytes(self.max_body_bytes))?;
        whole("max_buffered_bytes", bytes(self.max_buffered_bytes), bytes(self.max_body_bytes), 1 << 40)?;
        whole("max_stream_bytes", self.max_stream_bytes, bytes(self.max_body_bytes), 1 << 50)?;
        for (name, value) in [
            ("header_deadline_ms", self.header_deadline_ms),
            ("idle_deadline_ms", self.idle_deadline_ms),
            ("request_deadline_ms", self.request_deadline_ms),
            ("stream_deadline_ms", self.stream_deadline_ms),
            ("health_deadline_ms", self.health_deadline_ms),
            ("close_deadline_ms", self.close_deadline_ms),
        ] {
            whole(name, value, 1, 86_400_000)?;
        }
        Ok(())
    }

    pub(super) const fn header_deadline(&self) -> Duration {
        Duration::from_millis(self.header_deadline_ms)
    }

    pub(super) const fn idle_deadline(&self) -> Duration {
        Duration::from_millis(self.idle_deadline_ms)
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
pub(super) fn token_is_usable(token: &str) -> Result<(), String> {
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "the control token is empty or has characters that no header can carry; use letters and digits, such as the output of \
                    `openssl rand -hex 32`"
                .into(),
        );
    }
    Ok(())
}
