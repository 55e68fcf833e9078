//! `/openapi.json`: the port as OpenAPI 3.1, made of the doors and of the types that their handlers take and answer, so that it cannot say
//! anything else than the code does. It tells nothing of what the daemon holds, and so it is open to everybody.

mod operation;
mod schemas;

pub(super) use operation::{Answers, JSON, NDJSON, Operation, Speaks, Takes};
pub(super) use schemas::Schemas;

use super::{Door, doors};
use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

const ABOUT: &str = "Enqueue, see, understand and repair jobs. Every call shows a token as `Authorization: Bearer windlass_…`; the scope \
                     that it needs stands at each. Refusals are RFC 9457 problems with a stable `code`, and say what to do. Webhooks are \
                     received at `/hooks/{source}`, signed as their sender signs, and a page for people is at `/`.";

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for door in doors() {
        let operation = described(&door, &mut schemas);
        let path = paths.entry(door.path).or_insert_with(|| json!({}));
        path[door.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Windlass", "version": "1", "description": ABOUT, "license": {"name": env!("CARGO_PKG_LICENSE")}},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "made with `windlass token create`"},
            },
        },
    });
    schemas.finish(&mut document);
    document
}

fn described(door: &Door, schemas: &mut Schemas) -> Value {
    let mut operation = Operation::of(door.path);
    (door.describe)(&mut operation, schemas);
    let whose = if door.access.within_tenant { "" } else { ", and a token that is bound to no tenant" };
    let mut told = json!({
        "operationId": door.name(),
        "summary": door.says,
        "description": format!("Needs the scope `{}`{whose}.", door.access.scope),
        "tags": [door.path.trim_start_matches("/v1").split('/').nth(1).unwrap_or_default()],
        "security": [{"token": []}],
    });
    operation.write(&mut told, schemas);
    told
}

/// `GET /openapi.json`.
pub(super) async fn show() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
