//! `[webhooks]`: which sources may post to `/hooks/{source}`, how each proves itself, and where its events go on to.
//! The door reads the first half, the worker the second; it is one table because it is one thing to an operator.

use super::{InvalidSecret, Scheme, SecretFormat, Signer, Source};
use crate::secret;
use secrecy::SecretString;
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use url::Url;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// By the name in the URL.
    pub sources: BTreeMap<String, SourceConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    pub scheme: Scheme,
    #[serde(default)]
    pub secret_format: SecretFormat,
    /// All that are live; one more while a secret is rolled.
    #[serde(default)]
    pub secrets: Vec<SecretString>,
    /// Files that hold one secret each, tried after `secrets`.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
    /// Seconds that the sender's clock may be from ours, either way. 300 is what the senders' own libraries use.
    #[serde(default = "SourceConfig::default_tolerance_secs")]
    pub tolerance_secs: u64,
    /// Where events go on to; without it a job only records the event.
    #[serde(default)]
    pub forward_to: Option<Url>,
    /// `whsec_…`, under which events are signed as they go on.
    #[serde(default)]
    pub forward_secret: Option<SecretString>,
    #[serde(default)]
    pub forward_secret_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
#[error("webhooks.sources.{name}.{member}: {problem}")]
pub struct ConfigError {
    pub name: String,
    pub member: &'static str,
    pub problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error(transparent)]
    Invalid(#[from] InvalidSecret),
    #[error(transparent)]
    Unread(#[from] secret::Error),
    #[error("events are forwarded unsigned; set `forward_secret` to a `whsec_` secret that the receiver knows")]
    Unsigned,
    #[error("must be an http or https URL without user and password")]
    NotHttp,
}

impl SourceConfig {
    const fn default_tolerance_secs() -> u64 {
        300
    }

    /// What the door checks events with. Reads the secret files.
    ///
    /// # Errors
    /// Which member of the source `name` is wrong, and what to do.
    pub fn source(&self, name: &str) -> Result<Source, ConfigError> {
        let at = |member, problem| ConfigError { name: name.to_owned(), member, problem };
        let mut secrets = self.secrets.clone();
        for file in &self.secret_files {
            secrets.push(secret::read(file).map_err(|e| at("secret_files", e.into()))?);
        }
        let tolerance = Duration::from_secs(self.tolerance_secs);
        Source::new(self.scheme, self.secret_format, &secrets, tolerance).map_err(|e| at("secrets", e.into()))
    }

    /// Where the worker sends events on to, and with which signature; `None` when they stay here. Reads the secret file.
    ///
    /// # Errors
    /// Which member of the source `name` is wrong, and what to do.
    pub fn forward(&self, name: &str) -> Result<Option<(Url, Signer)>, ConfigError> {
        let at = |member, problem| ConfigError { name: name.to_owned(), member, problem };
        let Some(url) = &self.forward_to else { return Ok(None) };
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(at("forward_to", Problem::NotHttp));
        }
        let secret = secret::of("forward_secret", self.forward_secret.as_ref(), self.forward_secret_file.as_deref())
            .map_err(|e| at("forward_secret", e.into()))?
            .ok_or_else(|| at("forward_secret", Problem::Unsigned))?;
        let signer = Signer::new(&[secret]).map_err(|e| at("forward_secret", e.into()))?;
        Ok(Some((url.clone(), signer)))
    }
}
