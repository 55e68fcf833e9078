//! Who works on what, and how much of it is taken.

use super::{
    Look, Top, answered,
    table::{Cell, Column, Table},
    words::{count, from_now},
};
use crate::control::wire::DaemonAnswer;
use ratatui::text::Line;

const NONE: &str = "no daemon was seen in the last hour; start `windlass run`";

pub fn lines(top: &Top, wide: usize, high: usize, look: Look) -> Vec<Line<'static>> {
    match answered(top.daemons.as_ref(), wide, look) {
        Err(lines) => lines,
        Ok(_) => table(top, look).lines_or(NONE, wide, high, look),
    }
}

fn table(top: &Top, look: Look) -> Table {
    let columns = vec![
        Column::text("node", 0, 40),
        Column::figure("pid", 4),
        Column::text("stands", 1, 10),
        Column::figure("slots", 2),
        Column::figure("a minute", 3),
        Column::text("seen", 5, 20),
        Column::text("begun", 7, 20),
        Column::text("version", 6, 20),
        Column::text("queues", 8, 200),
    ];
    let row = |daemon: &&DaemonAnswer| {
        let of = &daemon.seen.daemon;
        let sum = |figure: fn(&crate::job::QueueWork) -> u64| of.queues.values().map(figure).sum::<u64>();
        let queues: Vec<String> = of.queues.iter().map(|(name, work)| format!("{name} {}/{}", work.running, work.slots)).collect();
        vec![
            of.node.clone().into(),
            of.pid.to_string().into(),
            stands(daemon, look),
            format!("{}/{}", sum(|work| work.running as u64), sum(|work| work.slots as u64)).into(),
            count(sum(|work| work.ended_in_minute)).into(),
            from_now(daemon.seen.seen_at, top.now).into(),
            from_now(of.started_at, top.now).into(),
            of.version.clone().into(),
            queues.join(", ").into(),
        ]
    };
    Table { columns, rows: top.daemon_rows().iter().map(row).collect(), chosen: top.chosen() }
}

fn stands(daemon: &DaemonAnswer, look: Look) -> Cell {
    match (daemon.live, daemon.seen.daemon.draining) {
        (false, _) => Cell::styled("silent !", look.bad()),
        (true, true) => Cell::styled("draining", look.warn()),
        (true, false) => Cell::styled("works", look.good()),
    }
}
