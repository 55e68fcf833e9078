//! What lies over a view: the keys, a question, a job with what holds it, a group of dead letters.

use super::{
    Look, Over, Top, answered, dead, put,
    words::{count, from_now, plural, width, wrap},
};
use crate::{
    cli::top::state::Hold,
    job::{
        State,
        explain::{Explanation, Gate},
    },
    store::dead::Group,
};
use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::{Block, Clear},
};

/// Wider texts are hard to read.
const WIDEST: u16 = 100;

const HELP: [(&str, &str); 12] = [
    ("Tab, ← →, 1 to 5", "the other views"),
    ("↑ ↓, j k", "a row up or down"),
    ("PgUp PgDn, g G", "many rows, the first, the last"),
    ("Enter", "the jobs of a queue, why a job waits, a group of dead letters"),
    ("/", "show only what has a text in it"),
    ("s", "queues by another figure; jobs of another state"),
    ("r", "the order the other way round"),
    ("p", "hold a queue back, or let it go; it asks first"),
    ("Ctrl-L", "draw everything anew"),
    ("Esc", "back; from the outermost it ends"),
    ("q, Ctrl-C", "end"),
    ("!", "marks what somebody should look at"),
];

/// Answers how many lines do not fit.
pub fn draw(frame: &mut Frame<'_>, top: &Top, look: Look) -> u16 {
    let wide = usize::from(inner_width(frame.area()));
    match &top.over {
        None | Some(Over::Filter) => 0,
        Some(Over::Help) => sheet(frame, "Keys", help(wide, look), 0, look),
        Some(Over::Hold(hold)) => sheet(frame, &question(hold), asked(hold, wide, look), 0, look),
        Some(Over::Job { id, scroll }) => sheet(frame, &format!("Job {id}"), explained(top, wide, look), *scroll, look),
        Some(Over::Group { fingerprint, scroll }) => {
            let told = top.group(fingerprint).map_or_else(|| text("they are gone by now", wide), |group| told(group, top, wide, look));
            sheet(frame, "Dead letters", told, *scroll, look)
        }
    }
}

fn inner_width(area: Rect) -> u16 {
    area.width.saturating_sub(4).min(WIDEST)
}

/// A frame in the middle, as high as its lines, as far as there is room.
fn sheet(frame: &mut Frame<'_>, title: &str, lines: Vec<Line<'static>>, scroll: u16, look: Look) -> u16 {
    let area = frame.area();
    let high = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let wide = inner_width(area).saturating_add(4).min(area.width);
    let sheet = Rect::new((area.width - wide) / 2, (area.height - high) / 2, wide, high);
    let beyond = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(high.saturating_sub(2));
    let title = super::fit(title, usize::from(wide).saturating_sub(4));
    let mut block = Block::bordered().title(Span::styled(format!(" {title} "), look.strong()));
    if beyond > 0 {
        block = block.title_bottom(" ↑ ↓ for the rest ");
    }
    let inner = block.inner(sheet);
    frame.render_widget(Clear, sheet);
    frame.render_widget(block, sheet);
    let inner = Rect { x: inner.x.saturating_add(1), width: inner.width.saturating_sub(2), ..inner };
    put(frame, inner, lines.into_iter().skip(usize::from(scroll.min(beyond))));
    beyond
}

fn text(says: &str, wide: usize) -> Vec<Line<'static>> {
    styled(says, wide, Style::new())
}

fn styled(says: &str, wide: usize, style: Style) -> Vec<Line<'static>> {
    wrap(says, wide).into_iter().map(|line| Line::styled(line, style)).collect()
}

/// A word, and beside it as many lines as are to be said to it.
fn beside(word: &str, at: usize, says: &str, wide: usize, style: Style) -> Vec<Line<'static>> {
    let blank = " ".repeat(at);
    let lines = wrap(says, wide.saturating_sub(at).max(8)).into_iter().enumerate();
    let first = format!("{word}{}", " ".repeat(at.saturating_sub(width(word))));
    lines
        .map(|(place, line)| Line::from(vec![Span::styled(if place == 0 { first.clone() } else { blank.clone() }, style), Span::raw(line)]))
        .collect()
}

fn help(wide: usize, look: Look) -> Vec<Line<'static>> {
    HELP.iter().flat_map(|(key, does)| beside(key, 18, does, wide, look.strong())).collect()
}

fn question(hold: &Hold) -> String {
    format!("{} {}?", if hold.resume { "Resume" } else { "Pause" }, hold.queue)
}

fn asked(hold: &Hold, wide: usize, look: Look) -> Vec<Line<'static>> {
    let (running, waiting) = (plural(hold.running, "job"), plural(hold.waiting, "job"));
    if hold.resume {
        let says = text(&format!("What waits begins to run as soon as there are slots: {waiting}."), wide);
        return [says, vec![Line::default()], styled("Enter resumes it, Esc leaves it as it is.", wide, look.strong())].concat();
    }
    let says = format!("Nothing more of it starts until somebody resumes it. What runs goes on: {running}. What waits: {waiting}.");
    let wants = hold.wants.map(|wants| styled(&format!("! {wants}"), wide, look.bad())).unwrap_or_default();
    [
        text(&says, wide),
        vec![Line::default()],
        beside("Why:", 5, &format!("{}▏", hold.reason), wide, look.strong()),
        wants,
        vec![Line::default()],
        styled("Enter pauses it, Esc leaves it as it is.", wide, look.strong()),
    ]
    .concat()
}

fn explained(top: &Top, wide: usize, look: Look) -> Vec<Line<'static>> {
    match answered(top.explanation.as_ref(), wide, look) {
        Err(lines) => lines,
        Ok(None) => text("it is gone; it may have been removed after its retention time", wide),
        Ok(Some(explanation)) => why(explanation, wide, look),
    }
}

fn why(explanation: &Explanation, wide: usize, look: Look) -> Vec<Line<'static>> {
    let about = format!("{} of queue {} is {}", explanation.kind, explanation.queue, explanation.state);
    let says = text(&explanation.says, wide);
    let gates = explanation.gates.iter().flat_map(|gate| gate_lines(gate, explanation, wide, look));
    let mut lines = [styled(&about, wide, look.strong()), says, vec![Line::default()]].concat();
    lines.extend(gates);
    if let Some(starts) = starts(explanation) {
        lines.push(Line::default());
        lines.extend(text(&starts, wide));
    }
    lines
}

fn gate_lines(gate: &Gate, explanation: &Explanation, wide: usize, look: Look) -> Vec<Line<'static>> {
    let name = serde_json::to_value(gate.gate).ok();
    let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().replace('_', " ");
    let opens = gate.opens_at.filter(|at| !gate.open && *at > explanation.at);
    let opens = opens.map(|at| format!(" (opens {})", from_now(at, explanation.at))).unwrap_or_default();
    let (word, style) = if gate.open { ("open  ", look.quiet()) } else { ("closed", look.bad()) };
    beside(&format!("{word} {name}"), 22, &format!("{}{opens}", gate.says), wide, style)
}

fn starts(explanation: &Explanation) -> Option<String> {
    if explanation.state.is_final() || explanation.state == State::Running {
        return None;
    }
    let Some(starts) = &explanation.starts else { return Some("nobody can know when it starts".into()) };
    let from = from_now(starts.from, explanation.at);
    let to =
        starts.to.map(|to| format!("at the latest {}", from_now(to, explanation.at))).unwrap_or_else(|| "nobody can know how late".into());
    Some(format!("at the pace of the last minute it starts at the earliest {from}, {to}"))
}

fn told(group: &Group, top: &Top, wide: usize, look: Look) -> Vec<Line<'static>> {
    let member = |name: &str, says: &str| beside(name, 13, says, wide, look.strong());
    let ids: Vec<String> = group.sample.iter().map(ToString::to_string).collect();
    let span = format!("{} to {}", from_now(group.oldest_at, top.now), from_now(group.newest_at, top.now));
    [
        member("Jobs", &count(group.jobs)),
        member("Kind", &group.kind),
        member("Queue", &group.queue),
        member("Failed with", dead::failed_with(group)),
        member("Message", group.message.as_deref().unwrap_or("none, or not to be seen by this token")),
        member("Ended", &span),
        member("Such as", &ids.join(" ")),
        vec![Line::default()],
        text("Mend what made them fail, then put them back:", wide),
        text(&format!("windlass dead redrive --fingerprint {}", group.fingerprint), wide),
    ]
    .concat()
}
