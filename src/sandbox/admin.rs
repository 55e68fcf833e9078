//! `/_sandbox`: the switches and everything kept, over HTTP, for a sandbox that runs as a process of its own.
//!
//! - `GET /_sandbox/switches`; `GET`, `PUT`, `DELETE /_sandbox/switches/{provider}` with [`Settings`] as JSON
//! - `GET /_sandbox/log` the calls served and their sums; `GET /_sandbox/messages`, `/receipts`, `/counts`
//! - `PUT /_sandbox/secrets/{name}` with a `whsec_…` secret as the body: signatures are asked for from then on

use super::{Backstage, Provider, Settings};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, put},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn routes() -> Router<Arc<Backstage>> {
    Router::new()
        .route("/_sandbox/switches", get(all_switches))
        .route("/_sandbox/switches/{provider}", get(switches).put(set_switches).delete(heal))
        .route("/_sandbox/log", get(log))
        .route("/_sandbox/messages", get(|State(b): State<Arc<Backstage>>| async move { Json(json!(b.mailbox.all())) }))
        .route("/_sandbox/receipts", get(|State(b): State<Arc<Backstage>>| async move { Json(json!(b.inbox.receipts().all())) }))
        .route("/_sandbox/counts", get(|State(b): State<Arc<Backstage>>| async move { Json(json!(b.inbox.all_counts())) }))
        .route("/_sandbox/secrets/{name}", put(set_secret))
}

type Shared = State<Arc<Backstage>>;

async fn all_switches(State(backstage): Shared) -> Json<BTreeMap<Provider, Settings>> {
    Json(Provider::ALL.into_iter().map(|provider| (provider, backstage.switches.get(provider))).collect())
}

async fn switches(State(backstage): Shared, Path(provider): Path<Provider>) -> Json<Settings> {
    Json(backstage.switches.get(provider))
}

async fn set_switches(State(backstage): Shared, Path(provider): Path<Provider>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(settings) => {
            backstage.switches.set(provider, settings);
            Json(backstage.switches.get(provider)).into_response()
        }
        Err(error) => refused(&format!("the body must be switches as GET shows them: {error}")),
    }
}

async fn heal(State(backstage): Shared, Path(provider): Path<Provider>) -> StatusCode {
    backstage.switches.heal(provider);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Filter {
    provider: Option<Provider>,
}

async fn log(State(backstage): Shared, Query(filter): Query<Filter>) -> Json<Value> {
    let mut calls = backstage.calls.list().all();
    calls.retain(|call| filter.provider.is_none_or(|provider| call.provider == provider));
    let totals: BTreeMap<Provider, _> = Provider::ALL.into_iter().map(|provider| (provider, backstage.calls.totals(provider))).collect();
    Json(json!({"totals": totals, "calls": calls}))
}

async fn set_secret(State(backstage): Shared, Path(name): Path<String>, secret: String) -> Response {
    match backstage.inbox.expect_signatures(&name, secret.trim()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(message) => refused(&message),
    }
}

fn refused(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": message}))).into_response()
}
