//! `/metrics`: the counters as they stand, with the gauges that mirror the store read afresh. Counts come from the store's own
//! counters, never from a scan (contract 4).

use super::{
    Problem, State,
    openapi::{Answers, Operation, Schemas},
    state::Labels,
};
use crate::{job::State as JobState, store::QueueStatus, telemetry::Metrics};
use axum::{
    extract,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// Quarantined rows are looked at one by one, and there should be none; beyond this many the number no longer matters.
const COUNTED_QUARANTINE: usize = 1000;

pub(super) async fn scrape(extract::State(state): extract::State<State>) -> Result<Exposition, Problem> {
    let deadline = state.in_force().config.health_deadline();
    // A store that is away must not hide the metrics that say so.
    let queues = tokio::time::timeout(deadline, state.store().queues(None)).await.ok().and_then(Result::ok);
    let quarantined = tokio::time::timeout(deadline, state.store().quarantined(COUNTED_QUARANTINE)).await.ok().and_then(Result::ok);
    let text = {
        let _alone = state.scraping.lock().await;
        mirror(&state.metrics, &state.labels(), queues.as_deref().unwrap_or_default());
        if let Some(rows) = quarantined {
            state.metrics.jobs_quarantined.with_label_values::<&str>(&[]).set(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        }
        state.metrics.render()
    };
    Ok(Exposition(text))
}

/// Text as Prometheus reads it.
pub(super) struct Exposition(String);

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], self.0).into_response()
    }
}

impl Answers for Exposition {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.answers("200", "The metrics, as text.", &[("text/plain", json!({"type": "string"}))]);
    }
}

/// What one label shows: a queue, or all those together that have no label of their own.
#[derive(Default)]
struct Row {
    jobs: [u64; JobState::ALL.len()],
    oldest_queued_ms: u64,
    paused: i64,
}

impl Row {
    fn add(&mut self, queue: &QueueStatus) {
        for (sum, state) in self.jobs.iter_mut().zip(JobState::ALL) {
            *sum += queue.jobs.get(&state).copied().unwrap_or(0);
        }
        self.oldest_queued_ms = self.oldest_queued_ms.max(queue.oldest_queued_ms.unwrap_or(0));
        self.paused += i64::from(queue.paused.is_some());
    }
}

/// Sets the queues' gauges to what the store says now. What it no longer knows, or cannot say, is absent rather than stale. A
/// producer can name queues without end; those that nobody configured or works on are one row.
fn mirror(metrics: &Metrics, labels: &Labels, queues: &[QueueStatus]) {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for queue in queues {
        let label = if labels.knows_queue(&queue.name) { queue.name.as_str() } else { Labels::OTHER };
        rows.entry(label).or_default().add(queue);
    }
    metrics.queue_jobs.reset();
    metrics.queue_oldest_ready_age.reset();
    metrics.queue_paused.reset();
    for (label, row) in rows {
        for (state, jobs) in JobState::ALL.iter().zip(row.jobs) {
            metrics.queue_jobs.with_label_values(&[label, state.as_str()]).set(i64::try_from(jobs).unwrap_or(i64::MAX));
        }
        let oldest_secs = Duration::from_millis(row.oldest_queued_ms).as_secs_f64();
        metrics.queue_oldest_ready_age.with_label_values(&[label]).set(oldest_secs);
        metrics.queue_paused.with_label_values(&[label]).set(row.paused);
    }
}
