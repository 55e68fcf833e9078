//! `windlass jobs`: look at jobs, cancel them, make them due now.

use super::{
    Place,
    door::{self, Door},
    enqueue::instant,
    exit::Exit,
    output::{Format, Rows, shortened},
    search::{self, Search},
};
use crate::{
    control::wire::{CancelAnswer, JobPage, JobSummary},
    job::{Attempt, Change, Job, JobId, Json, Name, State, Timestamp},
    store::{Filter, LOOK},
};
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List jobs, newest first
    List(Box<List>),
    /// Show everything that is known of one job
    Show {
        id: JobId,
        /// Wait so many milliseconds at most for it to complete, be cancelled or die
        #[arg(long, default_value_t = 0)]
        wait_ms: u64,
        #[command(flatten)]
        format: Format,
    },
    /// Cancel jobs; one that runs is asked to stop
    Cancel {
        #[arg(required = true)]
        ids: Vec<JobId>,
        /// Why, for those who look at it later
        #[arg(long, default_value = "cancelled by hand")]
        reason: String,
        #[command(flatten)]
        format: Format,
    },
    /// Change a job that waits, or a dead letter
    Edit(Box<Edit>),
    /// Make jobs due now: those that wait for a time or an answer, and dead letters
    Retry {
        #[arg(required = true)]
        ids: Vec<JobId>,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
pub struct Edit {
    id: JobId,
    /// In place of the payload: any JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    payload: Option<Json>,
    /// What to change in the payload: a JSON Patch (RFC 6902)
    #[arg(long, value_name = "JSON", value_parser = patch, conflicts_with = "payload")]
    patch: Option<json_patch::Patch>,
    /// 0 (first) to 9 (last); a queued job goes to the end of its new line
    #[arg(long)]
    priority: Option<u8>,
    /// When it is due, such as 2026-12-01T09:00:00Z
    #[arg(long, value_parser = instant, value_name = "TIME")]
    run_at: Option<Timestamp>,
    #[arg(long)]
    max_attempts: Option<u32>,
    /// Of one attempt
    #[arg(long)]
    timeout_ms: Option<u64>,
    #[command(flatten)]
    format: Format,
}

impl Edit {
    fn change(&self) -> Change {
        let (payload, patch) = (self.payload.clone(), self.patch.clone());
        let Self { priority, run_at, max_attempts, timeout_ms, .. } = *self;
        Change { payload, patch, priority, run_at, max_attempts, timeout_ms }
    }
}

fn json(text: &str) -> Result<Json, String> {
    Json::parse(text).map_err(|e| format!("not JSON: {e}"))
}

pub fn patch(text: &str) -> Result<json_patch::Patch, String> {
    serde_json::from_str(text)
        .map_err(|e| format!("not a JSON Patch ({e}); write such as [{{\"op\":\"replace\",\"path\":\"/url\",\"value\":\"https://…\"}}]"))
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// scheduled, queued, running, parked, completed, cancelled or dead
    #[arg(long, value_parser = state)]
    state: Option<State>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    search: Search,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    format: Format,
}

/// Which jobs a list or a bulk command is about.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    #[arg(long)]
    pub queue: Option<Name>,
    #[arg(long)]
    pub kind: Option<Name>,
    #[arg(long)]
    pub tenant: Option<Name>,
    #[arg(long)]
    pub tag: Option<Name>,
}

impl Which {
    #[must_use]
    pub fn filter(&self, state: Option<State>) -> Filter {
        let Self { queue, kind, tenant, tag } = self.clone();
        Filter { state, queue, kind, tenant, tag, ..Filter::default() }
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct PageArgs {
    /// How many at most, 1 to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Where the page before said that the next begins
    #[arg(long)]
    cursor: Option<String>,
}

fn state(text: &str) -> Result<State, String> {
    State::parse(text).ok_or_else(|| format!("write one of {}", State::ALL.map(State::as_str).join(", ")))
}

pub fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    door::with(place, async |door| match command {
        Command::List(asked) => {
            let List { state, which, search, page, format } = *asked;
            list(door, &search.within(which.filter(state)), &page, format).await
        }
        Command::Show { id, wait_ms, format } => {
            let job = found(door, id, Duration::from_millis(wait_ms)).await?;
            Ok(format.show(&job, details)?)
        }
        Command::Cancel { ids, reason, format } => {
            let answers = each(&ids, async |id| door.cancel(id, &reason).await).await?;
            Ok(format.show(&answers, |answers| answers.iter().map(cancelled).collect())?)
        }
        Command::Edit(args) => {
            let job = door.edit(args.id, &args.change()).await?;
            Ok(args.format.show(&job, details)?)
        }
        Command::Retry { ids, format } => {
            let answers = each(&ids, async |id| door.retry(id).await).await?;
            Ok(format.show(&answers, |answers| answers.iter().map(|answer| format!("{} is due now\n", answer.id)).collect())?)
        }
    })
}

/// One after the other; what went wrong with one names it.
pub async fn each<T>(ids: &[JobId], call: impl AsyncFn(JobId) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let mut answers = Vec::with_capacity(ids.len());
    for id in ids {
        answers.push(call(*id).await.map_err(|error| match error.to_string() {
            says if says.contains(&id.to_string()) => error,
            _ => error.context(format!("job {id}")),
        })?);
    }
    Ok(answers)
}

pub async fn list(door: &Door, filter: &Filter, page: &PageArgs, format: Format) -> anyhow::Result<()> {
    let listed = door.list(filter, page.cursor.as_deref(), usize::from(page.limit)).await?;
    let shown = |listed: &JobPage| match (listed.items.is_empty(), &listed.next) {
        (true, Some(_)) => format!("none so far: {}", more(filter, listed)),
        _ => table(listed) + &more(filter, listed),
    };
    Ok(format.show(&listed, shown)?)
}

/// How to go on, and how far was looked where that is not plain from what was found.
fn more(filter: &Filter, page: &JobPage) -> String {
    let Some(next) = &page.next else { return String::new() };
    let until = page.until.map(|until| format!(", back to {until}")).unwrap_or_default();
    let looked = if page.looked >= LOOK as u64 { format!("looked at {} jobs{until}; ", page.looked) } else { String::new() };
    format!("{looked}more with {}--cursor {next}\n", search::spoken(filter))
}

/// Once it is final, or as it stands after `patience`.
pub async fn found(door: &Door, id: JobId, patience: Duration) -> anyhow::Result<Job> {
    door.get_when_final(id, patience)
        .await?
        .ok_or_else(|| Exit::Data.because(format!("job {id} does not exist; it may have been removed after its retention time")))
}

fn table(page: &JobPage) -> String {
    let mut rows = Rows::new(&["id", "kind", "queue", "state", "attempt", "due", "reason"]);
    for job in &page.items {
        rows.row([
            job.id.to_string(),
            job.kind.to_string(),
            job.queue.to_string(),
            job.state.to_string(),
            format!("{}/{}", job.attempt, job.max_attempts),
            job.run_at.to_string(),
            why(job),
        ]);
    }
    rows.or("no jobs")
}

/// The reason of its state, and what the last attempt died of, if none came through.
fn why(job: &JobSummary) -> String {
    let error = job.error.as_ref().filter(|_| job.state != State::Completed);
    let error = error.map(|error| format!("{}: {}", error.code, shortened(&error.message, 80)));
    job.reason.iter().cloned().chain(error).collect::<Vec<_>>().join("; ")
}

fn cancelled(answer: &CancelAnswer) -> String {
    let what = match answer.cancelled.as_str() {
        "now" => "is cancelled",
        "asked" => "runs and was asked to stop",
        _ => "had ended before",
    };
    format!("{} {what}\n", answer.id)
}

/// Everything about one job, a line each, its attempts below.
pub fn details(job: &Job) -> String {
    let mut rows = Rows::beginning_with("job", &job.id.to_string());
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.row([name.to_owned(), value]);
        }
    };
    line("kind", Some(job.kind.to_string()));
    line("queue", Some(job.queue.to_string()));
    line("tenant", job.tenant.as_ref().map(ToString::to_string));
    line("state", Some(job.state.to_string()));
    line("reason", job.reason.clone());
    line("attempt", Some(format!("{} of {}", job.attempt, job.max_attempts)));
    line("priority", Some(job.priority.to_string()));
    line("created", Some(job.created_at.to_string()));
    line("due", Some(job.run_at.to_string()));
    line("started", job.started_at.map(|at| at.to_string()));
    line("finished", job.finished_at.map(|at| at.to_string()));
    line("expires", job.expires_at.map(|at| at.to_string()));
    line("unique key", job.unique_key.as_ref().map(ToString::to_string));
    line("concurrency key", job.concurrency_key.as_ref().map(ToString::to_string));
    line("held by", job.holder.map(|holder| holder.to_string()));
    line("made by", job.extra.parent.map(|parent| parent.to_string()));
    job.extra.children.iter().for_each(|child| line("made", Some(child.to_string())));
    line("progress", job.progress.as_ref().map(text));
    line("payload", Some(text(&job.payload)));
    line("result", job.result.as_ref().map(text));
    line("checkpoint", job.checkpoint.as_ref().map(text));
    format!("{rows}{}", attempts(&job.attempts))
}

fn text(json: &Json) -> String {
    shortened(json.as_str(), 2000)
}

fn attempts(attempts: &[Attempt]) -> String {
    let mut rows = Rows::new(&["attempt", "started", "ended", "outcome", "error"]);
    for attempt in attempts {
        let outcome = serde_json::to_value(attempt.outcome).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
        let error = attempt.error.as_ref().map(|error| format!("{}: {}", error.code, error.message)).unwrap_or_default();
        rows.row([attempt.number.to_string(), attempt.started_at.to_string(), attempt.ended_at.to_string(), outcome, error]);
    }
    if rows.is_empty() { String::new() } else { format!("\n{rows}") }
}
