//! `windlass schedules`: recurring rules. They are written in the configuration or put by `PUT /v1/schedules/{name}`; here
//! they are looked at, held back, and run by hand.

use super::{
    Place, door,
    output::{Format, Rows},
};
use crate::{
    control::wire::ScheduleAnswer,
    job::{
        Name,
        schedule::{Fate, Occurrence, Rule, SkipReason},
    },
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List schedules with their next instants
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Show when a schedule will be due
    Preview {
        name: Name,
        /// How many instants, 1 to 1000
        #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
        number: u16,
        #[command(flatten)]
        format: Format,
    },
    /// Show what became of its past instants
    History {
        name: Name,
        /// How many, 1 to 1000
        #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        number: u16,
        #[command(flatten)]
        format: Format,
    },
    /// Make no jobs until it is resumed; what was due meanwhile is recorded as skipped
    Pause {
        name: Name,
        #[command(flatten)]
        format: Format,
    },
    /// Let it go on
    Resume {
        name: Name,
        #[command(flatten)]
        format: Format,
    },
    /// Enqueue its job once, now
    Run {
        name: Name,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a schedule that is no longer in the configuration; jobs it made stay. One that is there still is back with the next start or reload
    Delete { name: Name },
}

pub fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    door::with(place, async |door| match command {
        Command::List { format } => Ok(format.show(&door.schedules().await?, |schedules| table(schedules))?),
        Command::Preview { name, number, format } => {
            let answer = door.preview(&name, number.into()).await?;
            Ok(format.show(&answer, |answer| lines(answer.instants.iter().map(ToString::to_string), "never again"))?)
        }
        Command::History { name, number, format } => {
            let occurrences = door.occurrences(&name, number.into()).await?;
            Ok(format.show(&occurrences, |occurrences| history(occurrences))?)
        }
        Command::Pause { name, format } => {
            let answer = door.pause_schedule(&name, true).await?;
            Ok(format.show(&answer, |_| format!("schedule {name} is paused"))?)
        }
        Command::Resume { name, format } => {
            let answer = door.pause_schedule(&name, false).await?;
            Ok(format.show(&answer, |answer| format!("schedule {name} goes on, next at {}", next(answer)))?)
        }
        Command::Run { name, format } => {
            let answer = door.run_schedule(&name).await?;
            Ok(format.show(&answer, |answer| format!("job {} is {}", answer.id, answer.status))?)
        }
        Command::Delete { name } => {
            door.delete_schedule(&name).await?;
            println!("schedule {name} is deleted; if it stands in the configuration, it is back with the next start or reload");
            Ok(())
        }
    })
}

fn table(schedules: &[ScheduleAnswer]) -> String {
    let mut rows = Rows::new(&["name", "rule", "kind", "next", "done through"]);
    for answer in schedules {
        let schedule = &answer.schedule;
        rows.row([schedule.name.to_string(), rule(&schedule.rule), schedule.job.kind.to_string(), next(answer), answer.last.to_string()]);
    }
    rows.or("no schedules; write one into the configuration under [schedules.<name>]")
}

fn rule(rule: &Rule) -> String {
    match rule {
        Rule::Every { every_ms, .. } if every_ms % 1000 == 0 => format!("every {} s", every_ms / 1000),
        Rule::Every { every_ms, .. } => format!("every {every_ms} ms"),
        Rule::Cron { cron, tz } => format!("{cron} {tz}"),
    }
}

fn next(answer: &ScheduleAnswer) -> String {
    match answer.next {
        _ if answer.paused => "paused".to_owned(),
        Some(instant) => instant.to_string(),
        None => "never".to_owned(),
    }
}

fn history(occurrences: &[Occurrence]) -> String {
    let mut rows = Rows::new(&["due", "what became of it"]);
    for occurrence in occurrences {
        let fate = match &occurrence.fate {
            Fate::Job { id } => format!("job {id}"),
            Fate::Skipped { reason, through, count } if *count > 1 => format!("{count} up to {through} skipped: {}", word(reason)),
            Fate::Skipped { reason, .. } => format!("skipped: {}", word(reason)),
        };
        rows.row([occurrence.due.to_string(), fate]);
    }
    rows.or("nothing yet")
}

/// As it stands in JSON.
fn word(reason: &SkipReason) -> String {
    serde_json::to_value(reason).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn lines(mut lines: impl Iterator<Item = String>, nothing: &str) -> String {
    let mut text = lines.next().unwrap_or_else(|| nothing.to_owned());
    for line in lines {
        text.push('\n');
        text.push_str(&line);
    }
    text
}
