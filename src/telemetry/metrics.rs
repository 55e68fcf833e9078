//! Every metric: its name, help and labels in one table. Names follow Prometheus' conventions (base units, `_total`),
//! labels never hold anything unbounded: no job ids, no tenants, no URLs.

use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

/// Cheap to clone: handles on one registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    pub build_info: IntGaugeVec,
    pub jobs_enqueued: IntCounterVec,
    pub job_attempts: IntCounterVec,
    pub job_duration: HistogramVec,
    pub job_wait: HistogramVec,
    pub queue_jobs: IntGaugeVec,
    pub queue_oldest_ready_age: GaugeVec,
    pub queue_paused: IntGaugeVec,
    pub jobs_reaped: IntCounterVec,
    pub jobs_quarantined: IntGaugeVec,
    pub leases_lost: IntCounterVec,
    pub workers: IntGaugeVec,
    pub workers_busy: IntGaugeVec,
    pub scheduler_last_tick: GaugeVec,
    pub schedule_occurrences: IntCounterVec,
    pub store_operations: HistogramVec,
    pub store_up: IntGaugeVec,
    pub store_rewinds: IntCounterVec,
    pub provider_requests: IntCounterVec,
    pub provider_request_duration: HistogramVec,
    pub ai_tokens: IntCounterVec,
    pub ai_cost_micros: IntCounterVec,
    pub inbox_entries: IntGaugeVec,
    pub inbox_taken: IntCounterVec,
    pub apalis_open: IntGaugeVec,
    pub apalis_taken: IntCounterVec,
    pub webhooks_received: IntCounterVec,
    pub webhook_rejections: IntCounterVec,
    pub deliveries: IntCounterVec,
    pub delivery_duration: HistogramVec,
    pub reminders: IntCounterVec,
    pub http_requests: IntCounterVec,
    pub http_request_duration: HistogramVec,
    pub control_refused: IntCounterVec,
}

/// From a store call to an extraction that takes ten minutes.
const JOB_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Due to start: the promise is milliseconds, the incident is hours.
const WAIT_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0];
const CALL_SECONDS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// # Panics
    /// Never: the names below are distinct and valid, which the first test to make one shows.
    #[must_use]
    pub fn new() -> Self {
        let r = Registry::new();
        Self {
            build_info: gauge(&r, "windlass_build_info", "Always 1; the labels say what runs", &["version", "store"]),
            jobs_enqueued: counter(
                &r,
                "windlass_jobs_enqueued_total",
                "Jobs that arrived through this daemon's doors",
                &["queue", "kind", "result"],
            ),
            job_attempts: counter(&r, "windlass_job_attempts_total", "Attempts settled, by how they ended", &["queue", "kind", "outcome"]),
            job_duration: histogram(&r, "windlass_job_duration_seconds", "Start to end of an attempt", &["queue", "kind"], JOB_SECONDS),
            job_wait: histogram(&r, "windlass_job_wait_seconds", "Due to start of an attempt", &["queue"], WAIT_SECONDS),
            queue_jobs: gauge(
                &r,
                "windlass_queue_jobs",
                "Jobs in the store, by state; `other` is all queues that nobody configured or works on",
                &["queue", "state"],
            ),
            queue_oldest_ready_age: float_gauge(
                &r,
                "windlass_queue_oldest_ready_age_seconds",
                "Age of the oldest job that is due and waits",
                &["queue"],
            ),
            queue_paused: gauge(&r, "windlass_queue_paused", "1 while the queue is paused; of `other` how many are", &["queue"]),
            jobs_reaped: counter(&r, "windlass_jobs_reaped_total", "Jobs taken back from holders that ended without goodbye", &["result"]),
            jobs_quarantined: gauge(&r, "windlass_jobs_quarantined", "Rows that could not be read and were put aside", &[]),
            leases_lost: counter(&r, "windlass_leases_lost_total", "Settlements refused because the lease was no longer ours", &["queue"]),
            workers: gauge(&r, "windlass_workers", "Worker slots", &["queue"]),
            workers_busy: gauge(&r, "windlass_workers_busy", "Worker slots in use", &["queue"]),
            scheduler_last_tick: float_gauge(&r, "windlass_scheduler_last_tick_timestamp_seconds", "When the scheduler last looked", &[]),
            schedule_occurrences: counter(&r, "windlass_schedule_occurrences_total", "Due instants, by what became of them", &["result"]),
            store_operations: histogram(&r, "windlass_store_operation_seconds", "Calls to the store", &["op", "result"], CALL_SECONDS),
            store_rewinds: counter(
                &r,
                "windlass_store_rewinds_total",
                "Times that the store was seen to have forgotten what it acknowledged",
                &[],
            ),
            store_up: gauge(&r, "windlass_store_up", "1 while the last call to the store went through", &[]),
            provider_requests: counter(
                &r,
                "windlass_provider_requests_total",
                "Calls to providers, by how the answer was classified",
                &["provider", "kind", "class"],
            ),
            provider_request_duration: histogram(&r, "windlass_provider_request_seconds", "Calls to providers", &["provider"], JOB_SECONDS),
            ai_tokens: counter(&r, "windlass_ai_tokens_total", "Tokens as reported by the provider", &["provider", "model", "direction"]),
            ai_cost_micros: counter(
                &r,
                "windlass_ai_cost_micros_total",
                "Cost as reported by the provider, in millionths of its currency",
                &["provider", "model"],
            ),
            inbox_entries: gauge(&r, "windlass_inbox_entries", "Entries of the inbox that are not jobs yet", &[]),
            inbox_taken: counter(&r, "windlass_inbox_taken_total", "Entries taken off the inbox, by what became of them", &["result"]),
            apalis_open: gauge(&r, "windlass_apalis_open", "Tasks of apalis that are jobs and have not ended", &["bridge"]),
            apalis_taken: counter(
                &r,
                "windlass_apalis_taken_total",
                "Tasks taken over from apalis, by what became of them",
                &["bridge", "result"],
            ),
            webhooks_received: counter(&r, "windlass_webhooks_received_total", "Inbound webhooks", &["source", "result"]),
            webhook_rejections: counter(
                &r,
                "windlass_webhook_rejections_total",
                "Inbound webhooks refused, by reason",
                &["source", "reason"],
            ),
            deliveries: counter(&r, "windlass_deliveries_total", "Outbound webhook deliveries", &["result"]),
            delivery_duration: histogram(&r, "windlass_delivery_seconds", "Outbound webhook deliveries", &["result"], JOB_SECONDS),
            reminders: counter(&r, "windlass_reminders_total", "Reminders, by what became of them", &["channel", "result"]),
            http_requests: counter(&r, "windlass_http_requests_total", "Requests to the control port", &["route", "method", "status"]),
            http_request_duration: histogram(&r, "windlass_http_request_seconds", "Requests to the control port", &["route"], CALL_SECONDS),
            control_refused: counter(
                &r,
                "windlass_control_refused_total",
                "Calls that the control port did not let in, by reason",
                &["reason"],
            ),
            registry: r,
        }
    }

    /// The exposition, text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory cannot fail, and every family was made by this file.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// One call to a provider: `kind` is the job kind, `class` one of ok, retry, permanent, auth, quota.
    pub fn provider_call(&self, provider: &str, kind: &str, class: &str, seconds: f64) {
        self.provider_requests.with_label_values(&[provider, kind, class]).inc();
        self.provider_request_duration.with_label_values(&[provider]).observe(seconds);
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    let collector = collector.expect("a valid name with valid labels");
    registry.register(Box::new(collector.clone())).expect("a name that was not taken");
    collector
}

fn counter(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(r, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(r, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn float_gauge(r: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(r, GaugeVec::new(Opts::new(name, help), labels))
}

fn histogram(r: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    register(r, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}
