//! How it goes: what ends, waits and fails, who works, what somebody should look at, and the queues.

use super::{
    Look, Style, Top, answered, member, paragraph, queues,
    words::{bars, count, duration, plural, rate},
};
use crate::{
    control::wire::DaemonAnswer,
    job::{Name, QueueWork, State},
    store::QueueStatus,
};
use ratatui::text::Line;
use std::time::Duration;

/// Older than this at the head of a line is late.
pub const LATE: Duration = Duration::from_secs(60);
/// Whatever else is to be looked at is on the view of queues.
const ADVICE: usize = 4;

pub fn lines(top: &Top, wide: usize, high: usize, chosen: Option<usize>, look: Look) -> Vec<Line<'static>> {
    let queues = match answered(top.queues.as_ref(), wide, look) {
        Ok(queues) => queues,
        Err(mut lines) => {
            if top.queues.is_some() {
                lines.extend(paragraph("Jobs and Dead letters show what this token reaches.", wide, Style::new()));
            }
            return lines;
        }
    };
    let daemons = top.daemons.as_ref().and_then(|daemons| daemons.as_ref().ok()).map_or(&[][..], Vec::as_slice);
    let mut lines = figures(top, queues, daemons, wide, look);
    lines.push(Line::default());
    let advice = advice(top, queues, daemons);
    for says in advice.iter().take(ADVICE) {
        lines.push(super::trouble(says, wide, look));
    }
    if advice.len() > ADVICE {
        lines.push(super::trouble(&format!("and {} more", advice.len() - ADVICE), wide, look));
    }
    if !advice.is_empty() {
        lines.push(Line::default());
    }
    let room = high.saturating_sub(lines.len());
    lines.extend(queues::table(top, chosen, queues::Wanted::Short, look).lines_or(queues::NONE, wide, room, look));
    lines
}

fn figures(top: &Top, queues: &[QueueStatus], daemons: &[DaemonAnswer], wide: usize, look: Look) -> Vec<Line<'static>> {
    let work = Work::of(daemons);
    let [waiting, running, scheduled, parked, dead] =
        [State::Queued, State::Running, State::Scheduled, State::Parked, State::Dead].map(|state| total(queues, state));
    let oldest = queues.iter().filter_map(|queue| queue.oldest_queued_ms).max().map(Duration::from_millis);
    let ended = top.samples.rate().map_or_else(|| "–".into(), |ended| format!("{} a second", rate(ended)));
    let line = |name: &str, says: String, style: Style| member(name, &says, style, wide, look);
    let normal = Style::new();
    let is_late = oldest.is_some_and(|oldest| oldest > LATE);
    let waits =
        oldest.map(|oldest| format!("; the oldest for {}{}", duration(oldest), if is_late { " !" } else { "" })).unwrap_or_default();
    let newly =
        top.samples.newly_dead().map(|(more, span)| format!("; {} more in the last {}", count(more), spoken(span))).unwrap_or_default();
    vec![
        line("Finished", format!("{ended}; {} a minute", plural(work.ended_in_minute, "attempt")), look.good()),
        line("", bars(&top.samples.rates(), wide.saturating_sub(17)), look.good()),
        line("Waiting", format!("{}{waits}", count(waiting)), if is_late { look.warn() } else { normal }),
        line("Running", format!("{}; {}", count(running), work.says()), if work.live == 0 { look.bad() } else { normal }),
        line("Later", format!("{} scheduled, {} parked", count(scheduled), count(parked)), normal),
        line("Dead letters", format!("{}{newly}", count(dead)), if dead > 0 { look.bad() } else { normal }),
    ]
}

fn spoken(span: Duration) -> String {
    if span.as_secs() == 60 { "minute".into() } else { duration(span) }
}

fn total(queues: &[QueueStatus], state: State) -> u64 {
    queues.iter().filter_map(|queue| queue.jobs.get(&state)).sum()
}

/// What daemons that live say of themselves, together.
#[derive(Default)]
struct Work {
    live: u64,
    slots: usize,
    running: usize,
    ended_in_minute: u64,
}

impl Work {
    fn of(daemons: &[DaemonAnswer]) -> Self {
        let mut all = Self::default();
        for daemon in daemons.iter().filter(|daemon| daemon.live) {
            all.live += 1;
            for QueueWork { slots, running, ended_in_minute } in daemon.seen.daemon.queues.values() {
                all.slots += slots;
                all.running += running;
                all.ended_in_minute += ended_in_minute;
            }
        }
        all
    }

    fn says(&self) -> String {
        if self.live == 0 {
            return "no daemon is alive".into();
        }
        format!("{} of {} taken, {}", count(self.running as u64), plural(self.slots as u64, "slot"), plural(self.live, "daemon"))
    }
}

/// What somebody should look at, in words; the worst first.
fn advice(top: &Top, queues: &[QueueStatus], daemons: &[DaemonAnswer]) -> Vec<String> {
    let alive = || daemons.iter().filter(|daemon| daemon.live);
    let mut says = Vec::new();
    if top.daemons.as_ref().is_some_and(Result::is_ok) && alive().count() == 0 {
        says.push("no daemon is alive: nothing runs; start `windlass run`".to_owned());
    }
    let is_worked_on = |queue: &QueueStatus| {
        let name = Name::new(&queue.name).ok();
        name.is_none_or(|name| alive().any(|daemon| daemon.seen.works_on(&name)))
    };
    for queue in queues.iter().filter(|queue| alive().count() > 0 && !is_worked_on(queue)) {
        let waiting = queue.jobs.get(&State::Queued).copied().unwrap_or(0);
        if waiting > 0 {
            says.push(format!("no daemon works on {}, and {} there", queue.name, waits(waiting)));
        }
    }
    says.extend(queues.iter().filter_map(|queue| queues::paused(queue, top.now)));
    says
}

fn waits(jobs: u64) -> String {
    format!("{} {}", plural(jobs, "job"), if jobs == 1 { "waits" } else { "wait" })
}
