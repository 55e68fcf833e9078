//! What is said when the tour is over: what each job produced, whether everything ended as it should, where to look next.

use super::jobs::{Story, Task};
use crate::{
    cli::output::{Rows, shortened},
    engine::Drained,
    job::{AttemptOutcome, Job, JobId, State},
    sandbox::{Sandbox, Signature},
};
use serde::Serialize;
use serde_json::Value;
use std::{fmt, path::Path, time::Duration};

#[derive(Serialize)]
pub struct Summary {
    /// Everything ended as it should.
    pub ok: bool,
    seconds: f64,
    jobs: Vec<Line>,
    checks: Vec<Check>,
    next: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    job: String,
    id: Option<JobId>,
    kind: &'static str,
    state: Option<State>,
    /// Attempts made, those before a redrive included.
    attempts: usize,
    produced: String,
    result: Option<Value>,
}

/// One thing that must be so at the end.
#[derive(Serialize)]
pub struct Check {
    what: String,
    ok: bool,
}

impl Check {
    fn new(what: impl Into<String>, ok: bool) -> Self {
        Self { what: what.into(), ok }
    }
}

pub fn checks(tasks: &[Task], redriven: Option<&Job>, sandbox: &Sandbox, metrics: &str, trouble: Option<String>) -> Vec<Check> {
    let completed = tasks.iter().filter(|task| task.state() == Some(State::Completed)).count();
    let attempts = |story| tasks.iter().filter(move |task| task.story == story).map(attempts);
    let signed = |name: &str| {
        let receipts = sandbox.receipts().all();
        receipts.iter().filter(|receipt| receipt.name == name && receipt.signature == Signature::Valid && !receipt.duplicate).count()
    };
    let mut checks = vec![
        Check::new(format!("{completed} of {} jobs completed", tasks.len()), completed == tasks.len() && completed > 0),
        Check::new("the flaky call failed twice and then went through", attempts(Story::Stumbles).all(|n| n == 3)),
        Check::new(
            "the call to the broken partner died and was redriven",
            redriven.is_some_and(|job| job.state == State::Dead && job.attempt == 2),
        ),
        Check::new("all others needed one attempt", attempts(Story::Succeeds).all(|n| n == 1)),
        Check::new("2 mails arrived", sandbox.mailbox().came() == 2),
        Check::new("3 webhooks were passed on, each once and signed", signed("events") == 3),
        Check::new("the signed nudge arrived once", signed("nudge") == 1),
        every_row(metrics),
    ];
    checks.extend(trouble.map(|trouble| Check::new(trouble, false)));
    checks
}

/// What a tour leaves in `/metrics`: every row that does not need something to go wrong with the daemon itself.
const ROWS: [&str; 28] = [
    "windlass_build_info",
    "windlass_jobs_enqueued_total",
    "windlass_job_attempts_total",
    "windlass_job_duration_seconds",
    "windlass_job_wait_seconds",
    "windlass_queue_jobs",
    "windlass_queue_oldest_ready_age_seconds",
    "windlass_queue_paused",
    "windlass_jobs_reaped_total",
    "windlass_jobs_quarantined",
    "windlass_leases_lost_total",
    "windlass_workers",
    "windlass_workers_busy",
    "windlass_scheduler_last_tick_timestamp_seconds",
    "windlass_schedule_occurrences_total",
    "windlass_store_operation_seconds",
    "windlass_store_up",
    "windlass_provider_requests_total",
    "windlass_provider_request_seconds",
    "windlass_ai_tokens_total",
    "windlass_ai_cost_micros_total",
    "windlass_webhooks_received_total",
    "windlass_webhook_rejections_total",
    "windlass_deliveries_total",
    "windlass_delivery_seconds",
    "windlass_reminders_total",
    "windlass_http_requests_total",
    "windlass_http_request_seconds",
];

fn every_row(metrics: &str) -> Check {
    let is_there = |row: &&&str| metrics.lines().any(|line| line.strip_prefix(**row).is_some_and(|rest| rest.starts_with([' ', '{', '_'])));
    let missing: Vec<&str> = ROWS.iter().filter(|row| !is_there(row)).copied().collect();
    match missing.as_slice() {
        [] => Check::new(format!("/metrics has all {} rows that a tour fills", ROWS.len()), true),
        _ => Check::new(format!("/metrics lacks {}", missing.join(", ")), false),
    }
}

/// Of all lives: a redrive counts anew, the records go on.
fn attempts(task: &Task) -> usize {
    let ran = |outcome| matches!(outcome, AttemptOutcome::Completed | AttemptOutcome::Retried | AttemptOutcome::Dead);
    task.job.as_ref().map_or(0, |job| job.attempts.iter().filter(|attempt| ran(attempt.outcome)).count())
}

impl Summary {
    pub fn new(tasks: &[Task], mut checks: Vec<Check>, drained: Drained, kept: Option<&Path>, took: Duration) -> Self {
        checks.push(Check::new("the daemon stopped with nothing left leased", drained == Drained::default()));
        let ok = checks.iter().all(|check| check.ok);
        Self { ok, seconds: (took.as_secs_f64() * 100.0).round() / 100.0, jobs: tasks.iter().map(line).collect(), checks, next: next(kept) }
    }
}

fn line(task: &Task) -> Line {
    let result: Option<Value> = task.job.as_ref().and_then(|job| job.result.as_ref()?.read().ok());
    let produced = result.as_ref().map(|result| produced(task.kind, result)).unwrap_or_default();
    Line { job: task.label.clone(), id: task.id, kind: task.kind, state: task.state(), attempts: attempts(task), produced, result }
}

/// A result in a few words.
fn produced(kind: &str, result: &Value) -> String {
    match kind {
        "ai.extract" => extracted(&result["data"]),
        "serp.refresh" => ranked(result),
        "reminder.send" => match result["to"].as_str() {
            Some(to) => format!("\"{}\" to {to}", text(&result["subject"])),
            None => format!("signed POST, answered {}", result["answer"]["status"]),
        },
        "webhook.process" => {
            format!("{} {} passed on, answered {}", text(&result["source"]), text(&result["event_type"]), result["answer"]["status"])
        }
        _ => format!("answered {}: {}", result["status"], shortened(text(&result["body"]).trim(), 40)),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Its first words and how long its lists are.
fn extracted(data: &Value) -> String {
    let members = || data.as_object().into_iter().flatten();
    let name = ["course_title", "learner"].iter().find_map(|key| data[*key].as_str()).unwrap_or_default();
    let lists = members().filter_map(|(key, value)| Some(format!("{} {}", value.as_array()?.len(), key.replace('_', " "))));
    let lists: Vec<_> = lists.collect();
    format!("{}: {}", shortened(name, 40), lists.join(", "))
}

fn ranked(result: &Value) -> String {
    let organic = result["organic"].as_array().map_or(&[][..], Vec::as_slice);
    let first = organic.first().map_or("nobody", |first| text(&first["domain"]));
    format!("{} results, {first} is first", organic.len())
}

fn next(kept: Option<&Path>) -> Vec<String> {
    let look = match kept {
        Some(database) => format!("windlass jobs list --store sqlite:{}    what you just saw", database.display()),
        None => "windlass demo --keep tour    the same, with a store to look into afterwards".to_owned(),
    };
    vec![
        look,
        "windlass run    a daemon of your own, on http://127.0.0.1:7717".to_owned(),
        "windlass enqueue http.call '{\"url\":\"https://example.com\"}'    a job for it".to_owned(),
        "windlass sandbox    the stand-ins by themselves, for trying things out".to_owned(),
        "windlass check    every setting, and where it comes from; config/default.toml explains each".to_owned(),
    ]
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(&["job", "kind", "state", "attempts", "what it produced"]);
        for line in &self.jobs {
            let state = line.state.map(|state| state.to_string()).unwrap_or_default();
            rows.row([line.job.clone(), line.kind.to_owned(), state, line.attempts.to_string(), line.produced.clone()]);
        }
        writeln!(f, "\n{rows}")?;
        for check in &self.checks {
            writeln!(f, "{} {}", if check.ok { "ok  " } else { "FAIL" }, check.what)?;
        }
        writeln!(
            f,
            "\n{} in {} s\n\nNext:",
            if self.ok { "everything ended as it should" } else { "not everything ended as it should" },
            self.seconds
        )?;
        self.next.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
