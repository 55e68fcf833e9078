//! The control port from the other side: what a Rust program, and our own command line while a daemon runs, calls instead of
//! HTTP. Typed answers, and a typed error read from problem+json. Asking again after a lost answer is safe, because every job
//! it enqueues has an id of its own from the start.

mod call;
mod queues;
mod trust;
mod work;

use crate::{
    control::wire::{
        Because, CancelAnswer, DaemonAnswer, DoctorAnswer, HealthAnswer, ItemAnswer, JobPage, JobRef, PageOf, PreviewAnswer,
        ProblemDocument, ReadyAnswer, RedriveAnswer, RedriveRequest, RetryAnswer, ScheduleAnswer, SessionAnswer, StatsAnswer, Stopped,
        TokenAnswer, TokenMade,
    },
    job::{
        AuditFilter, Audited, Change, Envelope, Head, Job, JobId, Json, Name, Timestamp, TokenId, TokenRequest,
        explain::Explanation,
        schedule::{Occurrence, Schedule},
    },
    store::{Enqueued, Filter, TenantLoad, dead::Groups},
};
use bytes::Bytes;
use call::{Sent, bearer, member, page_of};
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use std::{path::Path, time::Duration};
use url::Url;

/// The port is on this machine or in this rack; what takes longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than the port's own deadline, so that its word arrives.
const CALL_TIMEOUT: Duration = Duration::from_secs(75);
/// As the port has it.
const MOST_WAIT: Duration = Duration::from_secs(30);

/// Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// Why a call has no answer, in as many variants as a caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    BadAddress(String),
    /// Nobody listens there, so nothing was done.
    #[error("no daemon answers at {base}; start it with `windlass run`, or check the address")]
    Unreachable { base: String },
    /// The request may have been carried out.
    #[error("the connection to {base} broke before the answer came; ask again")]
    Lost { base: String },
    #[error("{}", .problem.detail)]
    Refused { problem: Box<ProblemDocument>, retry_after: Option<Duration> },
    /// Something answered that is not a control port, or one of another version.
    #[error("{base} answered {status} with something that is no answer of a control port; check the address and the versions")]
    Unreadable { base: String, status: u16 },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The same call may work later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused { problem, .. } => matches!(problem.status, 408 | 429 | 503),
            Self::BadAddress(_) | Self::Unreadable { .. } => false,
        }
    }

    /// The `code` of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        if let Self::Refused { problem, .. } = self { Some(&problem.code) } else { None }
    }

    fn is_not_found(&self) -> bool {
        self.code() == Some("not_found")
    }
}

/// What became of a streamed bulk call.
#[derive(Clone, Debug, Default)]
pub struct Streamed {
    /// One for each line, in order.
    pub answers: Vec<ItemAnswer>,
    /// Set when the call ended before its last line.
    pub stopped: Option<Stopped>,
}

impl Client {
    /// `base` is such as `http://127.0.0.1:7717`; nothing is sent yet.
    ///
    /// # Errors
    /// When `base` is no http or https URL, or the token cannot stand in a header.
    pub fn new(base: &str, token: Option<&SecretString>) -> Result<Self> {
        Self::trusting(base, token, None)
    }

    /// As [`Client::new`]; of an https port that shows a certificate in the file `certificates` (PEM), or one that those have signed, and not
    /// what the machine trusts.
    ///
    /// # Errors
    /// Also when the file cannot be read.
    pub fn trusting(base: &str, token: Option<&SecretString>, certificates: Option<&Path>) -> Result<Self> {
        let mut url = Url::parse(base).map_err(|e| Error::BadAddress(format!("{base:?} is no URL ({e}); write http://127.0.0.1:7717")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(Error::BadAddress(format!("{base:?} is no http or https address; write http://127.0.0.1:7717")));
        }
        // So that a path such as https://ops.example/windlass is kept when routes are joined to it.
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // The port is called directly; a proxy set for the outside world is not meant for it.
            .no_proxy()
            .default_headers(bearer(token)?)
            .tls_backend_preconfigured(trust::config(url.scheme() == "https", certificates)?)
            .build()
            .map_err(|e| Error::BadAddress(format!("an HTTP client for {base:?} cannot be made: {e}")))?;
        Ok(Self { http, base: url })
    }

    /// Whom it calls, such as `127.0.0.1:7717`.
    #[must_use]
    pub fn address(&self) -> String {
        self.base.host_str().map_or_else(String::new, |host| format!("{host}:{}", self.base.port_or_known_default().unwrap_or_default()))
    }

    // ---------------------------------------------------------------- enqueue

    /// Durable in the store's declared class once it returns.
    ///
    /// # Errors
    /// See [`Error`]; what is wrong with the envelope is in the problem's `errors`.
    pub async fn enqueue(&self, envelope: &Envelope) -> Result<Enqueued> {
        self.safely(Method::POST, "v1/jobs", Sent::json(&with_id(envelope))).await
    }

    /// All or nothing, in one commit; at most 10,000.
    ///
    /// # Errors
    /// See [`Error`]; every bad item is in the problem's `errors`.
    pub async fn enqueue_many(&self, envelopes: &[Envelope]) -> Result<Vec<Enqueued>> {
        let named: Vec<Envelope> = envelopes.iter().map(with_id).collect();
        self.safely(Method::POST, "v1/jobs", Sent::json(&named)).await
    }

    /// As [`Client::enqueue_many`], but bad items do not stop good ones: an answer per item, in order.
    ///
    /// # Errors
    /// When the call as a whole failed.
    pub async fn enqueue_each(&self, envelopes: &[Envelope]) -> Result<Vec<ItemAnswer>> {
        let named: Vec<Envelope> = envelopes.iter().map(with_id).collect();
        self.safely(Method::POST, "v1/jobs?partial=true", Sent::json(&named)).await
    }

    /// Envelopes as NDJSON text, one a line, a commit per thousand. With `partial`, bad lines do not stop good ones; without it
    /// one bad line means that nothing is written. Not asked again by itself: the lines may have no ids of their own.
    ///
    /// # Errors
    /// When the call as a whole failed before its first commit.
    pub async fn enqueue_ndjson(&self, lines: impl Into<Bytes>, partial: bool) -> Result<Streamed> {
        let path = if partial { "v1/jobs?partial=true" } else { "v1/jobs" };
        let text = self.call(Method::POST, path, Sent::Ndjson(lines.into())).await?;
        let mut streamed = Streamed::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Ok(stopped) = serde_json::from_slice::<Stopped>(line) {
                streamed.stopped = Some(stopped);
            } else {
                streamed.answers.push(self.read(StatusCode::OK, line)?);
            }
        }
        Ok(streamed)
    }

    // ---------------------------------------------------------------- jobs

    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, id: JobId) -> Result<Option<Job>> {
        found(self.safely(Method::GET, &format!("v1/jobs/{id}"), Sent::Nothing).await)
    }

    /// The job once it is final, or as it stands after `patience`; the port waits at most half a minute a call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_when_final(&self, id: JobId, patience: Duration) -> Result<Option<Job>> {
        let wait_ms = patience.min(MOST_WAIT).as_millis();
        found(self.safely(Method::GET, &format!("v1/jobs/{id}?wait_ms={wait_ms}"), Sent::Nothing).await)
    }

    /// What holds a job back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn explain(&self, id: JobId) -> Result<Option<Explanation>> {
        found(self.safely(Method::GET, &format!("v1/jobs/{id}/explain"), Sent::Nothing).await)
    }

    /// The daemons, the oldest first; those that fell silent in the last hour too.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn daemons(&self) -> Result<Vec<DaemonAnswer>> {
        self.safely(Method::GET, "v1/daemons", Sent::Nothing).await
    }

    /// Newest first, at most `limit` (1 to 1000).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<JobPage> {
        self.safely(Method::GET, &listing("v1/jobs", filter, cursor, Some(limit)), Sent::Nothing).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn cancel(&self, id: JobId, reason: Option<&str>) -> Result<CancelAnswer> {
        self.json(Method::POST, &format!("v1/jobs/{id}/cancel"), because(reason)).await
    }

    /// Due now if it waits, back in its queue if it is dead.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn retry(&self, id: JobId) -> Result<RetryAnswer> {
        self.json(Method::POST, &format!("v1/jobs/{id}/retry"), Sent::Nothing).await
    }

    /// Wakes the job that was parked with `token`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn unpark(&self, token: &str, answer: Option<&Json>) -> Result<JobId> {
        let body = answer.map_or(Sent::Nothing, Sent::json);
        let woken: JobRef = self.json(Method::POST, &format!("v1/unpark/{}", member(token)), body).await?;
        Ok(woken.id)
    }

    // ---------------------------------------------------------------- dead letters

    /// Newest first, at most `limit` (1 to 1000). The filter's state is ignored.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dead(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<JobPage> {
        let filter = Filter { state: None, ..filter.clone() };
        self.safely(Method::GET, &listing("v1/dead", &filter, cursor, Some(limit)), Sent::Nothing).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn dead_letter(&self, id: JobId) -> Result<Option<Job>> {
        found(self.safely(Method::GET, &format!("v1/dead/{id}"), Sent::Nothing).await)
    }

    /// What dead letters died of.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dead_groups(&self, filter: &Filter, cursor: Option<&str>) -> Result<Groups> {
        let path = listing("v1/dead/groups", &Filter { state: None, ..filter.clone() }, cursor, None);
        self.safely(Method::GET, &path, Sent::Nothing).await
    }

    /// Changes a job that waits, or a dead letter. Answers the job as it is then.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn edit(&self, id: JobId, change: &Change) -> Result<Job> {
        self.json(Method::PATCH, &format!("v1/jobs/{id}"), Sent::json(change)).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn redrive(&self, id: JobId) -> Result<RetryAnswer> {
        self.json(Method::POST, &format!("v1/dead/{id}/redrive"), Sent::Nothing).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn redrive_many(&self, which: &RedriveRequest) -> Result<RedriveAnswer> {
        self.json(Method::POST, "v1/dead/redrive", Sent::json(which)).await
    }

    /// Removes a dead letter for good.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge(&self, id: JobId) -> Result<()> {
        self.call(Method::DELETE, &format!("v1/dead/{id}"), Sent::Nothing).await.map(drop)
    }

    // ---------------------------------------------------------------- all together

    /// How it all stands.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stats(&self) -> Result<StatsAnswer> {
        self.safely(Method::GET, "v1/stats", Sent::Nothing).await
    }

    /// The tenants with jobs in lines or running, by name, at most `limit` (1 to 1000).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tenants(&self, cursor: Option<&str>, limit: usize) -> Result<PageOf<TenantLoad>> {
        let from = cursor.map(|cursor| format!("&cursor={}", member(cursor))).unwrap_or_default();
        self.safely(Method::GET, &format!("v1/tenants?limit={limit}{from}"), Sent::Nothing).await
    }

    /// What is well with the daemon's store and machine, and what is not.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn doctor(&self) -> Result<DoctorAnswer> {
        self.safely(Method::GET, "v1/doctor", Sent::Nothing).await
    }

    // ---------------------------------------------------------------- schedules

    /// All of them, by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn schedules(&self) -> Result<Vec<ScheduleAnswer>> {
        let (mut all, mut path) = (Vec::new(), "v1/schedules?limit=1000".to_owned());
        loop {
            let page: PageOf<ScheduleAnswer> = self.safely(Method::GET, &path, Sent::Nothing).await?;
            all.extend(page.items);
            let Some(next) = page.next else { return Ok(all) };
            path = format!("v1/schedules?limit=1000&cursor={}", member(&next));
        }
    }

    /// # Errors
    /// See [`Error`].
    pub async fn schedule(&self, name: &Name) -> Result<Option<ScheduleAnswer>> {
        found(self.safely(Method::GET, &format!("v1/schedules/{}", member(name)), Sent::Nothing).await)
    }

    /// Creates or changes it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put_schedule(&self, schedule: &Schedule) -> Result<ScheduleAnswer> {
        self.json(Method::PUT, &format!("v1/schedules/{}", member(&schedule.name)), Sent::json(schedule)).await
    }

    /// Who did what, newest first, at most `limit` (1 to 1000).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn audit(&self, filter: &AuditFilter, cursor: Option<&str>, limit: usize) -> Result<PageOf<Audited>> {
        let members = [("actor", filter.actor.as_deref()), ("action", filter.action.as_deref()), ("object", filter.object.as_deref())];
        self.safely(Method::GET, &page_of("v1/audit", &members, cursor, Some(limit)), Sent::Nothing).await
    }

    /// The last link of each of the audit's chains.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn audit_heads(&self) -> Result<Vec<Head>> {
        self.json(Method::GET, "v1/audit/heads", Sent::Nothing).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn tokens(&self) -> Result<Vec<TokenAnswer>> {
        self.json(Method::GET, "v1/tokens", Sent::Nothing).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn create_token(&self, request: &TokenRequest) -> Result<TokenMade> {
        self.json(Method::POST, "v1/tokens", Sent::json(request)).await
    }

    /// It is worth nothing any more, or after a while.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn end_token(&self, id: &TokenId, after: Duration) -> Result<()> {
        self.call(Method::DELETE, &format!("v1/tokens/{id}?after_ms={}", after.as_millis()), Sent::Nothing).await.map(drop)
    }

    /// # Errors
    /// See [`Error`].
    pub async fn delete_schedule(&self, name: &Name) -> Result<()> {
        self.call(Method::DELETE, &format!("v1/schedules/{}", member(name)), Sent::Nothing).await.map(drop)
    }

    /// # Errors
    /// See [`Error`].
    pub async fn pause_schedule(&self, name: &Name, paused: bool) -> Result<ScheduleAnswer> {
        let verb = if paused { "pause" } else { "resume" };
        self.json(Method::POST, &format!("v1/schedules/{}/{verb}", member(name)), Sent::Nothing).await
    }

    /// One job of it now, besides its occurrences.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run_schedule(&self, name: &Name) -> Result<Enqueued> {
        self.json(Method::POST, &format!("v1/schedules/{}/run", member(name)), Sent::Nothing).await
    }

    /// Its next `count` instants (1 to 1000).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn preview_schedule(&self, name: &Name, count: usize) -> Result<Vec<Timestamp>> {
        let path = format!("v1/schedules/{}/preview?n={count}", member(name));
        let preview: PreviewAnswer = self.safely(Method::GET, &path, Sent::Nothing).await?;
        Ok(preview.instants)
    }

    /// # Errors
    /// See [`Error`].
    pub async fn occurrences(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
        let path = format!("v1/schedules/{}/occurrences?limit={limit}", member(name));
        self.safely(Method::GET, &path, Sent::Nothing).await
    }

    // ---------------------------------------------------------------- the daemon

    /// What answers there, whether well or not.
    ///
    /// # Errors
    /// When nothing does.
    pub async fn health(&self) -> Result<HealthAnswer> {
        self.even_if_failing("healthz").await
    }

    /// # Errors
    /// When nothing answers.
    pub async fn ready(&self) -> Result<ReadyAnswer> {
        self.even_if_failing("readyz").await
    }

    /// Whom the daemon takes the caller for, and what that one may do.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn session(&self) -> Result<SessionAnswer> {
        self.safely(Method::GET, "v1/session", Sent::Nothing).await
    }

    /// The exposition for Prometheus.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn metrics(&self) -> Result<String> {
        let text = self.call(Method::GET, "metrics", Sent::Nothing).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn because(reason: Option<&str>) -> Sent {
    reason.map_or(Sent::Nothing, |reason| Sent::json(&Because { reason: Some(reason.to_owned()) }))
}

/// Sent twice, a job with an id is the same question twice, and gets the same answer (contract 2).
fn with_id(envelope: &Envelope) -> Envelope {
    Envelope { id: envelope.id.or_else(|| Some(JobId::mint())), ..envelope.clone() }
}

fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

fn listing(path: &str, filter: &Filter, cursor: Option<&str>, limit: Option<usize>) -> String {
    let ids: Vec<String> = filter.ids.iter().map(ToString::to_string).collect();
    let ids = (!ids.is_empty()).then(|| ids.join(","));
    let spans = [filter.created, filter.due, filter.finished].map(|span| [span.from, span.to].map(|at| at.map(|at| at.to_string())));
    let [[created_from, created_to], [due_from, due_to], [finished_from, finished_to]] = &spans;
    let fingerprint = filter.fingerprint.as_ref().map(ToString::to_string);
    let members = [
        ("id", ids.as_deref()),
        ("state", filter.state.map(|state| state.as_str())),
        ("queue", filter.queue.as_deref()),
        ("kind", filter.kind.as_deref()),
        ("tenant", filter.tenant.as_deref()),
        ("tag", filter.tag.as_deref()),
        ("fingerprint", fingerprint.as_deref()),
        ("text", filter.text.as_deref()),
        ("created_from", created_from.as_deref()),
        ("created_to", created_to.as_deref()),
        ("due_from", due_from.as_deref()),
        ("due_to", due_to.as_deref()),
        ("finished_from", finished_from.as_deref()),
        ("finished_to", finished_to.as_deref()),
    ];
    page_of(path, &members, cursor, limit)
}
