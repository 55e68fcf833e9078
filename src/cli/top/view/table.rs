//! A table: columns as wide as they need to be, the least important left out where there is no room, and the rows around the chosen one.

use super::{
    Look,
    words::{fit, width},
};
use ratatui::{
    style::Style,
    text::{Line, Span},
};

/// Between two columns.
const GAP: usize = 2;
/// Before each row: which one is chosen.
const MARK: usize = 2;
/// A text that is cut shorter says nothing.
const LEAST: usize = 12;

pub struct Column {
    pub name: String,
    /// The higher the sooner it is left out; 0: never.
    pub rank: u8,
    /// It is not made wider than this.
    pub most: usize,
    /// Figures stand at the right.
    pub is_figure: bool,
}

#[derive(Clone)]
pub struct Cell {
    text: String,
    style: Style,
}

pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    pub chosen: Option<usize>,
}

impl Column {
    pub fn text(name: &str, rank: u8, most: usize) -> Self {
        Self { name: name.to_uppercase(), rank, most, is_figure: false }
    }

    pub fn figure(name: &str, rank: u8) -> Self {
        Self { name: name.to_uppercase(), rank, most: 16, is_figure: true }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, style: Style::new() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Cell {
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl Table {
    /// The same, or a sentence where there is no row.
    pub fn lines_or(&self, nothing: &str, wide: usize, high: usize, look: Look) -> Vec<Line<'static>> {
        if !self.rows.is_empty() {
            return self.lines(wide, high, look);
        }
        let mut lines = vec![Line::styled(fit(&format!("  {nothing}"), wide), look.quiet())];
        lines.truncate(high);
        lines
    }

    /// At most `high` lines of `wide` columns, headings included.
    pub fn lines(&self, wide: usize, high: usize, look: Look) -> Vec<Line<'static>> {
        let widths = self.widths(wide.saturating_sub(MARK));
        let headings = self.columns.iter().map(|column| Cell::styled(column.name.clone(), look.strong()));
        let mut lines = vec![self.line("  ", headings, &widths)];
        let room = high.saturating_sub(1);
        let first = first_row(self.chosen.unwrap_or(0), self.rows.len(), room);
        for (place, row) in self.rows.iter().enumerate().skip(first).take(room) {
            let is_chosen = self.chosen == Some(place);
            let line = self.line(if is_chosen { "▸ " } else { "  " }, row.iter().cloned(), &widths);
            lines.push(if is_chosen { line.style(look.chosen()) } else { line });
        }
        lines.truncate(high);
        lines
    }

    /// Of each column; 0: it is left out.
    fn widths(&self, wide: usize) -> Vec<usize> {
        let natural = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(&fit(&cell.text, column.most)));
            cells.max().unwrap_or(0).max(width(&column.name))
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(natural).collect();
        while taken(&widths) > wide {
            let shown = self.columns.iter().enumerate().filter(|(at, column)| widths[*at] > 0 && column.rank > 0);
            let Some((at, column)) = shown.max_by_key(|(_, column)| column.rank) else { break };
            let cut = widths[at].saturating_sub(taken(&widths) - wide);
            widths[at] = if cut >= LEAST && !column.is_figure { cut } else { 0 };
        }
        // Columns that are never left out share what there is, the first at the cost of the last.
        let mut left = wide;
        for width in widths.iter_mut().filter(|width| **width > 0) {
            *width = (*width).min(left);
            left = left.saturating_sub(*width + GAP);
        }
        widths
    }

    fn line(&self, mark: &'static str, cells: impl Iterator<Item = Cell>, widths: &[usize]) -> Line<'static> {
        let mut spans = vec![Span::raw(mark)];
        for ((cell, column), room) in cells.zip(&self.columns).zip(widths).filter(|(_, room)| **room > 0) {
            let text = fit(&cell.text, *room);
            let blank = " ".repeat(room.saturating_sub(width(&text)));
            let text = if column.is_figure { blank + &text } else { text + &blank };
            if spans.len() > 1 {
                spans.push(Span::raw(" ".repeat(GAP)));
            }
            spans.push(Span::styled(text, cell.style));
        }
        Line::from(spans)
    }
}

fn taken(widths: &[usize]) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

/// So that the chosen row stands in the middle where rows are many.
fn first_row(chosen: usize, rows: usize, room: usize) -> usize {
    chosen.saturating_sub(room / 2).min(rows.saturating_sub(room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = vec![Column::text("name", 0, 20), Column::figure("jobs", 1), Column::text("why", 2, 30)];
        let row = |name: &str, jobs: &str, why: &str| vec![name.into(), jobs.into(), why.into()];
        Table { columns, rows: vec![row("one", "1", "because"), row("two", "22", "日本")], chosen: Some(1) }
    }

    fn text(wide: usize, high: usize) -> Vec<String> {
        table().lines(wide, high, Look::PLAIN).iter().map(|line| line.to_string().trim_end().to_owned()).collect()
    }

    #[test]
    fn columns_are_left_out_by_rank_where_there_is_no_room() {
        assert_eq!(text(40, 9), ["  NAME  JOBS  WHY", "  one      1  because", "▸ two     22  日本"]);
        assert_eq!(text(20, 9), ["  NAME  JOBS", "  one      1", "▸ two     22"]);
        assert_eq!(text(6, 9), ["  NAME", "  one", "▸ two"]);
        assert_eq!(text(4, 9), ["  N…", "  o…", "▸ t…"]);
    }

    #[test]
    fn chosen_row_is_among_those_that_are_shown() {
        assert_eq!(text(20, 2), ["  NAME  JOBS", "▸ two     22"]);
        assert_eq!((text(20, 1).len(), text(0, 0).len()), (1, 0));
        assert_eq!([first_row(0, 9, 4), first_row(5, 9, 4), first_row(8, 9, 4), first_row(3, 2, 9)], [0, 3, 5, 0]);
    }
}
