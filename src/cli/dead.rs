//! `windlass dead`: the jobs that gave up. They stay until somebody puts them back or removes them.

use super::{
    Place, door,
    exit::Exit,
    jobs::{self, PageArgs, Which},
    output::{Format, Rows},
};
use crate::{
    control::wire::{RedriveAnswer, RedriveRequest},
    job::{JobId, State},
};
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List dead letters, newest first
    List {
        #[command(flatten)]
        which: Which,
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
    /// Put dead letters back into their queues, their attempts counted anew
    Redrive {
        /// These; or leave them out and say which with --queue, --kind, --tenant, --tag or --all
        ids: Vec<JobId>,
        /// All there are
        #[arg(long, conflicts_with_all = ["ids", "queue", "kind", "tenant", "tag"])]
        all: bool,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        format: Format,
    },
    /// Remove dead letters for good
    Purge {
        #[arg(required = true)]
        ids: Vec<JobId>,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Serialize)]
struct Purged {
    purged: Vec<JobId>,
}

pub fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    door::with(place, async |door| match command {
        Command::List { which, page, format } => jobs::list(door, &which.filter(Some(State::Dead)), &page, format).await,
        Command::Show { id, format } => {
            let job = jobs::found(door, id, Duration::ZERO).await?;
            if job.state != State::Dead {
                return Err(Exit::Data.because(format!("job {id} is {}, not dead; look at it with `windlass jobs show`", job.state)));
            }
            Ok(format.show(&job, jobs::details)?)
        }
        Command::Redrive { ids, all, which, format } => {
            let answer = if ids.is_empty() { redrive_matching(door, all, &which).await? } else { door.redrive_these(&ids).await? };
            format.show(&answer, told)?;
            refuse_if_any_stayed(&answer)
        }
        Command::Purge { ids, format } => {
            jobs::each(&ids, async |id| door.purge(id).await).await?;
            Ok(format.show(&Purged { purged: ids }, |answer| format!("removed {}\n", count(answer.purged.len())))?)
        }
    })
}

/// As many calls as it takes.
async fn redrive_matching(door: &door::Door, all: bool, which: &Which) -> anyhow::Result<RedriveAnswer> {
    let Which { queue, kind, tenant, tag } = which.clone();
    let request = RedriveRequest { all, queue, kind, tenant, tag, limit: None };
    let is_filtered = which.filter(None) != crate::store::Filter::default();
    if !all && !is_filtered {
        return Err(Exit::Usage.because("say which dead letters: ids, --queue, --kind, --tenant, --tag, or --all"));
    }
    let mut whole = RedriveAnswer { redriven: 0, items: Vec::new(), more: false };
    loop {
        let answer = door.redrive(&request).await?;
        let went_on = answer.redriven > 0;
        whole.redriven += answer.redriven;
        whole.items.extend(answer.items);
        whole.more = answer.more;
        // Those that cannot go back are at the front each time; a call that moved nothing will not move the rest either.
        if !answer.more || !went_on {
            return Ok(whole);
        }
    }
}

fn told(answer: &RedriveAnswer) -> String {
    let mut rows = Rows::new(&["id", "why it stays dead"]);
    for item in &answer.items {
        if let Some(error) = &item.error {
            rows.row([item.id.to_string(), error.message.clone()]);
        }
    }
    let stayed = rows.or("");
    format!("{} back in the queue\n{stayed}", count(answer.redriven))
}

fn count(jobs: usize) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}

fn refuse_if_any_stayed(answer: &RedriveAnswer) -> anyhow::Result<()> {
    let stayed = answer.items.iter().filter(|item| item.error.is_some()).count();
    if stayed == 0 { Ok(()) } else { Err(Exit::Data.because(format!("{} could not be redriven and stay dead", count(stayed)))) }
}
