//! The queues: what stands in each, and which are held back.

use super::{
    Look, Top, answered,
    overview::LATE,
    table::{Cell, Column, Table},
    words::{count, duration, from_now, rate},
};
use crate::{
    cli::top::state::By,
    job::{Pause, Timestamp},
    store::QueueStatus,
};
use ratatui::text::Line;
use std::time::Duration;

pub const NONE: &str = "no queues yet; the first job makes one";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Short,
    Everything,
}

/// What is said in each column; the order is that on the screen.
const COLUMNS: [(By, &str, u8); 8] = [
    (By::Name, "queue", 0),
    (By::Waiting, "waiting", 1),
    (By::Running, "running", 3),
    (By::Rate, "a second", 6),
    (By::Scheduled, "scheduled", 5),
    (By::Parked, "parked", 7),
    (By::Dead, "dead", 4),
    (By::Oldest, "oldest", 2),
];

/// The table, and below it why the chosen one stands still, for which a row has no room.
pub fn lines(top: &Top, wide: usize, high: usize, look: Look) -> Vec<Line<'static>> {
    if let Err(lines) = answered(top.queues.as_ref(), wide, look) {
        return lines;
    }
    let rows = top.queue_rows();
    let chosen = top.chosen().and_then(|place| rows.get(place).copied());
    let paused = chosen.and_then(|queue| paused(queue, top.now)).map(|says| super::trouble(&says, wide, look));
    let room = high.saturating_sub(usize::from(paused.is_some()));
    let mut lines = table(top, top.chosen(), Wanted::Everything, look).lines_or(NONE, wide, room, look);
    if let Some(paused) = paused {
        lines.resize(room, Line::default());
        lines.push(paused);
    }
    lines
}

/// By whom a queue is held back, until when, and why.
pub fn paused(queue: &QueueStatus, now: Timestamp) -> Option<String> {
    let Pause { at, by, reason, until } = queue.paused.as_ref()?;
    let until = until.map(|until| format!(", ends {}", from_now(until, now))).unwrap_or_default();
    Some(format!("{} is paused by {by}, {}{until}: {reason}", queue.name, from_now(*at, now)))
}

pub fn table(top: &Top, chosen: Option<usize>, wanted: Wanted, look: Look) -> Table {
    let shown = |by: By| wanted == Wanted::Everything || !matches!(by, By::Scheduled | By::Parked);
    let shown: Vec<(By, &str, u8)> = COLUMNS.into_iter().filter(|(by, ..)| shown(*by)).collect();
    let column = |(by, name, rank): &(By, &str, u8)| {
        let arrow = if top.order.is_from_small_to_large() { "▴" } else { "▾" };
        let name = if *by == top.order.by { format!("{name}{arrow}") } else { (*name).to_owned() };
        if *by == By::Name { Column::text(&name, *rank, 40) } else { Column::figure(&name, *rank) }
    };
    let row = |queue: &&QueueStatus| shown.iter().map(|(by, ..)| cell(*by, queue, top, look)).collect();
    let columns = shown.iter().map(column).collect();
    Table { columns, rows: top.queue_rows().iter().map(row).collect(), chosen }
}

fn cell(by: By, queue: &QueueStatus, top: &Top, look: Look) -> Cell {
    match by {
        By::Name if queue.paused.is_some() => Cell::styled(format!("{} (paused)", queue.name), look.warn()),
        By::Name => queue.name.clone().into(),
        By::Rate => top.samples.rate_of(&queue.name).map_or_else(|| "–".into(), rate).into(),
        By::Oldest => oldest(queue, look),
        by => {
            let jobs = by.state().and_then(|state| queue.jobs.get(&state)).copied().unwrap_or(0);
            if by == By::Dead && jobs > 0 { Cell::styled(count(jobs), look.bad()) } else { count(jobs).into() }
        }
    }
}

fn oldest(queue: &QueueStatus, look: Look) -> Cell {
    match queue.oldest_queued_ms.map(Duration::from_millis) {
        None => "–".into(),
        Some(age) if age > LATE => Cell::styled(format!("{} !", duration(age)), look.warn()),
        Some(age) => duration(age).into(),
    }
}
