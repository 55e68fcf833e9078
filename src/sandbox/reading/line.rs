//! One line of a text and what its form says it is: a heading, an item of a list, a row, a `Label: value`, prose.

/// The form of a line. Levels of headings count from 1; what only looks like a heading gets a deep level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Blank,
    Heading(u8),
    Item,
    Row,
    Prose,
}

/// A heading by its marks alone (`**Bold**`, ALL CAPS, `Schedule:`) ranks below every `#` one.
pub const IMPLIED_HEADING: u8 = 7;

#[derive(Clone, Debug)]
pub struct Line {
    /// Without the marks of lists, headings and emphasis.
    pub text: String,
    pub shape: Shape,
    pub indent: usize,
    /// Every `Label: value` in it; a row of a table has one a cell.
    pub labels: Vec<(String, String)>,
}

impl Line {
    pub fn read(raw: &str) -> Self {
        let indent = raw.chars().take_while(|c| c.is_whitespace()).map(|c| if c == '\t' { 4 } else { 1 }).sum();
        let (shape, text) = shape_of(raw.trim());
        let text = without_emphasis(text);
        let labels = if shape == Shape::Blank { Vec::new() } else { labels(&text) };
        Self { text, shape, indent, labels }
    }

    /// A row of a table whose columns are named by `header`.
    pub fn row(header: &[String], cells: &[String]) -> Self {
        let labels: Vec<_> = header.iter().cloned().zip(cells.iter().cloned()).filter(|(_, cell)| !cell.is_empty()).collect();
        let text = labels.iter().map(|(_, cell)| cell.as_str()).collect::<Vec<_>>().join(" | ");
        Self { text, shape: Shape::Row, indent: 0, labels }
    }

    /// The word that is numbered at the start, as `Week` of `Week 3: Cells`.
    pub fn numbered_word(&self) -> Option<&str> {
        let mut words = self.text.split_whitespace();
        let (word, number) = (words.next()?, words.next()?);
        let number = number.trim_end_matches([':', '.', ')', '-', '–', ',']);
        let counts = !number.is_empty() && number.len() <= 3 && number.chars().all(|c| c.is_ascii_digit());
        (counts && word.chars().all(char::is_alphabetic) && super::spot::days(&self.text).iter().all(|day| day.span.start > 0))
            .then_some(word)
    }
}

fn shape_of(line: &str) -> (Shape, &str) {
    if line.chars().all(|c| "-=_*~#| \t+:".contains(c)) {
        return (Shape::Blank, "");
    }
    let hashes = line.len() - line.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) && line[hashes..].starts_with(' ') {
        return (Shape::Heading(u8::try_from(hashes).unwrap_or(6)), line[hashes..].trim().trim_end_matches('#').trim());
    }
    if let Some(item) = item(line) {
        return (Shape::Item, item);
    }
    let all_bold = line.len() > 4 && line.starts_with("**") && line.ends_with("**") && !line[2..line.len() - 2].contains("**");
    let loud = line.chars().filter(|c| c.is_alphabetic()).count() >= 4 && !line.chars().any(char::is_lowercase) && word_count(line) <= 8;
    let announces = line.ends_with(':') && word_count(line) <= 8;
    if all_bold || announces || (loud && line.chars().any(char::is_uppercase) && !line.contains(": ")) {
        return (Shape::Heading(IMPLIED_HEADING), line.trim_end_matches(':'));
    }
    (Shape::Prose, line)
}

/// The text of `- x`, `* x`, `• x`, `1. x`, `(a) x`, `[ ] x`.
fn item(line: &str) -> Option<&str> {
    let bullet = ["- ", "* ", "• ", "– ", "— ", "+ ", "◦ ", "· ", "‣ ", "▪ "].into_iter().find_map(|mark| line.strip_prefix(mark));
    let rest = bullet.or_else(|| {
        let end = line.find([' ', '\t'])?;
        let mark = &line[..end];
        let inner = mark.trim_start_matches('(').trim_end_matches(['.', ')']);
        let numbered = inner.len() <= 3 && inner.chars().all(|c| c.is_ascii_digit());
        let lettered = inner.len() == 1 && inner.chars().all(|c| c.is_ascii_alphabetic());
        (mark.len() > inner.len() && !inner.is_empty() && (numbered || lettered)).then(|| &line[end..])
    })?;
    let rest = rest.trim();
    Some(["[ ]", "[x]", "[X]"].into_iter().find_map(|mark| rest.strip_prefix(mark)).unwrap_or(rest).trim())
}

pub fn word_count(text: &str) -> usize {
    text.split_whitespace().count()
}

fn without_emphasis(text: &str) -> String {
    text.replace("**", "").replace("__", "").replace('`', "").trim().to_owned()
}

/// The `Label: value` pairs of a line; several stand apart by ` | `, ` · `, `; ` or a tab.
fn labels(text: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = text.split(" | ").flat_map(|part| part.split(" · ")).flat_map(|part| part.split(['\t', ';'])).collect();
    let several = parts.iter().filter(|part| label(part).is_some()).count() > 1;
    let parts = if several { parts } else { vec![text] };
    parts.into_iter().filter_map(label).collect()
}

fn label(part: &str) -> Option<(String, String)> {
    let (label, value) = part.split_once(": ").or_else(|| part.split_once(":\t"))?;
    let (label, value) = (label.trim(), value.trim());
    let short = word_count(label) <= 5 && label.chars().count() <= 48;
    let sounds = label.starts_with(char::is_alphabetic) && !label.contains(['.', ',', '?', '!']);
    (short && sounds && !value.is_empty()).then(|| (label.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_line_is_told_by_its_marks() {
        let shape = |text| (Line::read(text).shape, Line::read(text).text);
        assert_eq!(shape("## Grading ##"), (Shape::Heading(2), "Grading".to_owned()));
        assert_eq!(shape("  * [x] **Read** it"), (Shape::Item, "Read it".to_owned()));
        assert_eq!(shape("12) Twelve"), (Shape::Item, "Twelve".to_owned()));
        assert_eq!(shape("Course goals:"), (Shape::Heading(IMPLIED_HEADING), "Course goals".to_owned()));
        assert_eq!(shape("-----"), (Shape::Blank, String::new()));
        assert_eq!(shape("Plain words."), (Shape::Prose, "Plain words.".to_owned()));
    }

    #[test]
    fn labels_are_told_from_links_and_sentences() {
        let labels = |text| Line::read(text).labels;
        assert_eq!(labels("Instructor: Ana Lima | Room: B12").len(), 2);
        assert_eq!(labels("**Price:** $20"), [("Price".to_owned(), "$20".to_owned())]);
        assert!(labels("see https://example.org/a: b, at 10:30").is_empty());
    }

    #[test]
    fn numbered_words_are_not_dates() {
        assert_eq!(Line::read("- Week 3: Cells").numbered_word(), Some("Week"));
        assert_eq!(Line::read("March 3: first class").numbered_word(), None);
    }
}
