//! Logs for people (`text`) or for a collector (`json`), on standard error. The level can be changed while the daemon runs.

use serde::Deserialize;
use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,windlass::engine=debug`.
    pub level: String,
    pub format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Json,
}

/// Changes the level of the running process.
#[derive(Clone)]
pub struct Handle(reload::Handle<EnvFilter, Registry>);

/// Whether `level` can be used; the sentence says why not.
///
/// # Errors
/// The sentence.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(level)
        .map_err(|_| format!("\"{level}\" is no log level; write error, warn, info, debug or trace, or info,windlass::engine=debug"))
}

/// Begins logging for the whole process. Later calls change nothing but give no handle either.
///
/// # Errors
/// When the level cannot be used.
pub fn start(config: &Config) -> Result<Option<Handle>, String> {
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        Format::Text => {
            registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).boxed()).try_init()
        }
        Format::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()).try_init(),
    };
    Ok(started.is_ok().then_some(Handle(handle)))
}

impl Handle {
    /// # Errors
    /// When the level cannot be used; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|error| format!("the log level cannot be changed: {error}"))
    }
}
