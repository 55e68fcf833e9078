//! `/metrics`: the counters as they stand, with the gauges that mirror the store read afresh. Counts come from the store's own
//! counters, never from a scan (contract 4).

use super::{Problem, State};
use crate::{job::State as JobState, store::QueueStatus, telemetry::Metrics};
use axum::{
    extract,
    http::header,
    response::{IntoResponse as _, Response},
};

/// Quarantined rows are looked at one by one, and there should be none; beyond this many the number no longer matters.
const COUNTED_QUARANTINE: usize = 1000;

pub(super) async fn scrape(extract::State(state): extract::State<State>) -> Result<Response, Problem> {
    let deadline = state.in_force().config.health_deadline();
    // A store that is away must not hide the metrics that say so.
    let queues = tokio::time::timeout(deadline, state.store.queues(None)).await.ok().and_then(Result::ok);
    let quarantined = tokio::time::timeout(deadline, state.store.quarantined(COUNTED_QUARANTINE)).await.ok().and_then(Result::ok);
    let text = {
        let _alone = state.scraping.lock().await;
        mirror(&state.metrics, queues.as_deref().unwrap_or_default());
        if let Some(rows) = quarantined {
            state.metrics.jobs_quarantined.with_label_values::<&str>(&[]).set(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        }
        state.metrics.render()
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Sets the queues' gauges to what the store says now. What it no longer knows, or cannot say, is absent rather than stale.
fn mirror(metrics: &Metrics, queues: &[QueueStatus]) {
    metrics.queue_jobs.reset();
    metrics.queue_oldest_ready_age.reset();
    metrics.queue_paused.reset();
    for queue in queues {
        let name = queue.name.as_str();
        for state in JobState::ALL {
            let jobs = queue.jobs.get(&state).copied().unwrap_or(0);
            metrics.queue_jobs.with_label_values(&[name, state.as_str()]).set(i64::try_from(jobs).unwrap_or(i64::MAX));
        }
        let oldest_secs = queue.oldest_queued_ms.map_or(0.0, |ms| std::time::Duration::from_millis(ms).as_secs_f64());
        metrics.queue_oldest_ready_age.with_label_values(&[name]).set(oldest_secs);
        metrics.queue_paused.with_label_values(&[name]).set(i64::from(queue.paused.is_some()));
    }
}
