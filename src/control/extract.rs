//! Path and query members, read by our own rules and refused with our own problems.

use super::Problem;
use crate::job::{JobId, Name};
use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

/// The one member of the route's path.
pub(super) struct Member(pub String);

impl Member {
    /// Longer texts are not looked at.
    pub const MOST_BYTES: usize = 256;
}

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("bad_path", "the path is not percent-encoded UTF-8"))?;
        if text.len() > Self::MOST_BYTES || text.contains('\0') {
            return Err(Problem::bad_request("bad_path", format!("a path member is at most {} bytes, without NUL", Self::MOST_BYTES)));
        }
        Ok(Self(text))
    }
}

pub(super) struct Id(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Member(text) = Member::from_request_parts(parts, state).await?;
        text.parse().map(Self).map_err(|_| Problem::bad_request("bad_id", "a job id is a UUID, as the answer to its enqueue shows it"))
    }
}

pub(super) struct Named(pub Name);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Member(text) = Member::from_request_parts(parts, state).await?;
        Name::new(&text).map(Self).map_err(|error| Problem::bad_request("bad_name", error.to_string()))
    }
}

/// The query string, with unknown members refused by `T`.
pub(super) struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(asked) = Query::<T>::try_from_uri(&parts.uri).map_err(|error| Problem::bad_request("bad_query", error.body_text()))?;
        Ok(Self(asked))
    }
}

/// Most rows that one call may ask for (contract of `Store::list`).
pub(super) const MOST_ROWS: usize = 1000;
const ROWS: usize = 100;

/// # Errors
/// When `asked` is 0 or more than [`MOST_ROWS`].
pub(super) fn rows(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(ROWS) {
        n @ 1..=MOST_ROWS => Ok(n),
        _ => Err(Problem::bad_request("out_of_range", format!("limit must be 1 to {MOST_ROWS}"))),
    }
}
