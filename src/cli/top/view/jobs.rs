//! The newest jobs, of one queue or all.

use super::{
    Look, Top, answered,
    table::{Cell, Column, Table},
    words::{fit, from_now},
};
use crate::{control::wire::JobSummary, job::State};
use ratatui::text::Line;

/// From here on ids are written out.
const WIDE: usize = 130;

pub fn lines(top: &Top, wide: usize, high: usize, look: Look) -> Vec<Line<'static>> {
    let page = match answered(top.jobs.as_ref(), wide, look) {
        Ok(page) => page,
        Err(lines) => return [vec![heading(top, "", wide, look)], lines].concat(),
    };
    let more = if page.next.is_some() { "; there are more: `windlass jobs list`" } else { "" };
    let heading = heading(top, more, wide, look);
    let table = table(top, wide, look).lines_or("no jobs", wide, high.saturating_sub(1), look);
    [vec![heading], table].concat()
}

fn heading(top: &Top, more: &str, wide: usize, look: Look) -> Line<'static> {
    let state = top.jobs_of.state.map(|state| format!("{state} ")).unwrap_or_default();
    let queue = top.jobs_of.queue.as_ref().map_or_else(|| "all queues".into(), |queue| format!("queue {queue}"));
    Line::styled(fit(&format!("  {state}jobs of {queue}, the newest first{more}"), wide), look.quiet())
}

fn table(top: &Top, wide: usize, look: Look) -> Table {
    let columns = vec![
        Column::text("state", 1, 10),
        Column::text("kind", 0, 40),
        Column::text("job", 3, 36),
        Column::text("made", 4, 20),
        Column::text("try", 5, 9),
        Column::text("queue", 7, 30),
        Column::text("tenant", 8, 30),
        Column::text("why", 6, 200),
    ];
    let row = |job: &&JobSummary| {
        let id = job.id.to_string();
        let id = if wide >= WIDE { id } else { format!("{}…{}", &id[..8], &id[id.len() - 6..]) };
        vec![
            state(job.state, look),
            job.kind.to_string().into(),
            id.into(),
            from_now(job.created_at, top.now).into(),
            format!("{}/{}", job.attempt, job.max_attempts).into(),
            job.queue.to_string().into(),
            job.tenant.as_deref().unwrap_or_default().into(),
            why(job).into(),
        ]
    };
    Table { columns, rows: top.job_rows().iter().map(row).collect(), chosen: top.chosen() }
}

fn state(state: State, look: Look) -> Cell {
    let style = match state {
        State::Running | State::Completed => look.good(),
        State::Dead => look.bad(),
        State::Parked => look.warn(),
        State::Scheduled | State::Queued | State::Cancelled => ratatui::style::Style::new(),
    };
    Cell::styled(state.as_str(), style)
}

/// The last error, and what it is where it is for.
fn why(job: &JobSummary) -> String {
    let error = job.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    let parts: Vec<String> = job.reason.iter().cloned().chain(error).collect();
    parts.join("; ")
}
