//! What dead letters died of, the largest group first.

use super::{
    Look, Top, answered,
    table::{Cell, Column, Table},
    words::{fit, from_now, plural},
};
use crate::store::dead::Group;
use ratatui::text::Line;

pub fn lines(top: &Top, wide: usize, high: usize, look: Look) -> Vec<Line<'static>> {
    let groups = match answered(top.groups.as_ref(), wide, look) {
        Ok(groups) => groups,
        Err(lines) => return lines,
    };
    let more = if groups.next.is_some() { "; there are more: `windlass dead groups`" } else { "" };
    let heading = format!("  {} looked at{more}", plural(groups.looked, "dead letter"));
    let table = table(top, look).lines_or("none; nothing has given up", wide, high.saturating_sub(1), look);
    [vec![Line::styled(fit(&heading, wide), look.quiet())], table].concat()
}

fn table(top: &Top, look: Look) -> Table {
    let columns = vec![
        Column::figure("jobs", 1),
        Column::text("kind", 0, 40),
        Column::text("failed with", 2, 30),
        Column::text("newest", 3, 20),
        Column::text("queue", 5, 30),
        Column::text("message", 4, 200),
    ];
    let row = |group: &&Group| {
        vec![
            Cell::styled(super::words::count(group.jobs), look.bad()),
            group.kind.to_string().into(),
            failed_with(group).into(),
            from_now(group.newest_at, top.now).into(),
            group.queue.to_string().into(),
            group.message.as_deref().unwrap_or_default().into(),
        ]
    };
    Table { columns, rows: top.group_rows().iter().map(row).collect(), chosen: top.chosen() }
}

pub fn failed_with(group: &Group) -> &str {
    group.code.as_deref().or(group.reason.as_deref()).unwrap_or("no error")
}
