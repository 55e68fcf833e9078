//! The one HTTP client: pooled, with deadlines, a cap on every body, no redirects, no proxies, no decompression, and the
//! guard of [`super::guard`] between a foreign URL and our network. What an answer means is its caller's affair.

use super::{
    ProviderError, excerpt,
    guard::{Guard, Refusal},
    lookup::{Lookup, SystemLookup},
    retry_after, tls,
};
use crate::{
    clock::Clock,
    job::{ErrorClass, Timestamp},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use ipnet::IpNet;
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::ClientConfig;
use serde::Deserialize;
use std::{error::Error as StdError, sync::Arc, time::Duration};
use url::Url;

/// `[outbound]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address ranges that calls to foreign URLs may reach besides public ones.
    pub allow: Vec<IpNet>,
    /// Ports below 1024 that such calls may use.
    pub low_ports: Vec<u16>,
    /// Refuse plain http for such calls.
    pub https_only: bool,
    /// Name lookup, TCP and TLS together.
    pub connect_timeout_ms: u64,
    /// No call lasts longer, whatever it asks for.
    pub max_timeout_ms: u64,
    /// The most that is read of an answer.
    pub max_body_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            low_ports: vec![80, 443],
            https_only: false,
            connect_timeout_ms: 10_000,
            // What the vendors' own libraries wait for a model to finish.
            max_timeout_ms: 600_000,
            // The largest honest answer is a page of SERP items, a few MiB.
            max_body_bytes: 16 << 20,
        }
    }
}

/// Who wrote the URL, and so whether the guard looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFrom {
    /// A producer or a template: guarded.
    Job,
    /// The operator: may point anywhere, loopback included.
    Config,
}

/// What happens to an answer's body beyond the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The answer is useless without all of it: [`CallError::TooLarge`].
    Whole,
    /// The first bytes will do, the rest is not read.
    First(usize),
}

#[derive(Clone, Debug)]
pub struct Call {
    pub url_from: UrlFrom,
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// From the lookup of the name to the last byte of the answer.
    pub timeout: Duration,
    pub keep: Keep,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// There was more of the body than was kept.
    pub truncated: bool,
    /// What `Retry-After` or `retry-after-ms` asked for.
    pub retry_after: Option<Duration>,
    /// When the answer was complete, for rules that wait until tomorrow.
    pub received_at: Timestamp,
}

/// Why there is no answer. Names no URL: it may hold a token.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the connection ended before the answer was complete: {0}")]
    Broken(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request cannot be sent: {0}")]
    Invalid(String),
}

impl CallError {
    /// A stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "address_refused",
            Self::Timeout(_) => "timeout",
            Self::Connect(_) => "connect",
            Self::Broken(_) => "connection_lost",
            Self::TooLarge(_) => "answer_too_large",
            Self::Invalid(_) => "invalid_request",
        }
    }

    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Timeout(_) => ErrorClass::Timeout,
            Self::Connect(_) | Self::Broken(_) => ErrorClass::Retry,
            Self::Refused(_) | Self::TooLarge(_) | Self::Invalid(_) => ErrorClass::Permanent,
        }
    }
}

impl From<CallError> for ProviderError {
    fn from(error: CallError) -> Self {
        let unanswered = matches!(error, CallError::Timeout(_) | CallError::Broken(_));
        Self { unanswered, ..Self::new(error.class(), error.code(), error.to_string()) }
    }
}

/// Looks a name up once per connection and lets only judged addresses through to the dialler.
struct GuardedLookup {
    guard: Arc<Guard>,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookup) = (Arc::clone(&self.guard), Arc::clone(&self.lookup));
        Box::pin(async move {
            let addresses = lookup.lookup(name.as_str()).await?;
            let judged = guard.resolved(name.as_str(), addresses)?;
            Ok(Box::new(judged.into_iter()) as Addrs)
        })
    }
}

/// For the operator's own names, which may point anywhere.
struct PlainLookup(SystemLookup);

impl Resolve for PlainLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.0.clone();
        Box::pin(async move { Ok(Box::new(lookup.lookup(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

/// Cheap to clone: handles on two connection pools, one guarded and one for the operator's own URLs.
#[derive(Clone, Debug)]
pub struct Http {
    guarded: reqwest::Client,
    unguarded: reqwest::Client,
    guard: Arc<Guard>,
    max_timeout: Duration,
    max_body_bytes: usize,
    clock: Clock,
}

impl Http {
    /// # Errors
    /// When the TLS stack cannot be set up; with the certificates compiled in that is a fault of the build.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, reqwest::Error> {
        Self::with_lookup(config, clock, Arc::new(system_lookup(config)))
    }

    /// # Errors
    /// As [`Http::new`].
    pub fn with_lookup(config: &Config, clock: Clock, lookup: Arc<dyn Lookup>) -> Result<Self, reqwest::Error> {
        for net in config.allow.iter().filter(|net| is_too_wide(net)) {
            tracing::warn!(%net, "outbound.allow opens so wide a range that the address guard protects little; name the receivers' own range");
        }
        let tls = tls::config();
        let guard = Arc::new(Guard { allow: config.allow.clone(), low_ports: config.low_ports.clone(), https_only: config.https_only });
        let guarded = client(config, tls.clone()).dns_resolver(GuardedLookup { guard: Arc::clone(&guard), lookup }).build()?;
        // Places of its own: names that jobs bring cannot keep the providers' from being looked up.
        let unguarded = client(config, tls).dns_resolver(PlainLookup(system_lookup(config))).build()?;
        let max_timeout = Duration::from_millis(config.max_timeout_ms);
        Ok(Self { guarded, unguarded, guard, max_timeout, max_body_bytes: config.max_body_bytes, clock })
    }

    /// One exchange. Whatever the status, an answer is `Ok`.
    ///
    /// # Errors
    /// Why there is no complete answer.
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let client = match call.url_from {
            UrlFrom::Config => &self.unguarded,
            UrlFrom::Job => {
                // The dialler asks no resolver about an address literal, so this is where those are judged.
                self.guard.url(&call.url)?;
                &self.guarded
            }
        };
        let timeout = call.timeout.min(self.max_timeout);
        tokio::time::timeout(timeout, self.exchange(client, call)).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    async fn exchange(&self, client: &reqwest::Client, call: Call) -> Result<Answer, CallError> {
        let request = client.request(call.method, call.url).headers(call.headers).body(call.body);
        let mut response = request.send().await.map_err(sending)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let (body, truncated) = self.read(response, call.keep).await?;
        let received_at = self.clock.now();
        let retry_after = retry_after::of(&headers, received_at);
        Ok(Answer { status, headers, body, truncated, retry_after, received_at })
    }

    async fn read(&self, mut response: reqwest::Response, keep: Keep) -> Result<(Bytes, bool), CallError> {
        let cap = match keep {
            Keep::Whole => self.max_body_bytes,
            Keep::First(bytes) => bytes.min(self.max_body_bytes),
        };
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| CallError::Broken(cause(&e)))? {
            let room = cap - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return if keep == Keep::Whole { Err(CallError::TooLarge(cap)) } else { Ok((body.freeze(), true)) };
            }
        }
        Ok((body.freeze(), false))
    }
}

/// Half of the time to connect for finding a place, so that whoever waits still hears why.
fn system_lookup(config: &Config) -> SystemLookup {
    SystemLookup::new(Duration::from_millis(config.connect_timeout_ms / 2))
}

fn client(config: &Config, tls: ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        // Enough for one busy receiver; idle connections beyond it only cost memory on both sides.
        .pool_max_idle_per_host(64)
        // Shorter than what common servers and balancers keep (60 s), so that they rarely close under our hands.
        .pool_idle_timeout(Duration::from_secs(45))
}

/// Wider than the widest private range.
fn is_too_wide(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 7,
    }
}

fn sending(error: reqwest::Error) -> CallError {
    if let Some(refusal) = find::<Refusal>(&error) {
        return CallError::Refused(refusal.clone());
    }
    if error.is_builder() {
        CallError::Invalid(cause(&error))
    } else if error.is_connect() {
        CallError::Connect(cause(&error))
    } else {
        CallError::Broken(cause(&error))
    }
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| StdError::source(*error))
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The innermost reason, which never names the URL.
fn cause(error: &reqwest::Error) -> String {
    let innermost = chain(error).skip(1).last().map(ToString::to_string);
    excerpt(&innermost.unwrap_or_else(|| "no reason given".to_owned()), 300)
}
