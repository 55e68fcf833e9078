//! What can be set of the stand-ins before they start. Always on loopback: they know no secrets worth the name.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Defaults: free ports, any OpenAI key, the DataForSEO login `sandbox` with the password `sandbox`, no signatures asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For everything that speaks HTTP; 0 takes a free port.
    pub http_port: u16,
    pub smtp_port: u16,
    /// When set, other Bearer tokens are answered 401.
    #[serde(deserialize_with = "some_secret")]
    pub openai_key: Option<SecretString>,
    /// When not empty, other models are answered 404.
    pub openai_models: Vec<String>,
    /// Input and output tokens that a model takes together.
    pub openai_context_tokens: u64,
    /// Refuse schemas sent with `strict: true` that are outside OpenAI's strict subset, as OpenAI does and others do not.
    pub openai_strict_subset: bool,
    pub dataforseo_login: String,
    #[serde(deserialize_with = "secret")]
    pub dataforseo_password: SecretString,
    /// Per name under `/receive/`, the `whsec_…` secret that its signatures must be made with.
    #[serde(deserialize_with = "secrets")]
    pub webhook_secrets: BTreeMap<String, SecretString>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_port: 0,
            smtp_port: 0,
            openai_key: None,
            openai_models: Vec::new(),
            // What most hosted models take; long enough for a book's worth of syllabi.
            openai_context_tokens: 128_000,
            openai_strict_subset: false,
            dataforseo_login: "sandbox".to_owned(),
            // Not a secret: whoever reaches the loopback port may use the stand-in.
            dataforseo_password: SecretString::from("sandbox"),
            webhook_secrets: BTreeMap::new(),
        }
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|secret| secret.map(SecretString::from))
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let plain = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(plain.into_iter().map(|(name, secret)| (name, SecretString::from(secret))).collect())
}
