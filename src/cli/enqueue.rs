//! `windlass enqueue KIND JSON`: one job, its envelope's members as flags. `windlass enqueue -`: many from standard input, an
//! envelope a line, in chunks that are written whole or not at all.

use super::{
    Place,
    door::{self, Door, MayMake},
    exit::Exit,
    lines::Lines,
    output::{Format, print_json},
};
use crate::{
    job::{Envelope, JobId, Json, Limits, Name, NewJob, OnDuplicate, Timestamp, UniqueFor},
    store::{self, Enqueued},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What kind of job, such as http.call; or - for NDJSON from standard input, an envelope a line
    kind: String,
    /// The payload: one JSON value
    payload: Option<String>,
    #[command(flatten)]
    members: Members,
    #[command(flatten)]
    format: Format,
}

/// The members of the envelope besides `kind` and `payload`.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Envelope")]
struct Members {
    /// A UUIDv7 of your own; the same id again is the same job
    #[arg(long)]
    id: Option<JobId>,
    #[arg(long)]
    queue: Option<Name>,
    #[arg(long)]
    tenant: Option<Name>,
    /// 0 first … 9 last
    #[arg(long)]
    priority: Option<u8>,
    /// Not before this time, such as 2026-12-01T09:00:00Z
    #[arg(long, value_parser = instant, value_name = "TIME")]
    run_at: Option<Timestamp>,
    /// Not before so many milliseconds from now
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// Not after this time
    #[arg(long, value_parser = instant, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// Longest run of one attempt
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// At most one live job has this key
    #[arg(long, value_name = "KEY")]
    unique_key: Option<Name>,
    /// until_finished, until_started, or a duration such as PT10M
    #[arg(long, value_parser = UniqueFor::parse, value_name = "HOW_LONG")]
    unique_for: Option<UniqueFor>,
    /// return, replace, reject or debounce
    #[arg(long, value_parser = on_duplicate, value_name = "WHAT")]
    on_duplicate: Option<OnDuplicate>,
    #[arg(long, value_name = "MS")]
    debounce_max_ms: Option<u64>,
    /// The same key again is the same answer
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Jobs with one key share a limit on how many run at once
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<Name>,
    /// Jobs of the concurrency key run one by one, in the order they came
    #[arg(long)]
    ordered: bool,
    /// May be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<Name>,
    /// When what the job is about happened
    #[arg(long, value_parser = instant, value_name = "TIME")]
    event_time: Option<Timestamp>,
    /// Wait for this job; may be given several times
    #[arg(long, value_name = "ID")]
    after: Vec<JobId>,
    /// An envelope to enqueue when the job completes
    #[arg(long, value_parser = envelope, value_name = "JSON")]
    on_success: Option<BoxedEnvelope>,
    /// An envelope to enqueue when the job is dead
    #[arg(long, value_parser = envelope, value_name = "JSON")]
    on_failure: Option<BoxedEnvelope>,
    /// Your own words about the job, an object
    #[arg(long, value_parser = object, value_name = "JSON")]
    meta: Option<Meta>,
}

/// Named, because clap takes a `BTreeMap` or a `Box` apart.
type Meta = std::sync::Arc<BTreeMap<String, Json>>;

#[derive(Clone, Debug)]
struct BoxedEnvelope(Box<Envelope>);

impl PartialEq for BoxedEnvelope {
    fn eq(&self, other: &Self) -> bool {
        Json::of(&self.0) == Json::of(&other.0)
    }
}

pub fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|_| "write an RFC 3339 time with an offset, such as 2026-12-01T09:00:00Z".into())
}

fn on_duplicate(text: &str) -> Result<OnDuplicate, String> {
    serde_json::from_value(text.into()).map_err(|_| "write return, replace, reject or debounce".into())
}

fn envelope(text: &str) -> Result<BoxedEnvelope, String> {
    // The whole is checked again with the job around it; this is for the sentence.
    NewJob::check(text.as_bytes(), Limits::default()).map_err(|error| error.to_string())?;
    serde_json::from_str(text).map(|envelope| BoxedEnvelope(Box::new(envelope))).map_err(|error| error.to_string())
}

fn object(text: &str) -> Result<Meta, String> {
    serde_json::from_str(text).map(std::sync::Arc::new).map_err(|error| format!("not a JSON object: {error}"))
}

pub fn run(place: &Place, args: Args) -> anyhow::Result<()> {
    if args.kind == "-" {
        if args.payload.is_some() || args.members != Members::default() {
            return Err(Exit::Usage.because("`enqueue -` takes whole envelopes from standard input; put the members into them"));
        }
        return door::enter(place, MayMake::Store, async |door| many(door, &mut Lines::standard_input(), args.format).await);
    }
    let envelope = args.envelope()?;
    // Through the same check as at every door, so that a nesting bomb gets the same sentence.
    let text = Json::of(&envelope);
    door::enter(place, MayMake::Store, async |door| {
        NewJob::check(text.as_str().as_bytes(), door.limits())
            .map_err(|error| Exit::Data.because(format!("the job is not valid: {error}")))?;
        let done = enqueue(door, &[envelope]).await.map_err(about_one_job)?;
        Ok(args.format.show(&done[0], answered)?)
    })
}

impl Args {
    fn envelope(&self) -> anyhow::Result<Envelope> {
        let kind = Name::new(&self.kind).map_err(|error| Exit::Data.because(format!("the kind {error}")))?;
        let payload = self.payload.as_deref().ok_or_else(|| {
            Exit::Usage
                .because(format!("the payload is missing; write `windlass enqueue {kind} '{{}}'`, or `windlass enqueue -` for NDJSON"))
        })?;
        let m = self.members.clone();
        let list = |given: bool| given.then_some(());
        let envelope = Envelope {
            payload: Json::parse(payload).map_err(|error| Exit::Data.because(format!("the payload is not valid JSON: {error}")))?,
            kind,
            id: m.id.or_else(|| Some(JobId::mint())),
            queue: m.queue,
            tenant: m.tenant,
            priority: m.priority,
            run_at: m.run_at,
            delay_ms: m.delay_ms,
            expires_at: m.expires_at,
            timeout_ms: m.timeout_ms,
            max_attempts: m.max_attempts,
            unique_key: m.unique_key,
            unique_for: m.unique_for,
            on_duplicate: m.on_duplicate,
            debounce_max_ms: m.debounce_max_ms,
            idempotency_key: m.idempotency_key,
            concurrency_key: m.concurrency_key,
            ordered: m.ordered.then_some(true),
            tags: list(!m.tags.is_empty()).map(|()| m.tags),
            event_time: m.event_time,
            after: list(!m.after.is_empty()).map(|()| m.after),
            on_success: m.on_success.map(|envelope| envelope.0),
            on_failure: m.on_failure.map(|envelope| envelope.0),
            account: None,
            meta: m.meta.map(|meta| BTreeMap::clone(&meta)),
        };
        Ok(envelope)
    }
}

fn answered(done: &Enqueued) -> String {
    if done.duplicate {
        format!("job {} was there before and is {}", done.id, done.status)
    } else {
        format!("job {} is {}", done.id, done.status)
    }
}

/// A single job has no index.
fn about_one_job(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<store::Error>() {
        Ok(store::Error::Invalid { error, .. }) => Exit::Data.because(format!("the job is not valid: {error}")),
        Ok(store::Error::Duplicate { holder, .. }) => Exit::Data.because(format!("the unique key is held by job {holder}")),
        Ok(store::Error::Conflict { id, .. }) => {
            Exit::Data.because(format!("job {id} exists with another body; use a fresh id or idempotency key"))
        }
        Ok(error) => error.into(),
        Err(error) => error,
    }
}

/// What one commit carries: enough that its fsync is shared, little enough that others get in between.
const CHUNK: usize = 1000;
/// Payloads that a chunk holds at most, so that a thousand large ones do not meet in memory.
const CHUNK_BYTES: usize = 8 << 20;

/// A chunk of lines, each with its number.
#[derive(Default)]
struct Chunk {
    envelopes: Vec<Envelope>,
    numbers: Vec<usize>,
    wrong: Vec<String>,
    last_line: usize,
}

async fn many(door: &Door, lines: &mut Lines, format: Format) -> anyhow::Result<()> {
    let started = Instant::now();
    let bar = progress_bar(lines.size);
    let (mut enqueued, mut duplicates, mut through) = (0_u64, 0_u64, 0_usize);
    loop {
        let chunk = read_chunk(lines, door.limits())?;
        if !chunk.wrong.is_empty() {
            bar.abandon();
            return Err(Exit::Data.because(format!("{}\n{}", chunk.wrong.join("\n"), written_so_far(through))));
        }
        if chunk.envelopes.is_empty() {
            break;
        }
        let done = enqueue(door, &chunk.envelopes).await.map_err(|error| about_line(error, &chunk, through))?;
        enqueued += done.len() as u64;
        duplicates += done.iter().filter(|done| done.duplicate).count() as u64;
        through = chunk.last_line;
        if format.json {
            done.iter().try_for_each(print_json)?;
        }
        bar.set_message(format!("{enqueued} jobs"));
        bar.set_position(lines.bytes_read);
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("enqueued {} jobs in {seconds:.1} s; {duplicates} more were there before", enqueued - duplicates);
    Ok(())
}

/// Reads on after a bad line to the end of the chunk, so that all bad lines of it are named at once.
fn read_chunk(lines: &mut Lines, limits: Limits) -> anyhow::Result<Chunk> {
    let mut chunk = Chunk::default();
    let mut bytes = 0;
    while chunk.numbers.len() + chunk.wrong.len() < CHUNK && bytes < CHUNK_BYTES {
        let Some(line) = lines.next().map_err(|error| Exit::Data.because(error.to_string()))? else { break };
        bytes += line.len();
        let checked = NewJob::check(line, limits).and_then(|job| Ok((job.id, read(line)?)));
        let number = lines.number();
        match checked {
            Ok((id, envelope)) => {
                chunk.envelopes.push(Envelope { id: Some(id), ..envelope });
                chunk.numbers.push(number);
            }
            Err(error) => chunk.wrong.push(format!("line {number}: {}", about(&error))),
        }
        chunk.last_line = number;
    }
    Ok(chunk)
}

fn read(line: &[u8]) -> Result<Envelope, crate::job::InvalidEnvelope> {
    serde_json::from_slice(line).map_err(|error| crate::job::InvalidEnvelope::new("", "not_json", error.to_string()))
}

fn about(error: &crate::job::InvalidEnvelope) -> String {
    if error.pointer.is_empty() { error.message.clone() } else { error.to_string() }
}

/// What a person needs to go on: nothing was lost, and this is where to go on.
fn written_so_far(through: usize) -> String {
    match through {
        0 => "nothing was enqueued; correct the input and send it again".to_owned(),
        _ => format!("lines 1 to {through} are enqueued, nothing after them; correct the rest and send it from line {} on", through + 1),
    }
}

/// The store's word on item 17 of a chunk is one on a line of the input.
fn about_line(error: anyhow::Error, chunk: &Chunk, through: usize) -> anyhow::Error {
    let so_far = written_so_far(through);
    let line = |index: usize| chunk.numbers.get(index).copied().unwrap_or(0);
    match error.downcast::<store::Error>() {
        Ok(store::Error::Invalid { index, error }) => Exit::Data.because(format!("line {}: {error}\n{so_far}", line(index))),
        Ok(store::Error::Duplicate { index, holder }) => {
            Exit::Data.because(format!("line {}: the unique key is held by job {holder}\n{so_far}", line(index)))
        }
        Ok(store::Error::Conflict { index, id }) => Exit::Data
            .because(format!("line {}: job {id} exists with another body; use a fresh id or idempotency key\n{so_far}", line(index))),
        Ok(error) => anyhow::Error::from(error).context(so_far),
        Err(error) => error.context(so_far),
    }
}

/// Tries again where it is safe and may help: the ids are in the envelopes, so a chunk that arrived is not written twice.
async fn enqueue(door: &Door, envelopes: &[Envelope]) -> anyhow::Result<Vec<Enqueued>> {
    let mut waits = [100, 400, 1600].into_iter().map(Duration::from_millis);
    loop {
        let error = match door.enqueue(envelopes).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        // A store that is locked was waited for already, by the driver.
        let was_waited_for = matches!(error.downcast_ref(), Some(store::Error::Unavailable(_)));
        match (Exit::of(&error), waits.next()) {
            (Exit::TryAgain, Some(wait)) if !was_waited_for => tokio::time::sleep(wait).await,
            _ => return Err(error),
        }
    }
}

/// Bytes of the file, or a count when nobody knows how much is to come. Hidden when standard error is no terminal.
fn progress_bar(size: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:40} {percent} % {msg}, {eta} to go"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}, {bytes} in {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
