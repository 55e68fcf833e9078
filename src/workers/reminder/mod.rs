//! `reminder.send`: one message to one person, by mail or to an endpoint. *When* is the envelope's affair (`run_at`,
//! `delay_ms`, a schedule); a message that is late beyond use expires there too (`expires_at`).

mod template;

use super::{
    delivery::{self, Captured, judge_delivery},
    pool::Pool,
    run::{self, Early, Run, bad_payload},
};
use crate::{
    clients::{
        http::{Call, Http, Keep, UrlFrom},
        measured,
        smtp::{Email, Smtp},
    },
    engine::worker::{Context, Outcome, Verdict, Worker},
    job::{Effect, LeasedJob, Name},
    secret,
    signatures::{InvalidSecret, Signer},
    telemetry::Metrics,
};
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
use template::{Format, render};
use url::Url;

pub(super) const KIND: &str = "reminder.send";

/// `[workers.reminder]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `whsec_…`: reminders to endpoints are signed with it (Standard Webhooks). None: they go unsigned.
    pub http_secret: Option<SecretString>,
    pub http_secret_file: Option<PathBuf>,
    pub http_timeout_ms: u64,
    /// The most of an answer's body that becomes part of the result.
    pub capture_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { http_secret: None, http_secret_file: None, http_timeout_ms: 20_000, capture_bytes: delivery::CAPTURE_BYTES }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("workers.reminder.http_secret: {0}")]
    Unread(#[from] secret::Error),
    #[error("workers.reminder.http_secret: {0}")]
    Invalid(#[from] InvalidSecret),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Channel {
    Email,
    Http,
}

impl Channel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Http => "http",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    channel: Channel,
    to: Option<String>,
    reply_to: Option<String>,
    subject: Option<String>,
    #[serde(alias = "body")]
    text: Option<String>,
    html: Option<String>,
    /// What the templates in `subject`, `text`, `html` and `to` may use.
    #[serde(default)]
    vars: serde_json::Map<String, Value>,
    url: Option<String>,
}

/// A payload whose templates are filled in.
struct Message {
    channel: Channel,
    to: Option<String>,
    reply_to: Option<String>,
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
    vars: Value,
    url: Option<String>,
}

impl Payload {
    fn fill(self) -> Result<Message, String> {
        let vars = Value::Object(self.vars);
        let fill = |member: &str, source: Option<String>, format| source.map(|s| render(member, &s, &vars, format)).transpose();
        let message = Message {
            channel: self.channel,
            to: fill("to", self.to, Format::Text)?,
            reply_to: self.reply_to,
            subject: fill("subject", self.subject, Format::Text)?,
            text: fill("text", self.text, Format::Text)?,
            html: fill("html", self.html, Format::Html)?,
            url: self.url,
            vars,
        };
        let wrong = match message.channel {
            Channel::Email if message.to.is_none() => Some("a reminder by mail needs `to`"),
            Channel::Email if message.subject.is_none() => Some("a reminder by mail needs `subject`"),
            Channel::Email if message.text.is_none() && message.html.is_none() => Some("a reminder by mail needs `text` or `html`"),
            Channel::Email if message.url.is_some() => Some("`url` belongs to the channel http"),
            Channel::Http if message.url.is_none() => Some("a reminder by http needs `url`"),
            _ => None,
        };
        wrong.map_or(Ok(message), |sentence| Err(sentence.to_owned()))
    }
}

/// Reading a payload of a megabyte is work too.
fn filled(job: &LeasedJob) -> Result<Message, Early> {
    run::payload::<Payload>(job)?.fill().map_err(|sentence| bad_payload(&sentence))
}

#[derive(Serialize)]
struct Sent<'a> {
    channel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// The `Message-ID`, or the `webhook-id`.
    message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Captured>,
}

pub struct Reminder {
    config: Config,
    signer: Option<Signer>,
    smtp: Arc<Smtp>,
    http: Http,
    metrics: Metrics,
    pool: Pool,
}

impl Reminder {
    /// # Errors
    /// When the signing secret cannot be read or is none.
    pub fn new(config: &Config, smtp: Arc<Smtp>, http: Http, metrics: Metrics) -> Result<Self, ConfigError> {
        let secret = secret::of("http_secret", config.http_secret.as_ref(), config.http_secret_file.as_deref())?;
        let signer = secret.map(|secret| Signer::new(&[secret])).transpose()?;
        Ok(Self { config: config.clone(), signer, smtp, http, metrics, pool: Pool::new(KIND) })
    }

    async fn send(&self, run: &Run<'_>) -> Outcome {
        let job = run.job.clone();
        let message = match self.pool.run(move || filled(&job)).await.and_then(|message| message) {
            Ok(message) => message,
            Err(early) => return *early,
        };
        let sent = match message.channel {
            Channel::Email => self.by_mail(run, &message).await,
            Channel::Http => self.by_http(run, &message).await,
        };
        let channel = message.channel.as_str();
        let outcome = sent.map_or_else(
            |early| *early,
            |sent| {
                // Stable over retries, and what a provider that knows idempotency keys would be given.
                let key = format!("rem/{}/{channel}", run.job.id);
                let record = Effect::RecordSend { channel: Name::literal(channel), key, provider_id: Some(sent.message_id.clone()) };
                Outcome::complete_with(&sent).with_effect(record)
            },
        );
        self.metrics.reminders.with_label_values(&[channel, result(&outcome)]).inc();
        outcome
    }

    async fn by_mail<'m>(&self, run: &Run<'_>, message: &'m Message) -> Result<Sent<'m>, Early> {
        let id = run.job.id.to_string();
        let email = Email {
            to: message.to.as_deref().unwrap_or_default(),
            reply_to: message.reply_to.as_deref(),
            subject: message.subject.as_deref().unwrap_or_default(),
            text: message.text.as_deref(),
            html: message.html.as_deref(),
            id: &id,
            date: run.now(),
        };
        let sent = measured(&self.metrics, Smtp::NAME, KIND, self.smtp.send(email)).await.map_err(|error| run.failed(error))?;
        let (to, subject) = (message.to.as_deref(), message.subject.as_deref());
        Ok(Sent { channel: Channel::Email.as_str(), to, subject, message_id: sent.message_id, reply: Some(sent.reply), answer: None })
    }

    async fn by_http<'m>(&self, run: &Run<'_>, message: &'m Message) -> Result<Sent<'m>, Early> {
        let url = message.url.as_deref().unwrap_or_default();
        let url = Url::parse(url)
            .map_err(|e| bad_payload(&format!("`url` is not a URL ({e}); write it whole, such as https://example.com/path")))?;
        let message_id = format!("rem_{}", run.job.id);
        let body = event(run, message);
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(signer) = &self.signer {
            headers.extend(signer.headers(&message_id, run.now().to_utc(), &body));
        }
        let call = Call {
            url_from: UrlFrom::Job,
            method: Method::POST,
            url,
            headers,
            body: body.into(),
            timeout: Duration::from_millis(self.config.http_timeout_ms),
            keep: Keep::First(self.config.capture_bytes),
        };
        let answer = measured(&self.metrics, "http", KIND, async { judge_delivery(self.http.call(call).await) }).await;
        let answer = answer.map_err(|error| run.failed(error))?;
        let (to, subject) = (message.to.as_deref(), message.subject.as_deref());
        Ok(Sent { channel: Channel::Http.as_str(), to, subject, message_id, reply: None, answer: Some(Captured::from(&answer)) })
    }
}

/// The reminder as a Standard Webhooks event; its time is when it was due, not when it got through.
fn event(run: &Run<'_>, message: &Message) -> Vec<u8> {
    let (to, subject, text, html) = (&message.to, &message.subject, &message.text, &message.html);
    let data = json!({"job": run.job.id, "to": to, "subject": subject, "text": text, "html": html, "vars": message.vars});
    json!({"type": "reminder.due", "timestamp": run.job.due_at, "data": data}).to_string().into_bytes()
}

const fn result(outcome: &Outcome) -> &'static str {
    match outcome.verdict {
        Verdict::Complete => "sent",
        Verdict::Reject { .. } => "failed",
        Verdict::Park { .. } | Verdict::Snooze { .. } => "deferred",
        _ => "retried",
    }
}

#[async_trait]
impl Worker for Reminder {
    async fn run(&self, job: &LeasedJob, context: &Context) -> Outcome {
        self.send(&Run::begin(job, context)).await
    }
}
