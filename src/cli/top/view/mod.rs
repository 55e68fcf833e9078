//! How the state looks: a line of views, the view, and two lines of what can be done and who answers. What lies over it is `over.rs`.

mod daemons;
mod dead;
mod jobs;
mod look;
mod over;
mod overview;
mod queues;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use look::Look;

use super::{
    heard::Answer,
    state::{Link, Over, Top, View},
};
use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};
use words::{duration, fit, from_now, width, wrap};

/// The views and a blank line.
const HEAD: usize = 2;
/// What can be done, and who answers.
const FOOT: usize = 2;

/// Draws all of it. Answers how many lines of the text that lies over the view do not fit.
pub fn draw(frame: &mut Frame<'_>, top: &Top, look: Look) -> u16 {
    let area = frame.area();
    let (wide, high) = (usize::from(area.width), usize::from(area.height));
    let room = high.saturating_sub(HEAD + FOOT);
    let mut body = body(top, wide, room, look);
    body.resize(room, Line::default());
    let lines = [head(top, wide, look), Line::default()].into_iter().chain(body).chain([hints(top, wide, look), link(top, wide, look)]);
    put(frame, area, lines);
    over::draw(frame, top, look)
}

/// The overview as plain text, as long as it is.
#[must_use]
pub fn text(top: &Top, wide: usize) -> String {
    let mut lines = overview::lines(top, wide, usize::MAX, None, Look::PLAIN);
    lines.extend([Line::default(), link(top, wide, Look::PLAIN)]);
    lines.iter().map(|line| format!("{}\n", line.to_string().trim_end())).collect()
}

fn body(top: &Top, wide: usize, high: usize, look: Look) -> Vec<Line<'static>> {
    let chosen = top.chosen();
    match top.view {
        View::Overview => overview::lines(top, wide, high, chosen, look),
        View::Queues => queues::lines(top, wide, high, look),
        View::Jobs => jobs::lines(top, wide, high, look),
        View::Dead => dead::lines(top, wide, high, look),
        View::Daemons => daemons::lines(top, wide, high, look),
    }
}

/// One below the other, from the top; what does not fit is left out.
fn put(frame: &mut Frame<'_>, area: Rect, lines: impl IntoIterator<Item = Line<'static>>) {
    for (row, line) in area.rows().zip(lines) {
        frame.render_widget(line, row);
    }
}

/// All views where they fit, else the one that is shown.
fn head(top: &Top, wide: usize, look: Look) -> Line<'static> {
    let tab = |(at, view): (usize, View)| {
        let is_shown = view == top.view;
        let text = format!("{} {}", at + 1, view.name());
        if is_shown { Span::styled(format!("[{text}]"), look.chosen()) } else { Span::raw(format!(" {text} ")) }
    };
    let tabs: Vec<Span<'static>> = View::ALL.into_iter().enumerate().map(tab).collect();
    let taken: usize = tabs.iter().map(Span::width).sum();
    let name = "  windlass top";
    match wide.checked_sub(taken) {
        Some(left) if left >= name.len() => Line::from([tabs, vec![Span::styled(name, look.quiet())]].concat()),
        Some(_) => Line::from(tabs),
        None => Line::styled(fit(&format!("[{}] Tab for others", top.view.name()), wide), look.chosen()),
    }
}

/// What can be done now, or what was.
fn hints(top: &Top, wide: usize, look: Look) -> Line<'static> {
    let filter = &top.list().filter;
    if top.over == Some(Over::Filter) {
        return Line::raw(fit(&format!("/{filter}▏  Enter keeps it, Esc clears it"), wide));
    }
    match &top.note {
        Some(note) => match &note.says {
            Ok(done) => Line::styled(fit(done, wide), look.good()),
            Err(why) => trouble(why, wide, look),
        },
        None if !filter.is_empty() => Line::raw(fit(&format!("only what has {filter:?} in it; Esc shows all"), wide)),
        None => Line::styled(fit(keys(top.view), wide), look.quiet()),
    }
}

const fn keys(view: View) -> &'static str {
    match view {
        View::Overview | View::Queues => "? help  q quit  Tab views  / filter  Enter jobs  p pause, resume  s sort",
        View::Jobs => "? help  q quit  Tab views  / filter  Enter why  s state  Esc queues",
        View::Dead => "? help  q quit  Tab views  / filter  Enter more of it",
        View::Daemons => "? help  q quit  Tab views  / filter",
    }
}

/// Who answers.
fn link(top: &Top, wide: usize, look: Look) -> Line<'static> {
    match &top.link {
        Link::Begun => Line::styled(fit("asking…", wide), look.quiet()),
        Link::Answers { from, took } => Line::styled(fit(&format!("{from} answers in {}", duration(*took)), wide), look.quiet()),
        Link::Lost { since, says } => {
            let age = top.heard_at.map(|at| format!("; what is shown is from {}", from_now(at, top.now))).unwrap_or_default();
            trouble(&format!("lost {}{age}; trying again: {says}", from_now(*since, top.now)), wide, look)
        }
    }
}

fn trouble(says: &str, wide: usize, look: Look) -> Line<'static> {
    Line::styled(fit(&format!("! {says}"), wide), look.bad())
}

/// The answer, or what is to be read in its place.
fn answered<T>(answer: Option<&Answer<T>>, wide: usize, look: Look) -> Result<&T, Vec<Line<'static>>> {
    match answer {
        None => Err(vec![Line::styled("  asking…", look.quiet())]),
        Some(Err(says)) => Err(paragraph(&format!("! {says}"), wide, look.bad())),
        Some(Ok(answer)) => Ok(answer),
    }
}

fn paragraph(text: &str, wide: usize, style: Style) -> Vec<Line<'static>> {
    wrap(text, wide.saturating_sub(2)).into_iter().map(|line| Line::styled(format!("  {line}"), style)).collect()
}

/// A word, and what is to be said to it.
fn member(name: &str, says: &str, style: Style, wide: usize, look: Look) -> Line<'static> {
    let name = format!("  {name:<14}");
    let room = wide.saturating_sub(width(&name));
    Line::from(vec![Span::styled(name, look.strong()), Span::styled(fit(says, room), style)])
}
