//! Strings by the role that a property's name gives them: what a thing is called, who does it, whose it is, what is to be
//! done, what it is about, by what code it goes.

use crate::sandbox::reading::{
    Document,
    line::word_count,
    people,
    spot::tokens,
    words::{Cue, stems},
};

const SUMMARY_SENTENCES: usize = 2;

const CALLED: &[&str] = &[
    "title", "name", "subject", "heading", "headline", "topic", "item", "label", "question", "keyword", "position", "role", "job",
    "product", "course", "event", "project", "module", "unit", "lesson",
];
const PERSON: &[&str] = &[
    "person",
    "author",
    "instructor",
    "teacher",
    "lecturer",
    "professor",
    "owner",
    "assignee",
    "speaker",
    "responsible",
    "who",
    "lead",
    "sender",
];
const COMPANY: &[&str] =
    &["company", "organization", "organisation", "employer", "vendor", "supplier", "university", "school", "institution"];
const DEED: &[&str] = &["task", "action", "step", "todo", "what", "deliverable"];
const ABOUT: &[&str] = &["summary", "description", "abstract", "overview", "detail", "note", "text", "content", "quote", "excerpt", "body"];
const CODE: &[&str] = &["code", "id", "identifier", "reference", "ref", "sku", "number", "no", "isbn", "iban"];

/// What the role says of the text, most fitting first; nothing without a role.
pub(super) fn said(cue: &Cue, document: &Document) -> Vec<String> {
    let mut said = Vec::new();
    if cue.mentions(PERSON) && !cue.asks_for(CODE) {
        said.extend(doer(document));
        said.extend(person_near(cue, document));
    }
    if cue.asks_for(COMPANY) {
        said.extend(document.spoken().flat_map(|line| companies(&line.text)));
    }
    if cue.asks_for(DEED) {
        said.extend(deed(document));
    }
    if cue.asks_for(CODE) {
        said.extend(codes(cue, document));
    }
    if cue.asks_for(CALLED) || cue.name.is_empty() {
        said.extend(if document.position.is_some() { document.head() } else { document.title() });
    }
    if cue.asks_for(ABOUT) {
        let section = document.section(cue).map(|(_, section)| section);
        said.extend(section.as_ref().and_then(summary));
        said.extend(summary(document));
    }
    said
}

/// Of a record such as `Ana: write the guide` or `Carol will call`, who.
fn doer(record: &Document) -> Option<String> {
    let line = record.spoken().next().filter(|_| record.position.is_some())?;
    let capitals = |text: &str| word_count(text) <= 3 && text.split_whitespace().all(|word| word.starts_with(char::is_uppercase));
    let named =
        line.labels.first().map(|(label, _)| label.clone()).filter(|label| capitals(label) && !label.chars().any(|c| c.is_ascii_digit()));
    named.or_else(|| {
        const AFTER_A_DOER: [&str; 9] = ["will", "to", "should", "must", "has", "shall", "can", "needs", "is"];
        let words = tokens(&line.text);
        let verb = words.iter().position(|word| AFTER_A_DOER.contains(&word.text)).filter(|at| (1..=3).contains(at))?;
        Some(line.text[words[0].span.start..words[verb - 1].span.end].to_owned()).filter(|who| capitals(who))
    })
}

/// Of the same, what.
fn deed(record: &Document) -> Option<String> {
    let line = record.spoken().next().filter(|_| record.position.is_some())?;
    Some(line.labels.first().map_or_else(|| line.text.clone(), |(_, value)| value.clone()))
}

/// A person on the lines that speak of the property, else anywhere: those with a title (`Dr.`) before mere capitals, and
/// never what the text itself is called.
fn person_near(cue: &Cue, document: &Document) -> Vec<String> {
    let title = document.title().unwrap_or_default();
    let mut elsewhere: Vec<String> =
        document.spoken().flat_map(|line| people(&line.text)).filter(|name| *name != title && !title.starts_with(name.as_str())).collect();
    elsewhere.sort_by_key(|name| !name.contains(". "));
    let about = document.lines_about(cue).into_iter().flat_map(|(_, line)| people(&line.text));
    about.chain(elsewhere).take(3).collect()
}

/// Capitalised words that end in a word for companies, or stand behind `at`.
fn companies(line: &str) -> Vec<String> {
    const ENDINGS: [&str; 14] =
        ["Inc", "Ltd", "LLC", "GmbH", "AG", "SA", "BV", "Corp", "Co", "Systems", "University", "College", "Institute", "Labs"];
    let words = tokens(line);
    let capital = |at: usize| words.get(at).is_some_and(|word| word.text.starts_with(char::is_uppercase));
    // A comma, bracket or stop between two words parts them.
    let joined = |at: usize| line[words[at - 1].span.end..words[at].span.start].trim().is_empty();
    let mut found = Vec::new();
    for start in (0..words.len()).filter(|&at| capital(at) && (at == 0 || !capital(at - 1) || !joined(at))) {
        let end = (start + 1..words.len()).take_while(|&at| capital(at) && joined(at)).last().unwrap_or(start);
        let is_named_so = end > start && ENDINGS.contains(&words[end].text);
        let stands_behind = start > 0 && ["at", "by", "from", "joining"].contains(&words[start - 1].text);
        if is_named_so || stands_behind {
            found.push((!is_named_so, line[words[start].span.start..words[end].span.end].to_owned()));
        }
    }
    found.sort_by_key(|(weaker, _)| *weaker);
    found.into_iter().map(|(_, name)| name).collect()
}

/// `INV-2026-0042`, `CS101`, `BIOL 214`: capitals and digits together, those on lines that speak of the property first.
fn codes(cue: &Cue, document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    for line in document.spoken() {
        let words = tokens(&line.text);
        let score = cue.score(&stems(&line.text));
        for (at, word) in words.iter().enumerate() {
            let digits = word.text.bytes().any(|b| b.is_ascii_digit());
            let capitals = word.text.bytes().filter(u8::is_ascii_uppercase).count();
            let plain = !word.text.bytes().any(|b| b.is_ascii_lowercase() || b"/:@%$".contains(&b));
            let next = words.get(at + 1).filter(|next| (2..=6).contains(&next.text.len()) && next.text.bytes().all(|b| b.is_ascii_digit()));
            match next {
                _ if digits && capitals > 0 && plain => found.push((score, word.text.to_owned())),
                Some(next) if capitals >= 2 && plain && word.text.len() <= 6 => {
                    found.push((score, line.text[word.span.start..next.span.end].to_owned()));
                }
                _ => {}
            }
        }
    }
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, code)| code).collect()
}

/// The first sentences that are more than a heading or a label; of a record, all it says.
pub(super) fn summary(document: &Document) -> Option<String> {
    let prose = document.spoken().filter(|line| line.labels.is_empty());
    let prose: Vec<String> = prose.flat_map(|line| crate::sandbox::reading::sentences(&line.text)).collect();
    let long: Vec<&String> = prose.iter().filter(|sentence| word_count(sentence) >= 6).take(SUMMARY_SENTENCES).collect();
    let all = document.sentences();
    let chosen = if long.is_empty() { all.iter().take(SUMMARY_SENTENCES).collect() } else { long };
    (!chosen.is_empty()).then(|| chosen.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "))
}
