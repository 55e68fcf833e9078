//! `--id`, `--text`, `--since` and their like: what a list of jobs can be narrowed down to beside the names in it.

use crate::{
    clock::Clock,
    job::{Fingerprint, JobId, Timestamp},
    store::{Filter, Span},
};

#[derive(Clone, Debug, Default, clap::Args)]
pub struct Search {
    /// One of these jobs; may be given up to 100 times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<JobId>,
    /// Its last attempt died of this, as `windlass dead groups` names it
    #[arg(long)]
    fingerprint: Option<Fingerprint>,
    /// Stands in the payload as it is stored, letter by letter
    #[arg(long)]
    text: Option<String>,
    /// Made at this time or later: such as 2026-12-01T09:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Made before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Due at this time or later
    #[arg(long, value_name = "TIME", value_parser = instant)]
    due_since: Option<Timestamp>,
    /// Due before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    due_until: Option<Timestamp>,
    /// Ended at this time or later
    #[arg(long, value_name = "TIME", value_parser = instant)]
    finished_since: Option<Timestamp>,
    /// Ended before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    finished_until: Option<Timestamp>,
}

impl Search {
    /// What fits `filter` and this.
    #[must_use]
    pub fn within(self, filter: Filter) -> Filter {
        Filter {
            ids: self.ids,
            fingerprint: self.fingerprint,
            text: self.text,
            created: Span { from: self.since, to: self.until },
            due: Span { from: self.due_since, to: self.due_until },
            finished: Span { from: self.finished_since, to: self.finished_until },
            ..filter
        }
    }
}

/// The times of a filter, to be written again with a cursor: `2h` means another time by then.
#[must_use]
pub fn spoken(filter: &Filter) -> String {
    let spans = [("", filter.created), ("due-", filter.due), ("finished-", filter.finished)];
    let words = spans.into_iter().flat_map(|(what, span)| {
        let since = span.from.map(|at| format!("--{what}since {at} "));
        let until = span.to.map(|at| format!("--{what}until {at} "));
        [since, until].into_iter().flatten()
    });
    words.collect()
}

fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Clock::System.now().minus(ago));
    }
    Timestamp::parse(text).map_err(|error| format!("{error}, and no time ago, such as 90s, 2h or 3days"))
}
