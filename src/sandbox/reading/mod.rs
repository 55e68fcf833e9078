//! Reads a text as a person skims it: title, sections, labels, lists, tables, sentences. Knows no schema; which part
//! answers which property is decided in `answer/`.

pub mod line;
pub mod spot;
pub mod words;

use line::{IMPLIED_HEADING, Line, Shape, word_count};
use words::{Cue, stem, stems};

/// A text, or the part of one that is a record of its own (an item with what hangs below it, a row, a section).
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub lines: Vec<Line>,
    /// Its place among its like, from 1, when it is a record.
    pub position: Option<u32>,
    /// Its like all begin with the same label, which therefore does not tell them apart.
    alike_label: bool,
}

/// Parts of a text that are alike, and whether the text names them as what was asked for.
#[derive(Debug, Default)]
pub struct Records {
    pub documents: Vec<Document>,
    pub named: bool,
}

impl Document {
    pub fn read(text: &str) -> Self {
        let raw: Vec<String> = text.lines().map(|line| line.chars().filter(|c| !c.is_control() || *c == '\t').collect()).collect();
        let mut lines = Vec::with_capacity(raw.len());
        let mut at = 0;
        while at < raw.len() {
            let table = table(&raw[at..]);
            if table.is_empty() {
                lines.push(with_underline(Line::read(&raw[at]), raw.get(at + 1)));
                at += 1;
            } else {
                at += table.len();
                lines.extend(rows(&table));
            }
        }
        promote_lone_lines(&mut lines);
        Self { lines, ..Self::default() }
    }

    fn of(lines: &[Line]) -> Self {
        Self { lines: lines.to_vec(), ..Self::default() }
    }

    /// The lines that say something.
    pub fn spoken(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.shape != Shape::Blank)
    }

    pub fn text(&self) -> String {
        self.spoken().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The first heading, or else the first line if it is short, or else how the text begins.
    pub fn title(&self) -> Option<String> {
        let first = self.spoken().next()?;
        let heading = self.spoken().take(5).find(|line| matches!(line.shape, Shape::Heading(level) if level < IMPLIED_HEADING));
        let line = heading.unwrap_or(first);
        if heading.is_none() && !line.labels.is_empty() {
            return Some(line.labels[0].1.clone());
        }
        Some(if word_count(&line.text) <= 14 { line.text.clone() } else { clip_words(&line.text, 12) })
    }

    /// What a record is called: its first line up to the first aside; the value of `Week 3: value`, the label of `Essay: 30 %`.
    pub fn head(&self) -> Option<String> {
        let line = self.spoken().next()?;
        if line.shape == Shape::Row {
            let spoken = |cell: &&(String, String)| spot::quantities(&cell.1).is_empty() && spot::emails(&cell.1).is_empty();
            return line.labels.iter().find(spoken).or(line.labels.first()).map(|(_, cell)| cell.clone());
        }
        let text = match line.labels.first() {
            Some((label, value)) if self.alike_label || label.chars().any(|c| c.is_ascii_digit()) => value,
            Some((label, _)) => label,
            None => &line.text,
        };
        Some(up_to_aside(text))
    }

    /// The value of the label that answers `cue` best, with how well it does.
    pub fn labelled(&self, cue: &Cue) -> Option<(u32, String)> {
        let all = self.spoken().flat_map(|line| &line.labels);
        // The first of the best, as a reader takes the first mention.
        let best = all.map(|(label, value)| (cue.names(label), value)).rev_max()?;
        (best.0 > 0).then(|| (best.0, best.1.clone()))
    }

    /// The body below the heading that answers `cue` best.
    pub fn section(&self, cue: &Cue) -> Option<(u32, Self)> {
        let heading = |line: &Line| if let Shape::Heading(level) = line.shape { Some(level) } else { None };
        let headings = self.lines.iter().enumerate().filter_map(|(at, line)| Some((cue.names(&line.text), (at, heading(line)?))));
        let (score, (at, level)) = headings.rev_max()?;
        let body = &self.lines[at + 1..];
        let end = body.iter().position(|line| heading(line).is_some_and(|other| other <= level)).unwrap_or(body.len());
        let spoken = body[..end].iter().any(|line| line.shape != Shape::Blank);
        (score > 0 && spoken).then(|| (score, Self::of(&body[..end])))
    }

    /// The lines with a word that answers `cue`, best first.
    pub fn lines_about(&self, cue: &Cue) -> Vec<(u32, &Line)> {
        let words = |line: &Line| {
            let labelled = line.labels.iter().map(|(label, _)| cue.score(&stems(label))).max().unwrap_or(0);
            labelled.max(cue.score(&stems(&line.text)))
        };
        let mut found: Vec<_> = self.spoken().map(|line| (words(line), line)).filter(|(score, _)| *score > 0).collect();
        found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        found
    }

    pub fn sentences(&self) -> Vec<String> {
        self.spoken().flat_map(|line| sentences(&line.text)).collect()
    }

    /// What `cue` asks several of: numbered lines, a section, a table or a list that says so; else what the text consists of.
    pub fn records(&self, cue: &Cue) -> Records {
        let numbered = self.numbered(cue);
        let section = self.section(cue).map(|(score, section)| (score, section.parts()));
        let column = self.column(cue);
        let labelled = self.labelled(cue).map(|(score, value)| (score, split_list(&value))).filter(|(_, list)| is_of_things(list));
        let listed = self.listed(cue).map(|list| (1, list));
        let lists =
            [labelled, listed].into_iter().flatten().map(|(score, list)| (score, list.iter().map(|part| Self::read(part)).collect()));
        let parts = [section, numbered, column].into_iter().flatten().chain(lists);
        let named = parts.filter(|(_, parts)| !parts.is_empty());
        match named.rev_max() {
            Some((_, parts)) => Records { documents: counted(parts), named: true },
            None if self.position.is_some() => Records { documents: counted(self.below()), named: false },
            None => Records { documents: counted(self.parts()), named: false },
        }
    }

    /// The members of a sentence that speaks of `cue` and lists at least three things.
    fn listed(&self, cue: &Cue) -> Option<Vec<String>> {
        let speaks = |sentence: &String| stems(sentence).iter().any(|word| cue.weight(word) >= words::AKIN);
        let lists = self.sentences().into_iter().filter(speaks).map(|sentence| split_list(&sentence));
        lists.into_iter().find(|list| list.len() >= 3 && is_of_things(list))
    }

    /// What hangs below the first line of a record.
    fn below(&self) -> Vec<Self> {
        let rest: Vec<Line> = self.spoken().skip(1).cloned().collect();
        if rest.is_empty() { Vec::new() } else { Self::of(&rest).parts() }
    }

    /// Lines such as `Week 1: …` whose word answers `cue`, each with what follows it.
    fn numbered(&self, cue: &Cue) -> Option<(u32, Vec<Self>)> {
        let score = |line: &Line| line.numbered_word().map_or(0, |word| cue.names(word));
        let best = self.lines.iter().map(score).max().filter(|&best| best > 0)?;
        let parts = self.split_where(|line| score(line) == best);
        (parts.len() >= 2).then_some((best, parts))
    }

    /// The rows of a table with a column that answers `cue`.
    fn column(&self, cue: &Cue) -> Option<(u32, Vec<Self>)> {
        let rows: Vec<&Line> = self.lines.iter().filter(|line| line.shape == Shape::Row).collect();
        let best = rows.first()?.labels.iter().map(|(header, _)| cue.names(header)).max().filter(|&best| best > 0)?;
        Some((best, rows.into_iter().map(|row| Self::of(std::slice::from_ref(row))).collect()))
    }

    /// What the text consists of: rows, repeated blocks of labels, items, numbered lines, sub-sections, paragraphs, sentences.
    fn parts(&self) -> Vec<Self> {
        let rows: Vec<Self> =
            self.lines.iter().filter(|line| line.shape == Shape::Row).map(|row| Self::of(std::slice::from_ref(row))).collect();
        let is_item = |line: &Line| line.shape == Shape::Item;
        let margin = self.lines.iter().filter(|line| is_item(line)).map(|line| line.indent).min().unwrap_or(0);
        let heading_level =
            self.lines.iter().filter_map(|line| if let Shape::Heading(level) = line.shape { Some(level) } else { None }).max();
        let by_heading = |line: &Line| heading_level.is_some_and(|level| line.shape == Shape::Heading(level));
        let ways = [
            rows,
            self.repeated_blocks(),
            self.split_where(|line| is_item(line) && line.indent == margin),
            self.split_where(|line| line.numbered_word().is_some()),
            self.split_where(by_heading),
            self.paragraphs(),
        ];
        let only_item = || Some(self.split_where(is_item)).filter(|items| items.len() == 1 && self.spoken().next().is_some_and(is_item));
        let several = ways.into_iter().find(|parts| parts.len() >= 2).or_else(only_item);
        several.unwrap_or_else(|| self.sentences().iter().map(|sentence| Self::read(sentence)).collect())
    }

    /// A part begins at each line that `starts` one and ends before the next, or at a heading or a blank line after it.
    fn split_where(&self, starts: impl Fn(&Line) -> bool) -> Vec<Self> {
        let mut parts: Vec<Vec<Line>> = Vec::new();
        let mut open = false;
        for line in &self.lines {
            if starts(line) {
                parts.push(vec![Line { shape: plain(line.shape), ..line.clone() }]);
                open = true;
            } else if let (true, Some(part)) = (open, parts.last_mut()) {
                let outside = line.indent == 0 && part.len() > 1 && line.shape == Shape::Prose;
                open = !matches!(line.shape, Shape::Blank) && !outside && !matches!(line.shape, Shape::Heading(l) if l < IMPLIED_HEADING)
                    || matches!(part[0].shape, Shape::Heading(_));
                if open {
                    part.push(line.clone());
                }
            }
        }
        parts.into_iter().map(|lines| Self { lines, ..Self::default() }).collect()
    }

    /// `Name: a / Price: 1 / Name: b / Price: 2`: a part at each return of the first label that returns.
    fn repeated_blocks(&self) -> Vec<Self> {
        let leading =
            |line: &Line| (line.shape == Shape::Prose).then(|| line.labels.first().map(|(label, _)| label.to_lowercase())).flatten();
        let labels: Vec<String> = self.lines.iter().filter_map(leading).collect();
        let Some(first) = labels.iter().find(|label| labels.iter().filter(|other| other == label).count() >= 2) else { return Vec::new() };
        self.split_where(|line| leading(line).as_ref() == Some(first))
    }

    fn paragraphs(&self) -> Vec<Self> {
        self.lines.split(|line| line.shape == Shape::Blank).filter(|lines| !lines.is_empty()).map(Self::of).collect()
    }
}

/// The first of the greatest, where `max_by_key` takes the last.
trait FirstMax<T>: Iterator<Item = (u32, T)> + Sized {
    fn rev_max(self) -> Option<(u32, T)> {
        self.fold(None, |best, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
    }
}

impl<T, I: Iterator<Item = (u32, T)>> FirstMax<T> for I {}

/// A record's first line is no longer an item of a list; a heading stays one, and keeps what is below it together.
fn plain(shape: Shape) -> Shape {
    if shape == Shape::Item { Shape::Prose } else { shape }
}

fn counted(documents: Vec<Document>) -> Vec<Document> {
    let first_label = |document: &Document| document.spoken().next().and_then(|line| line.labels.first()).map(|(label, _)| label.clone());
    let alike_label = documents.len() >= 2 && documents.windows(2).all(|two| first_label(&two[0]) == first_label(&two[1]));
    (1..).zip(documents).map(|(position, document)| Document { position: Some(position), alike_label, ..document }).collect()
}

/// `Title` above `=====` or `-----` is a heading.
fn with_underline(line: Line, next: Option<&String>) -> Line {
    let under = next.map_or("", |next| next.trim());
    let level = match under.chars().next() {
        Some(mark @ ('=' | '-')) if under.len() >= 3 && under.chars().all(|c| c == mark) => 1 + u8::from(mark == '-'),
        _ => return line,
    };
    if line.shape == Shape::Prose { Line { shape: Shape::Heading(level), ..line } } else { line }
}

/// A short line alone at the start of a paragraph, with more below it, is read as a heading.
fn promote_lone_lines(lines: &mut [Line]) {
    for at in 0..lines.len() {
        let after_gap = at == 0 || lines[at - 1].shape == Shape::Blank;
        let followed = lines[at + 1..].iter().take(2).any(|line| line.shape != Shape::Blank);
        let line = &lines[at];
        let short =
            word_count(&line.text) <= 6 && !line.text.ends_with(['.', '!', '?', ',', ';']) && line.text.starts_with(char::is_uppercase);
        if line.shape == Shape::Prose && after_gap && followed && short && line.labels.is_empty() && line.numbered_word().is_none() {
            lines[at].shape = Shape::Heading(if at == 0 { 1 } else { IMPLIED_HEADING });
        }
    }
}

/// The raw lines of the table that begins here, if one does: at least a header and a row with as many cells.
fn table(raw: &[String]) -> Vec<Vec<String>> {
    for (separator, least) in [('|', 2), ('\t', 2), (';', 3), (',', 3)] {
        let cells = |line: &String| -> Vec<String> {
            let line = line.trim().trim_start_matches('|').trim_end_matches('|');
            line.split(separator).map(|cell| cell.trim().replace("**", "").trim_matches('"').to_owned()).collect()
        };
        let header = cells(&raw[0]);
        let named = header
            .iter()
            .all(|cell| !cell.is_empty() && word_count(cell) <= 3 && !cell.contains(':') && cell.starts_with(char::is_alphabetic));
        if header.len() < least || !named {
            continue;
        }
        let rows: Vec<Vec<String>> = raw.iter().map(cells).take_while(|row| row.len() == header.len()).collect();
        // Commas also hold sentences together; two lines of them are not yet a table.
        let least_rows = if separator == ',' && raw[0].contains(", ") { 4 } else { 2 };
        if rows.len() >= least_rows {
            return rows;
        }
    }
    Vec::new()
}

fn rows(table: &[Vec<String>]) -> Vec<Line> {
    let is_rule = |row: &Vec<String>| row.iter().all(|cell| cell.chars().all(|c| "-: ".contains(c)));
    // One line a raw line, so that the reader's place stays true: the header and the rule under it say nothing by themselves.
    let (header, body) = (&table[0], &table[1..]);
    body.iter().filter(|row| !is_rule(row)).map(|row| Line::row(header, row)).collect()
}

/// Where the name of a thing ends and what is said of it begins.
pub fn up_to_aside(text: &str) -> String {
    let asides = [" – ", " — ", " - ", " (", "; ", " | ", ": ", ". ", " due ", ", due", ", by ", ", worth", ", on "];
    let end = asides.iter().filter_map(|aside| text.find(aside)).filter(|&at| at > 0).min().unwrap_or(text.len());
    text[..end].trim().trim_end_matches(['.', ',', ':', ';']).to_owned()
}

pub fn clip_words(text: &str, words: usize) -> String {
    let clipped: Vec<&str> = text.split_whitespace().take(words).collect();
    clipped.join(" ").trim_end_matches(['.', ',', ':', ';']).to_owned()
}

/// Not of amounts and dates, as in `Exam: 25%, September 28`.
fn is_of_things(list: &[String]) -> bool {
    list.iter().all(|part| !part.starts_with(|c: char| c.is_ascii_digit() || "$€£".contains(c)) && spot::days(part).is_empty())
}

/// `a, b and c` or `a; b` as its members.
pub fn split_list(value: &str) -> Vec<String> {
    let separator = if value.contains(';') { ';' } else { ',' };
    let parts = value
        .split(separator)
        .flat_map(|part| part.split(" and "))
        .map(|part| part.trim().trim_start_matches("and ").trim_end_matches('.'));
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Cut after `.`, `!` or `?` before white space and a capital or digit, but not after `Dr.` or in `ch. 3`.
pub fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| matches!(c, '.' | '!' | '?')) {
        let end = at + c.len_utf8();
        let rest = text[end..].trim_start();
        let last_word = text[start..at].split_whitespace().last().unwrap_or_default();
        let initial = last_word.chars().count() <= 2 && last_word.starts_with(char::is_uppercase);
        let abbreviates = last_word.chars().count() <= 4 && rest.starts_with(|c: char| c.is_ascii_digit());
        let short = c == '.' && (initial || abbreviates);
        let next_begins = rest.len() < text.len() - end && rest.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
        if next_begins && !short {
            found.push(text[start..end].trim().to_owned());
            start = end;
        }
    }
    found.push(text[start..].trim().to_owned());
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// Names of people: after a title (`Dr. Ana Lima`), or two or three capitalised words.
pub fn people(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let titled = ["dr", "prof", "professor", "mr", "mrs", "ms", "mx", "frau", "herr", "mme"]
            .contains(&stem(&words[at].to_lowercase().replace('.', "")).as_str());
        let from = at + usize::from(titled);
        let mut end = from;
        while end < words.len() && end - from < 3 && is_name(words[end]) {
            end += 1;
            if words[end - 1].ends_with([',', '.', ';', ':', ')']) && words[end - 1].len() > 2 {
                break;
            }
        }
        if end > from && (titled || end - from >= 2) {
            found.push(words[at..end].join(" ").trim_matches(|c: char| ",.;:()".contains(c)).to_owned());
        }
        at = end.max(at + 1);
    }
    found
}

fn is_name(word: &str) -> bool {
    let word = word.trim_matches(|c: char| ",.;:()\"'".contains(c));
    word.starts_with(char::is_uppercase)
        && word.chars().skip(1).all(|c| c.is_lowercase() || "'-’".contains(c) || c.is_uppercase() && word.len() > 4)
        && word.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYLLABUS: &str = "# Biology 101\nInstructor: Dr. Ana Lima (ana@uni.example)\n\n## Topics\n- Cells - what life is made of\n  - membranes\n- Energy\n\n## Assessment\n| Task | Weight | Due |\n|---|---|---|\n| Essay | 30% | 2026-03-04 |\n| Exam | 70% | 2026-06-01 |\n\nWeek 1: Introduction\nWeek 2: Diffusion\n";

    fn heads(cue: &str) -> Vec<String> {
        Document::read(SYLLABUS).records(&Cue::new(cue, "")).documents.iter().filter_map(Document::head).collect()
    }

    #[test]
    fn the_part_that_is_named_is_the_part_that_is_read() {
        assert_eq!(heads("topics"), ["Cells", "Energy"]);
        assert_eq!(heads("weeks"), ["Introduction", "Diffusion"]);
        assert_eq!(heads("assessments"), ["Essay", "Exam"]);
        assert_eq!(Document::read(SYLLABUS).title().as_deref(), Some("Biology 101"));
        assert_eq!(Document::read(SYLLABUS).labelled(&Cue::new("teacher", "")).unwrap().1, "Dr. Ana Lima (ana@uni.example)");
    }

    #[test]
    fn repeated_labels_are_records() {
        let offers = Document::read("Name: Alpha\nPrice: 10\nName: Beta\nPrice: 20\n");
        assert_eq!(offers.records(&Cue::new("offers", "")).documents.len(), 2);
    }

    #[test]
    fn people_are_found_by_title_or_by_two_capitals() {
        assert_eq!(people("led by Dr. Lima and Bo Chen, in Rome"), ["Dr. Lima", "Bo Chen"]);
    }

    #[test]
    fn commas_make_a_table_only_under_a_header() {
        let lines = Document::read("name,price,city\nAda,10,Rome\nBo,20,Oslo\n").lines;
        assert_eq!(lines.iter().filter(|line| line.shape == Shape::Row).count(), 2);
        assert!(Document::read("Well, I think, it rains\nso, then, go\n").lines.iter().all(|line| line.shape != Shape::Row));
    }
}
