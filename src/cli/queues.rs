//! `windlass queues`: how much waits where, holding a queue back, and changing its limits.

use super::{
    Place,
    door::{self, MayMake},
    limits,
    output::{Format, Rows},
};
use crate::{
    control::wire::LimitsAnswer,
    job::{Name, Pause, State},
    store::QueueStatus,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List queues with the number of jobs in each state
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Start nothing more of a queue until it is resumed; what runs goes on
    Pause {
        queue: Name,
        /// Why, for those who wonder
        #[arg(long, visible_alias = "because", default_value = "paused by hand")]
        reason: String,
        /// Resume by itself after this time, such as 30m or 2h
        #[arg(long = "for", value_name = "TIME")]
        lasts: Option<humantime::Duration>,
        #[command(flatten)]
        format: Format,
    },
    /// Let a queue go on
    Resume {
        queue: Name,
        #[command(flatten)]
        format: Format,
    },
    /// Change a queue's limits at once, over what the daemons' configuration says; what runs goes on
    Set {
        queue: Name,
        #[command(flatten)]
        change: limits::Change,
        /// Why, for those who wonder
        #[arg(long, visible_alias = "because", default_value = "changed by hand")]
        reason: String,
        #[command(flatten)]
        format: Format,
    },
    /// Lift all that was changed with `set`: the queue is again as it is configured
    Unset {
        queue: Name,
        /// Why, for those who wonder
        #[arg(long, visible_alias = "because", default_value = "lifted by hand")]
        reason: String,
        #[command(flatten)]
        format: Format,
    },
    /// Spread a queue over another number of partitions, in a Redis Cluster; refused while jobs with keys live
    Repartition { queue: Name, partitions: u32 },
}

pub fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { format } => door::with(place, async |door| Ok(format.show(&door.queues().await?, |queues| table(queues))?)),
        Command::Pause { queue, reason, lasts, format } => door::with(place, async |door| {
            let answer = door.pause(&queue, &reason, lasts.map(Into::into)).await?;
            let until = answer.paused.as_ref().and_then(|pause| pause.until).map(|until| format!(" until {until}")).unwrap_or_default();
            let sentence = format!("queue {queue} is paused{until}; resume it with `windlass queues resume {queue}`\n");
            Ok(format.show(&answer, |_| sentence)?)
        }),
        Command::Resume { queue, format } => door::with(place, async |door| {
            let answer = door.resume(&queue).await?;
            Ok(format.show(&answer, |_| format!("queue {queue} goes on\n"))?)
        }),
        Command::Set { queue, change, reason, format } => {
            let change = change.limits()?;
            door::with(place, async |door| {
                let answer = door.set_limits(&queue, Some(&change), &reason).await?;
                let sentence = |answer: &LimitsAnswer| {
                    format!("queue {queue}: {}; lift it with `windlass queues unset {queue}`\n", limits::line(&answer.limits))
                };
                Ok(format.show(&answer, sentence)?)
            })
        }
        Command::Unset { queue, reason, format } => door::with(place, async |door| {
            let answer = door.set_limits(&queue, None, &reason).await?;
            let sentence = |answer: &LimitsAnswer| match limits::line(&answer.limits) {
                line if line.is_empty() => {
                    format!("queue {queue} is as it is configured: no limit but one job at once of each concurrency key\n")
                }
                line => format!("queue {queue} is as it is configured: {line}\n"),
            };
            Ok(format.show(&answer, sentence)?)
        }),
        Command::Repartition { queue, partitions } => door::with_store(place, MayMake::Nothing, async |store| {
            store.repartition(&queue, partitions, &door::actor()).await?;
            let setting = format!("queues.{queue}.partitions = {partitions}");
            println!(
                "queue {queue} has {partitions} partitions; set `{setting}` in the configuration of every daemon before it starts again"
            );
            Ok(())
        }),
    }
}

fn table(queues: &[QueueStatus]) -> String {
    let states = State::ALL.map(State::as_str);
    let headings: Vec<&str> = ["queue"].into_iter().chain(states).chain(["oldest", "limits", "paused"]).collect();
    let mut rows = Rows::new(&headings);
    for queue in queues {
        let counts = State::ALL.iter().map(|state| queue.jobs.get(state).copied().unwrap_or(0).to_string());
        let oldest = queue.oldest_queued_ms.map(age).unwrap_or_default();
        let limits = queue.limits.as_ref().map(limits::line).unwrap_or_default();
        let paused = queue.paused.as_ref().map(paused).unwrap_or_default();
        rows.row([queue.name.clone()].into_iter().chain(counts).chain([oldest, limits, paused]));
    }
    rows.or("no queues yet; the first job makes one")
}

fn paused(pause: &Pause) -> String {
    let until = pause.until.map(|until| format!(" until {until}")).unwrap_or_default();
    format!("since {}{until} by {}: {}", pause.at, pause.by, pause.reason)
}

/// How long the job at the head waits, in the unit a person would use.
fn age(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{} s", ms / 1000),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
