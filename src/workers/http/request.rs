//! The payload of `http.call`, and the request it asks for.

use super::Config;
use crate::{
    clients::http::{Call, Keep, UrlFrom},
    job::LeasedJob,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::Duration};
use url::Url;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload<'a> {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A string is sent as it is, any other value as the JSON it is.
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    timeout_ms: Option<u64>,
}

/// CONNECT and TRACE are for proxies; everything else is not HTTP as we speak it.
const METHODS: [Method; 7] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Headers that belong to the connection or to our own signature (reference: providers 4.1).
const BLOCKED: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];
const BLOCKED_PREFIXES: [&str; 4] = ["webhook-", "svix-", "upstash-", "windlass-"];

impl Payload<'_> {
    /// The call, or a sentence about what cannot be sent.
    pub fn call(self, job: &LeasedJob, config: &Config) -> Result<Call, String> {
        let url =
            Url::parse(&self.url).map_err(|e| format!("`url` is not a URL ({e}); write it whole, such as https://example.com/path"))?;
        let timeout_ms = self.timeout_ms.unwrap_or(config.timeout_ms);
        if !(1..=config.max_timeout_ms).contains(&timeout_ms) {
            return Err(format!("`timeout_ms` must be 1 to {}", config.max_timeout_ms));
        }
        let (body, content_type) = self.body()?;
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in &self.headers {
            let (name, value) = allowed(name, value)?;
            headers.insert(name, value);
        }
        let number = |text: String| HeaderValue::from_str(&text).expect("an id or a number is printable");
        headers.insert("windlass-job", number(job.id.to_string()));
        headers.insert("windlass-attempt", number(job.attempt.to_string()));
        Ok(Call {
            url_from: UrlFrom::Job,
            method: self.method(!body.is_empty())?,
            url,
            headers,
            body: body.into(),
            timeout: Duration::from_millis(timeout_ms),
            keep: Keep::First(config.capture_bytes),
        })
    }

    fn method(&self, has_body: bool) -> Result<Method, String> {
        let Some(name) = &self.method else { return Ok(if has_body { Method::POST } else { Method::GET }) };
        let name = name.to_ascii_uppercase();
        let names = || METHODS.map(|method| method.to_string()).join(", ");
        METHODS.into_iter().find(|method| method.as_str() == name).ok_or_else(|| format!("`method` must be one of {}", names()))
    }

    fn body(&self) -> Result<(Vec<u8>, Option<&'static str>), String> {
        match self.body.map(RawValue::get) {
            None | Some("null") => Ok((Vec::new(), None)),
            Some(text) if text.starts_with('"') => {
                let text: String = serde_json::from_str(text).map_err(|e| format!("`body` is not a JSON string: {e}"))?;
                Ok((text.into_bytes(), Some("text/plain; charset=utf-8")))
            }
            Some(json) => Ok((json.as_bytes().to_vec(), Some("application/json"))),
        }
    }
}

fn allowed(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::try_from(name).map_err(|_| format!("`{}` is not a header name", name.escape_default()))?;
    if BLOCKED.contains(&header) || BLOCKED_PREFIXES.iter().any(|prefix| header.as_str().starts_with(prefix)) {
        return Err(format!("the header `{header}` is set by the daemon or the connection; leave it out"));
    }
    let value = HeaderValue::try_from(value)
        .map_err(|_| format!("the value of the header `{header}` holds a line break or a control character"))?;
    Ok((header, value))
}
