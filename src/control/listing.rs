//! What a list of jobs may be asked for in a query string: one line a member.

use super::{
    Problem,
    extract::{Asked, rows},
    openapi::{Operation, Schemas, Takes},
};
use crate::{
    job::{Fingerprint, JobId, Name, State, Timestamp},
    store::{Filter, MOST_IDS, Span},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use schemars::JsonSchema;
use serde::Deserialize;

/// Longer ones are not ours.
const CURSOR_BYTES: usize = 512;

/// A list as it is asked for.
pub(super) struct Listing {
    pub filter: Filter,
    pub cursor: Option<String>,
    pub limit: usize,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Members {
    /// One or more, separated by commas.
    #[schemars(extend("pattern" = "^[0-9a-fA-F-]{32,36}(,[0-9a-fA-F-]{32,36}){0,99}$"))]
    id: Option<String>,
    state: Option<State>,
    queue: Option<Name>,
    kind: Option<Name>,
    tenant: Option<Name>,
    tag: Option<Name>,
    /// What its last attempt died of, as `/v1/dead/groups` names it.
    fingerprint: Option<Fingerprint>,
    /// Stands somewhere in the payload, letter by letter.
    text: Option<String>,
    /// Not before.
    created_from: Option<Timestamp>,
    /// Before.
    created_to: Option<Timestamp>,
    /// Not before.
    due_from: Option<Timestamp>,
    /// Before.
    due_to: Option<Timestamp>,
    /// Not before.
    finished_from: Option<Timestamp>,
    /// Before.
    finished_to: Option<Timestamp>,
    /// As `next` of the page before has it.
    cursor: Option<String>,
    /// How many at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Asked(asked) = Asked::<Members>::from_request_parts(parts, state).await?;
        if asked.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES) {
            return Err(Problem::bad_request("bad_cursor", "the cursor is none of ours; begin again without it"));
        }
        let filter = Filter {
            ids: asked.id.as_deref().map_or(Ok(Vec::new()), ids)?,
            state: asked.state,
            queue: asked.queue,
            kind: asked.kind,
            tenant: asked.tenant,
            tag: asked.tag,
            fingerprint: asked.fingerprint,
            text: asked.text,
            created: Span { from: asked.created_from, to: asked.created_to },
            due: Span { from: asked.due_from, to: asked.due_to },
            finished: Span { from: asked.finished_from, to: asked.finished_to },
        };
        filter.check().map_err(|error| Problem::bad_request(error.code, error.message))?;
        Ok(Self { filter, cursor: asked.cursor, limit: rows(asked.limit)? })
    }
}

impl Takes for Listing {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.in_query::<Members>(schemas);
    }
}

fn ids(text: &str) -> Result<Vec<JobId>, Problem> {
    let no_id = |one: &str| {
        let shown: String = one.chars().take(40).collect();
        Problem::bad_request("bad_id", format!("`{shown}` in `id` is no job id; write up to {MOST_IDS} UUIDs, separated by commas"))
    };
    text.split(',').map(|one| one.trim().parse().map_err(|_| no_id(one))).collect()
}
