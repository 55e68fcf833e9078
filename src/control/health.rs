//! `/livez`, `/readyz`, `/healthz`: whether the process lives, whether it should get work, and what it is (reference:
//! providers 8.4).

use super::{
    State,
    coded::Coded,
    wire::{Checks, HealthAnswer, ReadyAnswer, StoreCheck},
};
use crate::store;
use axum::{extract, http::StatusCode};
use std::time::Instant;

/// Alive unless one of the daemon's own loops stands still. Never asks the store: restarting a daemon does not repair a
/// database.
pub(super) async fn livez(extract::State(state): extract::State<State>) -> (StatusCode, &'static str) {
    if state.stalled().is_empty() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "stalled\n") }
}

/// Ready when the store answers in time and the daemon is not on its way out.
pub(super) async fn readyz(extract::State(state): extract::State<State>) -> Coded<ReadyAnswer, 200, 503> {
    let mut failed: Vec<String> = state.stalled().into_iter().map(|name| format!("stalled:{name}")).collect();
    if state.is_draining() {
        failed.push("draining".into());
    }
    if !ask_store(&state).await.0.ok {
        failed.push("store".into());
    }
    let ready = failed.is_empty();
    Coded(status(ready), ReadyAnswer { ready, failed })
}

/// What runs here and how it is.
pub(super) async fn healthz(extract::State(state): extract::State<State>) -> Coded<HealthAnswer, 200, 503> {
    let (store, durability) = ask_store(&state).await;
    let stalled = state.stalled();
    let fails = !store.ok || !stalled.is_empty();
    let word = match (fails, state.is_draining()) {
        (true, _) => "failing",
        (false, true) => "draining",
        (false, false) => "ok",
    };
    let answer = HealthAnswer {
        status: word.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_seconds: state.started.elapsed().as_secs(),
        durability,
        checks: Checks { store, stalled },
    };
    Coded(status(!fails), answer)
}

const fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub(super) async fn ask_store(state: &State) -> (StoreCheck, Option<store::Durability>) {
    let asked = Instant::now();
    let answer = tokio::time::timeout(state.in_force().config.health_deadline(), state.store().health()).await;
    let latency_ms = asked.elapsed().as_secs_f64() * 1000.0;
    match answer {
        Ok(Ok(health)) => {
            let check = StoreCheck {
                ok: true,
                latency_ms,
                store: Some(health.store.into()),
                version: Some(health.version),
                schema_version: Some(health.schema_version),
            };
            (check, Some(health.durability))
        }
        Ok(Err(_)) | Err(_) => (StoreCheck { ok: false, latency_ms, ..StoreCheck::default() }, None),
    }
}
