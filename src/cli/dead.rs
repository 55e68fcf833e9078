//! `windlass dead`: the jobs that gave up. They stay until somebody puts them back or removes them.

use super::{
    Place, door,
    exit::Exit,
    jobs::{self, PageArgs, Which},
    output::{Format, Rows, shortened},
    search::Search,
};
use crate::{
    control::wire::{RedriveAnswer, RedriveRequest},
    job::{Change, Fingerprint, JobId, State},
    store::dead::Groups,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::time::Duration;

/// One look at a job that went first.
const LOOK: Duration = Duration::from_secs(30);
/// Ids that a dry run prints.
const SHOWN: usize = 20;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List dead letters, newest first
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        search: Search,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        format: Format,
    },
    /// Show everything that is known of one
    Show {
        id: JobId,
        #[command(flatten)]
        format: Format,
    },
    /// Say what dead letters died of, the largest group first
    Groups {
        #[command(flatten)]
        which: Which,
        /// Where the call before said to look on
        #[arg(long)]
        cursor: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Put dead letters back into their queues, their attempts counted anew
    Redrive(Box<Redrive>),
    /// Remove dead letters for good
    Purge {
        #[arg(required = true)]
        ids: Vec<JobId>,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
pub struct Redrive {
    /// These; or leave them out and say which with --queue, --kind, --tenant, --tag, --fingerprint or --all
    ids: Vec<JobId>,
    /// All there are
    #[arg(long, conflicts_with_all = ["ids", "queue", "kind", "tenant", "tag", "fingerprint"])]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Those that died of the same, as `dead groups` names it
    #[arg(long)]
    fingerprint: Option<Fingerprint>,
    /// Change each payload before it goes back: a JSON Patch (RFC 6902)
    #[arg(long, value_name = "JSON", value_parser = jobs::patch)]
    patch: Option<json_patch::Patch>,
    /// Say what would become of each, and leave it
    #[arg(long)]
    dry_run: bool,
    /// Put one back first, and the others only once it has completed
    #[arg(long, conflicts_with_all = ["ids", "dry_run"])]
    canary: bool,
    /// At most so many a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: Option<u16>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Purged {
    purged: Vec<JobId>,
}

pub fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    door::with(place, async |door| match command {
        Command::List { which, search, page, format } => {
            jobs::list(door, &search.within(which.filter(Some(State::Dead))), &page, format).await
        }
        Command::Show { id, format } => {
            let job = jobs::found(door, id, Duration::ZERO).await?;
            if job.state != State::Dead {
                return Err(Exit::Data.because(format!("job {id} is {}, not dead; look at it with `windlass jobs show`", job.state)));
            }
            Ok(format.show(&job, jobs::details)?)
        }
        Command::Groups { which, cursor, format } => {
            let groups = door.dead_groups(&which.filter(None), cursor.as_deref()).await?;
            Ok(format.show(&groups, grouped)?)
        }
        Command::Redrive(args) => {
            let answer = redrive(door, &args).await?;
            args.format.show(&answer, |answer| told(answer, args.dry_run))?;
            refuse_if_any_stayed(&answer)
        }
        Command::Purge { ids, format } => {
            jobs::each(&ids, async |id| door.purge(id).await).await?;
            Ok(format.show(&Purged { purged: ids }, |answer| format!("removed {}\n", count(answer.purged.len())))?)
        }
    })
}

/// As many calls as it takes, as fast as it may.
async fn redrive(door: &door::Door, args: &Redrive) -> anyhow::Result<RedriveAnswer> {
    let Which { queue, kind, tenant, tag } = args.which.clone();
    let change = args.patch.clone().map(|patch| Change { patch: Some(patch), ..Change::default() });
    let (ids, fingerprint) = (args.ids.clone(), args.fingerprint.clone());
    let limit = args.rate.map(usize::from);
    let mut request =
        RedriveRequest { all: args.all, ids, queue, kind, tenant, tag, fingerprint, change, dry_run: args.dry_run, limit, cursor: None };
    if !request.is_clear() {
        let sentence = "say which dead letters, in one way: ids, --all, or --queue, --kind, --tenant, --tag, --fingerprint";
        return Err(Exit::Usage.because(sentence));
    }
    let bar = progress();
    let mut whole = RedriveAnswer::of(Vec::new(), args.dry_run);
    if args.canary {
        let first = one_first(door, &request).await?;
        whole.redriven += first.redriven;
        whole.items.extend(first.items);
        request.cursor = first.next;
        if !first.more {
            return Ok(whole);
        }
    }
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        if args.rate.is_some() {
            seconds.tick().await;
        }
        let answer = door.redrive(&request).await?;
        bar.inc(answer.items.len() as u64);
        whole.redriven += answer.redriven;
        whole.items.extend(answer.items);
        (whole.more, request.cursor) = (answer.more, answer.next);
        if !answer.more {
            bar.finish_and_clear();
            return Ok(whole);
        }
    }
}

/// Puts one back and waits until it has completed. Whoever has enough interrupts the command: the others stay dead.
async fn one_first(door: &door::Door, request: &RedriveRequest) -> anyhow::Result<RedriveAnswer> {
    let mut request = RedriveRequest { limit: Some(1), ..request.clone() };
    let answer = loop {
        let answer = door.redrive(&request).await?;
        if !answer.items.is_empty() || !answer.more {
            break answer;
        }
        request.cursor = answer.next;
    };
    let Some(first) = answer.items.first() else { return Ok(answer) };
    let id = first.id;
    if let Some(error) = &first.error {
        return Err(Exit::Data.because(format!("job {id} was to go first and could not: {}; the others stay dead", error.message)));
    }
    eprintln!("job {id} went first; the others follow once it has completed, and stay dead if you interrupt this");
    loop {
        let job = jobs::found(door, id, LOOK).await?;
        match job.state {
            State::Completed => return Ok(answer),
            state if state.is_final() => {
                return Err(Exit::Data.because(format!("job {id} went first and is {state}; the others stay dead")));
            }
            _ => {}
        }
    }
}

/// On a terminal, how many so far.
fn progress() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {human_pos} dead letters, {per_sec}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length().with_style(style)
}

fn grouped(found: &Groups) -> String {
    let mut rows = Rows::new(&["fingerprint", "jobs", "kind", "queue", "newest", "why"]);
    for group in &found.groups {
        let why = [group.code.clone().or_else(|| group.reason.clone()), group.message.as_ref().map(|message| shortened(message, 80))];
        rows.row([
            group.fingerprint.to_string(),
            group.jobs.to_string(),
            group.kind.to_string(),
            group.queue.to_string(),
            group.newest_at.to_string(),
            why.into_iter().flatten().collect::<Vec<_>>().join(": "),
        ]);
    }
    let more = found.next.as_ref().map(|next| format!("looked at {}; more with --cursor {next}\n", found.looked)).unwrap_or_default();
    if rows.is_empty() && found.next.is_some() { more } else { rows.or("no dead letters") + &more }
}

fn told(answer: &RedriveAnswer, dry_run: bool) -> String {
    let mut rows = Rows::new(&["id", "why it stays dead"]);
    for item in &answer.items {
        if let Some(error) = &item.error {
            rows.row([item.id.to_string(), error.message.clone()]);
        }
    }
    let stayed = rows.or("");
    let fit = answer.items.iter().filter(|item| item.error.is_none()).count();
    let done = if dry_run {
        format!("{} would go back\n{}", count(fit), some_of(answer))
    } else {
        format!("{} back in the queue\n", count(answer.redriven))
    };
    done + &stayed
}

/// The first of those that would go back.
fn some_of(answer: &RedriveAnswer) -> String {
    let fit = answer.items.iter().filter(|item| item.error.is_none());
    let shown: String = fit.clone().take(SHOWN).map(|item| format!("  {}\n", item.id)).collect();
    match fit.count().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}  and {more} more; --json names them all\n"),
    }
}

fn count(jobs: usize) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}

fn refuse_if_any_stayed(answer: &RedriveAnswer) -> anyhow::Result<()> {
    let stayed = answer.items.iter().filter(|item| item.error.is_some()).count();
    if stayed == 0 { Ok(()) } else { Err(Exit::Data.because(format!("{} could not be redriven, and stay as they are", count(stayed)))) }
}
