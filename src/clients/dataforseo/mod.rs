//! DataForSEO v3, Google organic live (reference: providers 2). One task a call; items stay the JSON they came as, so that
//! types and members nobody knew yet pass through. Ranking and counting is the worker's affair.

mod status;

use super::{
    ProviderError,
    http::{Answer, Call, Http, Keep, UrlFrom},
    micros,
};
use crate::{
    job::{ErrorClass, Timestamp},
    secret,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{path::PathBuf, time::Duration};
use url::Url;

/// `[providers.dataforseo]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Without the version.
    pub base_url: Url,
    pub login: String,
    /// The API password of the dashboard, not the site's.
    pub password: Option<SecretString>,
    pub password_file: Option<PathBuf>,
    pub timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: Url::parse("https://api.dataforseo.com").expect("a literal URL"),
            login: String::new(),
            password: None,
            password_file: None,
            // The server gives up after 120 s and says so; waiting a little longer lets it.
            timeout_ms: 130_000,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("providers.dataforseo.password: {0}")]
    Secret(#[from] secret::Error),
    #[error("providers.dataforseo.base_url must be an http or https URL")]
    BaseUrl,
}

/// A place or a language, by the provider's code or by its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByCodeOrName<C> {
    Code(C),
    Name(String),
}

impl<C: std::fmt::Display> std::fmt::Display for ByCodeOrName<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Query<'a> {
    pub keyword: &'a str,
    pub location: &'a ByCodeOrName<u64>,
    pub language: &'a ByCodeOrName<String>,
    /// `desktop` or `mobile`.
    pub device: &'a str,
    /// Results asked for; billed per ten.
    pub depth: u32,
    /// Comes back with the task, to find it in the provider's dashboard.
    pub tag: &'a str,
}

/// One page of results; empty when the engine found nothing.
#[derive(Debug)]
pub struct Page {
    pub task_id: String,
    pub cost_micros: Option<u64>,
    /// When the provider looked.
    pub checked_at: Option<Timestamp>,
    pub se_domain: Option<String>,
    pub check_url: Option<String>,
    pub se_results_count: Option<u64>,
    pub items: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct Task<'a> {
    keyword: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location_code: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_name: Option<&'a str>,
    device: &'a str,
    depth: u32,
    tag: &'a str,
}

impl<'a> From<&Query<'a>> for Task<'a> {
    fn from(query: &Query<'a>) -> Self {
        let (location_code, location_name) = match query.location {
            ByCodeOrName::Code(code) => (Some(*code), None),
            ByCodeOrName::Name(name) => (None, Some(name.as_str())),
        };
        let (language_code, language_name) = match query.language {
            ByCodeOrName::Code(code) => (Some(code.as_str()), None),
            ByCodeOrName::Name(name) => (None, Some(name.as_str())),
        };
        // The provider decodes `%xx` and reads `+` as a space, so the two are written as what they decode to.
        let keyword = query.keyword.replace('%', "%25").replace('+', "%2B");
        Self {
            keyword,
            location_code,
            location_name,
            language_code,
            language_name,
            device: query.device,
            depth: query.depth,
            tag: query.tag,
        }
    }
}

#[derive(Debug)]
pub struct DataForSeo {
    http: Http,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl DataForSeo {
    /// The provider's name in metrics and usage.
    pub const NAME: &'static str = "dataforseo";
    /// The function that is called: what usage records as the model.
    pub const FUNCTION: &'static str = "serp/google/organic/live/advanced";

    /// # Errors
    /// Which member of the configuration is wrong, and what to do.
    pub fn new(config: &Config, http: Http) -> Result<Self, ConfigError> {
        if !matches!(config.base_url.scheme(), "http" | "https") {
            return Err(ConfigError::BaseUrl);
        }
        let password = secret::of("password", config.password.as_ref(), config.password_file.as_deref())?;
        let authorization = password.filter(|_| !config.login.is_empty()).map(|password| basic(&config.login, &password));
        let mut endpoint = config.base_url.clone();
        endpoint.set_path(&format!("{}/v3/{}", config.base_url.path().trim_end_matches('/'), Self::FUNCTION));
        Ok(Self { http, endpoint, authorization, timeout: Duration::from_millis(config.timeout_ms) })
    }

    /// # Errors
    /// Classified by the provider's status table.
    pub async fn live(&self, query: &Query<'_>) -> Result<Page, ProviderError> {
        let Some(authorization) = self.authorization.clone() else {
            return Err(ProviderError::not_configured(
                "no credential for DataForSEO; set providers.dataforseo.login and password (or password_file)",
            ));
        };
        let json = HeaderValue::from_static("application/json");
        let call = Call {
            url_from: UrlFrom::Config,
            method: Method::POST,
            url: self.endpoint.clone(),
            headers: HeaderMap::from_iter([(header::AUTHORIZATION, authorization), (header::CONTENT_TYPE, json)]),
            body: serde_json::to_vec(&[Task::from(query)]).expect("our own types are JSON").into(),
            timeout: self.timeout,
            keep: Keep::Whole,
        };
        read(&self.http.call(call).await?)
    }
}

fn basic(login: &str, password: &SecretString) -> HeaderValue {
    let pair = BASE64_STANDARD.encode(format!("{login}:{}", password.expose_secret()));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is printable");
    value.set_sensitive(true);
    value
}

#[derive(Deserialize)]
struct Envelope<'a> {
    status_code: u32,
    #[serde(default)]
    status_message: String,
    #[serde(borrow)]
    tasks: Option<Vec<Answered<'a>>>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(default)]
    id: String,
    status_code: u32,
    #[serde(default)]
    status_message: String,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    result: Option<Vec<Found>>,
}

#[derive(Default, Deserialize)]
struct Found {
    datetime: Option<String>,
    se_domain: Option<String>,
    check_url: Option<String>,
    se_results_count: Option<u64>,
    items: Option<Vec<Box<RawValue>>>,
}

fn read(answer: &Answer) -> Result<Page, ProviderError> {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(&answer.body) else {
        return Err(no_envelope(answer));
    };
    if envelope.status_code != status::OK {
        return Err(status::error(envelope.status_code, &envelope.status_message, answer.received_at));
    }
    let task = envelope.tasks.unwrap_or_default().into_iter().next().ok_or_else(|| bad_response("holds no task"))?;
    match task.status_code {
        status::OK | status::NO_RESULTS => {}
        code => return Err(status::error(code, &task.status_message, answer.received_at)),
    }
    let found = task.result.unwrap_or_default().into_iter().next().unwrap_or_default();
    Ok(Page {
        task_id: task.id,
        cost_micros: task.cost.and_then(|cost| micros::of(cost.get())),
        checked_at: found.datetime.as_deref().and_then(instant),
        se_domain: found.se_domain,
        check_url: found.check_url,
        se_results_count: found.se_results_count,
        items: found.items.unwrap_or_default(),
    })
}

/// A proxy's page, a cut body: the status line is all there is to go by.
fn no_envelope(answer: &Answer) -> ProviderError {
    if answer.status.is_success() {
        return bad_response("is not an envelope");
    }
    let said = format!("HTTP {}", answer.status.as_u16());
    let error = status::error(status::of_http(answer.status), &said, answer.received_at);
    let retry_after = answer.retry_after.or(error.retry_after);
    error.after(retry_after)
}

fn bad_response(what: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Retry, "bad_response", format!("the provider's answer {what}"))
}

/// `2026-01-31 10:00:00 +00:00`.
fn instant(text: &str) -> Option<Timestamp> {
    chrono::DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %:z").ok().map(|time| Timestamp::from_utc(time.to_utc()))
}
