//! What the tour enqueues, and how each of it should end.

use super::senders::Sent;
use crate::{
    cli::output::shortened,
    job::{Envelope, Job, JobId, Json, Name, State},
    sandbox::Sandbox,
};
use serde_json::{Value, json};

/// How a job's life should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// At the first attempt.
    Succeeds,
    /// Fails twice, then succeeds.
    Stumbles,
    /// Gives up, is redriven, succeeds.
    Dies,
}

/// One job of the tour.
pub struct Task {
    /// What it is to a person.
    pub label: String,
    pub kind: &'static str,
    pub story: Story,
    pub id: Option<JobId>,
    /// Of a webhook: what its job is recognised by.
    pub event_id: Option<String>,
    pub job: Option<Job>,
    /// All states seen, for the view.
    seen: Option<(State, u32)>,
}

impl Task {
    fn new(label: impl Into<String>, kind: &'static str, story: Story) -> Self {
        Self { label: label.into(), kind, story, id: None, event_id: None, job: None, seen: None }
    }

    pub fn of_webhook(event: &Sent) -> Self {
        Self { event_id: Some(event.id.clone()), ..Self::new(event.label, "webhook.process", Story::Succeeds) }
    }

    pub fn state(&self) -> Option<State> {
        self.job.as_ref().map(|job| job.state)
    }

    /// Takes in what is known now; a line when that is news.
    pub fn update(&mut self, job: Job) -> Option<String> {
        let is_news = self.seen.replace((job.state, job.attempt)) != Some((job.state, job.attempt));
        let line = if is_news { self.line(&job) } else { None };
        self.job = Some(job);
        line
    }

    fn line(&self, job: &Job) -> Option<String> {
        let error = || {
            let error = job.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref());
            error.map(|error| shortened(&error.message, 90)).unwrap_or_default()
        };
        let what = match job.state {
            State::Completed => "done".to_owned(),
            State::Scheduled if job.attempt > 0 => format!("attempt {} failed, tries again: {}", job.attempt, error()),
            State::Dead => format!("gave up after {} attempts: {}", job.attempt, error()),
            State::Parked | State::Cancelled => format!("is {}: {}", job.state, job.reason.clone().unwrap_or_default()),
            _ => return None,
        };
        Some(format!("{:<16} {}: {what}", self.kind, self.label))
    }
}

/// The envelopes, and beside each the task it belongs to.
pub fn all(sandbox: &Sandbox) -> (Vec<Envelope>, Vec<Task>) {
    let receiver = sandbox.receiver_url();
    let extractions = EXTRACTIONS.iter().map(|(label, text, schema)| extraction(label, text, schema));
    let keywords = KEYWORDS.iter().map(|(keyword, place, language)| keyword_job(keyword, *place, language));
    extractions.chain(keywords).chain(reminders(&receiver)).chain(calls(&receiver)).unzip()
}

const SYLLABUS: &str = include_str!("syllabus.schema.json");
const PLAN: &str = include_str!("plan.schema.json");

const EXTRACTIONS: [(&str, &str, &str); 5] = [
    ("syllabus Cell Biology", include_str!("cell-biology.txt"), SYLLABUS),
    ("syllabus Linear Algebra", include_str!("linear-algebra.txt"), SYLLABUS),
    ("syllabus Europe since 1789", include_str!("european-history.txt"), SYLLABUS),
    ("study plan Spanish", include_str!("spanish-plan.txt"), PLAN),
    ("study plan bar examination", include_str!("bar-exam-plan.txt"), PLAN),
];

fn extraction(label: &str, text: &str, schema: &str) -> (Envelope, Task) {
    let schema: Value = serde_json::from_str(schema).expect("the demo's schemas are JSON, which a test shows");
    (envelope("ai.extract", &json!({"text": text, "schema": schema})), Task::new(label, "ai.extract", Story::Succeeds))
}

/// With DataForSEO's location codes.
const KEYWORDS: [(&str, u64, &str); 4] = [
    ("durable job queue", 2840, "en"),
    ("study planner app", 2826, "en"),
    ("hausarbeit gliederung", 2276, "de"),
    ("plan de estudio dele b1", 2724, "es"),
];

fn keyword_job(keyword: &str, location_code: u64, language_code: &str) -> (Envelope, Task) {
    let payload = json!({"keyword": keyword, "location_code": location_code, "language_code": language_code});
    let envelope =
        Envelope { unique_key: Name::new(&format!("kw:{}", keyword.replace(' ', "-"))).ok(), ..envelope("serp.refresh", &payload) };
    (envelope, Task::new(format!("ranking \"{keyword}\""), "serp.refresh", Story::Succeeds))
}

/// A few seconds ahead.
fn reminders(receiver: &str) -> [(Envelope, Task); 3] {
    let mail = |to: &str, name: &str, what: &str| {
        json!({
            "channel": "email", "to": to, "subject": "Tomorrow: {{ what }}",
            "text": "Hello {{ name }},\n\ntomorrow is {{ what }}. Sleep well.\n", "vars": {"name": name, "what": what},
        })
    };
    let nudge = json!({"channel": "http", "url": format!("{receiver}/receive/nudge"), "vars": {"student": "jonas", "plan": "Spanish"}});
    let at = |delay_ms, payload: &Value, label: &str| {
        let envelope = Envelope { delay_ms: Some(delay_ms), ..envelope("reminder.send", payload) };
        (envelope, Task::new(label, "reminder.send", Story::Succeeds))
    };
    [
        at(2000, &mail("jonas@northfield.example", "Jonas", "the first mock examination"), "mail to Jonas in 2 s"),
        at(3000, &mail("priya@northfield.example", "Priya", "the practice examination"), "mail to Priya in 3 s"),
        at(2500, &nudge, "nudge to the app in 2.5 s"),
    ]
}

/// The stand-in receiver fails the first two calls under the one path, and all under the other until it is repaired.
fn calls(receiver: &str) -> [(Envelope, Task); 2] {
    let report = json!({"report": "weekly", "courses": 3});
    let flaky = json!({"url": format!("{receiver}/receive/flaky/fail/2/status/503/then/ok"), "body": report});
    let partner = json!({"url": format!("{receiver}{}", super::PARTNER), "body": report});
    [
        (envelope("http.call", &flaky), Task::new("report to a flaky server", "http.call", Story::Stumbles)),
        (
            Envelope { max_attempts: Some(2), ..envelope("http.call", &partner) },
            Task::new("report to a partner that is down", "http.call", Story::Dies),
        ),
    ]
}

fn envelope(kind: &'static str, payload: &Value) -> Envelope {
    Envelope { id: Some(JobId::mint()), tags: Some(vec![Name::literal("demo")]), ..Envelope::new(Name::literal(kind), Json::of(payload)) }
}
