//! Chat completions with a structured answer, on any OpenAI-compatible server (reference: providers 1.1 to 1.4, 1.7).
//! What is asked, and whether the answer fits the schema, is the worker's affair.

mod answer;
mod errors;
mod strict;

pub use answer::{Completion, End, Tokens};

use super::{
    ProviderError,
    http::{Call, Http, Keep, UrlFrom},
};
use crate::secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use url::Url;

/// `[providers.openai]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The provider's name in metrics and usage.
    pub name: String,
    /// Up to and with the version, as the vendors print it; one without a path gets `/v1`.
    pub base_url: Url,
    pub auth: Auth,
    pub api_key: Option<SecretString>,
    pub api_key_file: Option<PathBuf>,
    pub model: String,
    pub max_tokens_field: MaxTokensField,
    pub structured: Structured,
    /// None: not sent. Reasoning models refuse it.
    pub temperature: Option<f64>,
    pub timeout_ms: u64,
    /// Sent with every call, such as `OpenAI-Organization`.
    pub headers: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "openai".into(),
            base_url: Url::parse("https://api.openai.com/v1").expect("a literal URL"),
            auth: Auth::Bearer,
            api_key: None,
            api_key_file: None,
            model: "gpt-4o-mini".into(),
            max_tokens_field: MaxTokensField::default(),
            structured: Structured::default(),
            temperature: Some(0.0),
            // Long enough for a large answer; the libraries' 600 s would hold a slot for ten minutes on a dead line.
            timeout_ms: 120_000,
            headers: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// `Authorization: Bearer …`.
    #[default]
    Bearer,
    /// `api-key: …` (Azure).
    ApiKey,
    /// A server in the house that asks for none.
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    #[default]
    MaxCompletionTokens,
    /// The older name, which most compatible servers still want.
    MaxTokens,
}

/// How the answer is held to the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// The server takes the schema itself.
    #[default]
    JsonSchema,
    /// The server only promises JSON; the schema stands in the prompt.
    JsonObject,
    /// The server promises nothing; the schema stands in the prompt.
    Prompt,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("providers.openai.api_key: {0}")]
    Secret(#[from] secret::Error),
    #[error("providers.openai.api_key holds characters that no header takes; copy it again")]
    Key,
    #[error("providers.openai.base_url must be an http or https URL")]
    BaseUrl,
    #[error("providers.openai.headers: `{0}` is no header")]
    Header(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

#[derive(Clone, Debug, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// None: the configured one.
    pub model: Option<&'a str>,
    pub messages: &'a [Message],
    /// The JSON Schema of the answer, as text.
    pub schema: &'a RawValue,
    pub max_output_tokens: u32,
    /// Goes along as `X-Client-Request-Id`, to find the call in the provider's logs.
    pub request_id: &'a str,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a RawValue,
}

#[derive(Debug)]
pub struct OpenAi {
    http: Http,
    endpoint: Url,
    headers: HeaderMap,
    config: Config,
    key: Option<SecretString>,
}

impl OpenAi {
    /// # Errors
    /// Which member of the configuration is wrong, and what to do.
    pub fn new(config: &Config, http: Http) -> Result<Self, ConfigError> {
        let key = secret::of("api_key", config.api_key.as_ref(), config.api_key_file.as_deref())?;
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in &config.headers {
            let bad = || ConfigError::Header(name.clone());
            headers.insert(HeaderName::try_from(name).map_err(|_| bad())?, HeaderValue::try_from(value).map_err(|_| bad())?);
        }
        headers.extend(key.as_ref().map(|key| credential(config.auth, key)).transpose()?.flatten());
        Ok(Self { http, endpoint: endpoint(&config.base_url)?, headers, config: config.clone(), key })
    }

    /// The provider's name in metrics and usage.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    #[must_use]
    pub fn model<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        asked.unwrap_or(&self.config.model)
    }

    /// Whether the schema travels beside the prompt; if not, it must stand in it.
    #[must_use]
    pub fn takes_schema(&self) -> bool {
        self.config.structured == Structured::JsonSchema
    }

    /// # Errors
    /// Classified: try again, slow down, give up, or wait for an operator or for money.
    pub async fn complete(&self, prompt: Prompt<'_>) -> Result<Completion, ProviderError> {
        if self.key.is_none() && self.config.auth != Auth::None {
            return Err(ProviderError::not_configured(
                "no credential for the model; set providers.openai.api_key (or api_key_file), or auth = \"none\" for a server that asks for none",
            ));
        }
        let mut headers = self.headers.clone();
        if let Ok(id) = HeaderValue::from_str(prompt.request_id) {
            headers.insert("x-client-request-id", id);
        }
        let call = Call {
            url_from: UrlFrom::Config,
            method: Method::POST,
            url: self.endpoint.clone(),
            headers,
            body: self.body(prompt).into(),
            timeout: Duration::from_millis(self.config.timeout_ms),
            keep: Keep::Whole,
        };
        let answer = self.http.call(call).await?;
        let completion =
            if answer.status.is_success() { answer::read(&answer, self.model(prompt.model)) } else { Err(errors::of_status(&answer)) };
        completion.map_err(|error| self.without_key(error))
    }

    fn body(&self, prompt: Prompt<'_>) -> Vec<u8> {
        let response_format = match self.config.structured {
            Structured::JsonSchema => {
                let strict = strict::conforms(prompt.schema.get());
                Some(ResponseFormat::JsonSchema { json_schema: NamedSchema { name: "answer", strict, schema: prompt.schema } })
            }
            Structured::JsonObject => Some(ResponseFormat::JsonObject),
            Structured::Prompt => None,
        };
        let cap = |field| (self.config.max_tokens_field == field).then_some(prompt.max_output_tokens);
        let request = Request {
            model: self.model(prompt.model),
            messages: prompt.messages,
            stream: false,
            temperature: self.config.temperature,
            response_format,
            max_completion_tokens: cap(MaxTokensField::MaxCompletionTokens),
            max_tokens: cap(MaxTokensField::MaxTokens),
        };
        serde_json::to_vec(&request).expect("our own types are JSON")
    }

    /// Some servers repeat the credential in their complaint about it.
    fn without_key(&self, mut error: ProviderError) -> ProviderError {
        if let Some(key) = &self.key {
            error.message = error.message.replace(key.expose_secret(), "[redacted]");
        }
        error
    }
}

fn credential(auth: Auth, key: &SecretString) -> Result<Option<(HeaderName, HeaderValue)>, ConfigError> {
    let (name, text) = match auth {
        Auth::None => return Ok(None),
        Auth::ApiKey => (HeaderName::from_static("api-key"), key.expose_secret().to_owned()),
        Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| ConfigError::Key)?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn endpoint(base: &Url) -> Result<Url, ConfigError> {
    if !matches!(base.scheme(), "http" | "https") {
        return Err(ConfigError::BaseUrl);
    }
    let mut url = base.clone();
    let version = base.path().trim_end_matches('/');
    url.set_path(&format!("{}/chat/completions", if version.is_empty() { "/v1" } else { version }));
    Ok(url)
}
