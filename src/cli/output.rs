//! How answers look: an aligned table for people, JSON for scripts. Everything that came from outside loses its control
//! characters on the way to a terminal.

use serde::Serialize;
use std::io::{self, Write as _};

/// `--json` on a command that has something to show.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Format {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

impl Format {
    /// The JSON twin of an answer, or its lines for people.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn show<T: Serialize>(self, answer: &T, for_people: impl FnOnce(&T) -> String) -> io::Result<()> {
        if self.json { print_json(answer) } else { print(&for_people(answer)) }
    }
}

/// # Errors
/// When standard output cannot be written.
pub fn print_json(answer: &impl Serialize) -> io::Result<()> {
    print(&serde_json::to_string(answer)?)
}

/// A line, or several; a line end is added where it is missing. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(line_end.as_bytes())).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written,
    }
}

/// Columns as wide as their widest cell, two spaces apart; the last one is free.
#[derive(Debug)]
pub struct Rows {
    rows: Vec<Vec<String>>,
}

impl Rows {
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| heading.to_uppercase()).collect()] }
    }

    /// Without headings: a name and a value a row, beginning with these.
    #[must_use]
    pub fn beginning_with(name: &str, value: &str) -> Self {
        Self { rows: vec![vec![name.to_owned(), plain(value)]] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table, or `nothing` when there is no row.
    #[must_use]
    pub fn or(&self, nothing: &str) -> String {
        if self.is_empty() { nothing.to_owned() } else { self.to_string() }
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths: Vec<usize> = (0..self.rows[0].len()).map(|column| self.width(column)).collect();
        for row in &self.rows {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// An answer of single values as a table of its members, a row each.
pub fn members(answer: &impl Serialize) -> String {
    let members = serde_json::to_value(answer).unwrap_or_default();
    let mut rows = Rows::new(&["figure", "value"]);
    for (name, value) in members.as_object().into_iter().flatten() {
        rows.row([name.replace('_', " "), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]);
    }
    rows.to_string()
}

/// Without the characters that move a cursor, ring a bell or turn a line round.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || turns_round(c) { ' ' } else { c }).collect()
}

/// Those of Unicode that change the direction of what follows, and its own two line ends.
const fn turns_round(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same for a text of several lines, which stay lines.
#[must_use]
pub fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// At most `most` characters.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_gone() {
        let mut rows = Rows::new(&["id", "reason"]);
        rows.row(["a".to_owned(), "clear\u{1b}[2J".to_owned()]);
        rows.row(["b".to_owned(), "exe.\u{202e}gpj".to_owned()]);
        rows.row(["äöü".to_owned(), String::new()]);
        assert_eq!(rows.to_string(), "ID   REASON\na    clear [2J\nb    exe. gpj\näöü\n");
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(Rows::new(&["id"]).or("no jobs"), "no jobs");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöüß", 3), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }
}
