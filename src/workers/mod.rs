//! What the jobs do: one room a kind, and the register of them. A worker turns a payload into a call, and the answer into an
//! [`Outcome`](crate::engine::worker::Outcome); it cannot reach the store, and it knows no queue words beyond
//! `engine::worker`.

mod delivery;
pub mod extract;
pub mod http;
mod kinds;
mod noop;
mod pool;
pub mod reminder;
mod run;
pub mod serp;
pub mod webhook;

pub use kinds::default_kinds;
pub use noop::Noop;

use crate::{
    clients::{self, dataforseo::DataForSeo, http::Http, openai, openai::OpenAi, smtp, smtp::Smtp},
    engine::worker::Register,
    signatures,
    telemetry::Metrics,
};
use serde::Deserialize;
use std::sync::Arc;
use uuid::Uuid;

/// `[workers]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub extract: extract::Config,
    pub serp: serp::Config,
    pub reminder: reminder::Config,
    pub webhook: webhook::Config,
    pub http: http::Config,
}

/// What the workers are given besides their configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    pub http: Http,
    pub metrics: Metrics,
    /// Makes the marks around foreign text unguessable. Fresh for each process; a test gives its own.
    pub marker_key: [u8; 32],
}

impl Deps {
    #[must_use]
    pub fn new(http: Http, metrics: Metrics) -> Self {
        let mut marker_key = [0; 32];
        marker_key[..16].copy_from_slice(Uuid::now_v7().as_bytes());
        marker_key[16..].copy_from_slice(Uuid::now_v7().as_bytes());
        Self { http, metrics, marker_key }
    }
}

/// A setting that no worker can start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    OpenAi(#[from] openai::ConfigError),
    #[error(transparent)]
    DataForSeo(#[from] clients::dataforseo::ConfigError),
    #[error(transparent)]
    Smtp(#[from] smtp::ConfigError),
    #[error(transparent)]
    Source(#[from] signatures::ConfigError),
    #[error(transparent)]
    Reminder(#[from] reminder::ConfigError),
    #[error(transparent)]
    Extract(#[from] extract::ConfigError),
}

/// Every built-in kind, one line each. Clients are built here, once.
///
/// # Errors
/// Which setting is wrong, and what to do.
pub fn register(config: &Config, providers: &clients::Config, webhooks: &signatures::Config, deps: &Deps) -> Result<Register, ConfigError> {
    let (http, metrics) = (&deps.http, &deps.metrics);
    let openai = OpenAi::new(&providers.openai, http.clone())?;
    let dataforseo = DataForSeo::new(&providers.dataforseo, http.clone())?;
    let smtp = Arc::new(Smtp::new(&providers.smtp)?);
    Ok(Register::default()
        .with(extract::KIND, extract::Extract::new(&config.extract, openai, metrics.clone(), deps.marker_key)?)
        .with(serp::KIND, serp::Serp::new(&config.serp, dataforseo, metrics.clone()))
        .with(reminder::KIND, reminder::Reminder::new(&config.reminder, smtp, http.clone(), metrics.clone())?)
        .with(webhook::KIND, webhook::Webhook::new(&config.webhook, webhooks, http.clone(), metrics.clone())?)
        .with(http::KIND, http::HttpCall::new(&config.http, http.clone(), metrics.clone()))
        .with(noop::KIND, Noop))
}
