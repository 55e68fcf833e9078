//! Each worker by itself: a leased job in, an outcome out, a scripted server in place of the world.

mod extract;
mod http;
mod register;
mod reminder;
mod serp;
mod verdicts;
mod webhook;

use crate::clients::{now, open_http};
use serde_json::Value;
use std::sync::Arc;
use windlass::{
    clients,
    engine::worker::{Context, Outcome, Register, Verdict, Worker},
    job::{JobError, JobId, Json, LeasedJob, Name},
    signatures,
    telemetry::Metrics,
    workers::{self, Deps},
};

const JOB: &str = "01980000-0000-7000-8000-000000000042";

fn job(kind: &str, payload: &Value) -> LeasedJob {
    LeasedJob {
        id: JOB.parse::<JobId>().expect("an id"),
        kind: Name::new(kind).expect("a kind"),
        queue: Name::literal("test"),
        tenant: None,
        payload: Json::of(payload),
        attempt: 1,
        max_attempts: 5,
        timeout_ms: None,
        created_at: now(),
        due_at: now(),
        expires_at: None,
        concurrency_key: None,
        checkpoint: None,
        extra: None,
    }
}

/// All workers over the given configuration, with the guard open to loopback.
struct Bench {
    register: Register,
    metrics: Metrics,
}

impl Bench {
    fn new(config: &workers::Config, providers: &clients::Config, webhooks: &signatures::Config) -> Self {
        let metrics = Metrics::new();
        let deps = Deps { http: open_http(), metrics: metrics.clone(), marker_key: [7; 32] };
        let register = workers::register(config, providers, webhooks, &deps).expect("a valid configuration");
        Self { register, metrics }
    }

    fn worker(&self, kind: &str) -> Arc<dyn Worker> {
        Arc::clone(self.register.get(kind).expect("a built-in kind"))
    }

    async fn run(&self, kind: &str, payload: &Value) -> Outcome {
        self.run_job(&job(kind, payload)).await
    }

    async fn run_job(&self, job: &LeasedJob) -> Outcome {
        self.worker(&job.kind).run(job, &Context::detached(now())).await
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|l| l == line)
    }
}

fn result(outcome: &Outcome) -> Value {
    assert!(matches!(outcome.verdict, Verdict::Complete), "{outcome:?}");
    outcome.result.as_ref().expect("a result").read().expect("JSON")
}

fn rejected(outcome: &Outcome) -> &JobError {
    match &outcome.verdict {
        Verdict::Reject { error } => error,
        other => panic!("{other:?}"),
    }
}

fn retried(outcome: &Outcome) -> (&JobError, Option<u64>) {
    match &outcome.verdict {
        Verdict::Retry { error, after } => (error, after.map(|wait| u64::try_from(wait.as_millis()).expect("a short wait"))),
        other => panic!("{other:?}"),
    }
}

/// Milliseconds from the start of the test's time.
fn snoozed_ms(outcome: &Outcome) -> u64 {
    match &outcome.verdict {
        Verdict::Snooze { until } => u64::try_from(until.since(now()).as_millis()).expect("a short wait"),
        other => panic!("{other:?}"),
    }
}

fn parked(outcome: &Outcome) -> (&str, &JobError) {
    match &outcome.verdict {
        Verdict::Park { reason, until: None, token: None, error: Some(error) } => (reason, error),
        other => panic!("{other:?}"),
    }
}
