//! One call of the port: what is sent, and what an answer, a refusal and a broken connection come to.

use super::{Client, Error, Result};
use crate::{control::wire::ProblemDocument, job::Json};
use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// The port bounds a stream by silence, and by an hour.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3660);
/// A page of a thousand summaries is a megabyte, the largest job some tens.
const ANSWER_BYTES: usize = 256 << 20;

impl Client {
    /// A call that may be made twice: reading, or enqueueing under ids of our own. A kept connection that the daemon closed
    /// meanwhile loses the first try; the second one opens its own.
    pub(super) async fn safely<T: DeserializeOwned>(&self, method: Method, path: &str, body: Sent) -> Result<T> {
        match self.json(method.clone(), path, body.clone()).await {
            Err(Error::Lost { .. }) => self.json(method, path, body).await,
            answered => answered,
        }
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Sent) -> Result<T> {
        let text = self.call(method, path, body).await?;
        self.read(StatusCode::OK, &text)
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: Sent) -> Result<Bytes> {
        let (status, headers, text) = self.exchange(method, path, body).await?;
        if status.is_success() {
            return Ok(text);
        }
        let problem: ProblemDocument = self.read(status, &text)?;
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        Err(Error::Refused { problem: Box::new(problem), retry_after })
    }

    pub(super) async fn even_if_failing<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let (status, _, text) = self.exchange(Method::GET, path, Sent::Nothing).await?;
        if status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE {
            return self.read(status, &text);
        }
        Err(Error::Refused { problem: Box::new(self.read(status, &text)?), retry_after: None })
    }

    async fn exchange(&self, method: Method, path: &str, body: Sent) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let url = self.base.join(path).map_err(|e| Error::BadAddress(format!("{path:?} cannot be asked for: {e}")))?;
        let request = match body {
            Sent::Nothing => self.http.request(method, url),
            Sent::Json(text) => self.http.request(method, url).header(CONTENT_TYPE, "application/json").body(text),
            Sent::Ndjson(text) => {
                self.http.request(method, url).header(CONTENT_TYPE, "application/x-ndjson").timeout(STREAM_TIMEOUT).body(text)
            }
        };
        let mut response = request.send().await.map_err(|error| self.broken(&error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut text = BytesMut::new();
        while let Some(bytes) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if text.len() + bytes.len() > ANSWER_BYTES {
                return Err(self.unreadable(status));
            }
            text.extend_from_slice(&bytes);
        }
        Ok((status, headers, text.freeze()))
    }

    pub(super) fn read<T: DeserializeOwned>(&self, status: StatusCode, text: &[u8]) -> Result<T> {
        serde_json::from_slice(text).map_err(|_| self.unreadable(status))
    }

    fn unreadable(&self, status: StatusCode) -> Error {
        Error::Unreadable { base: self.base.to_string(), status: status.as_u16() }
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        let base = self.base.to_string();
        if error.is_connect() { Error::Unreachable { base } } else { Error::Lost { base } }
    }
}

/// The body of a request.
#[derive(Clone)]
pub(super) enum Sent {
    Nothing,
    Json(Bytes),
    Ndjson(Bytes),
}

impl Sent {
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::Json(Json::of(value).as_str().to_owned().into())
    }
}

pub(super) fn page_of(path: &str, filter: &[(&str, Option<&str>)], cursor: Option<&str>, limit: Option<usize>) -> String {
    let limit = limit.map(|limit| limit.to_string());
    let members = filter.iter().copied().chain([("cursor", cursor), ("limit", limit.as_deref())]);
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(members.filter_map(|(name, value)| Some((name, value?))));
    format!("{path}?{}", query.finish())
}

/// A text as one member of a path or query.
pub(super) fn member(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

pub(super) fn bearer(token: Option<&SecretString>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| Error::BadAddress("the token has characters that no header can carry; copy it again".into()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}
