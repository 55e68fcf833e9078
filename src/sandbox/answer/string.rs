//! Strings: by form (date, e-mail, link …) when the schema or the name asks for one, by label, by role (title, person,
//! summary), by the sentence that speaks of it; cut, padded or made up only to keep the schema's bounds.

use super::{Filled, Filler, Scope, fingerprint, form, pattern, role, schema};
use crate::sandbox::reading::{
    Document, clip_words,
    line::Line,
    spot::{days, times, tokens},
    up_to_aside,
    words::{AKIN, Cue, stems},
};
use serde_json::Value;

/// A phrase taken for a property that names no form is at most this long.
const PHRASE_WORDS: usize = 24;
/// A label that has the property's own word in two or three: `Course title` for `title`.
const EXACT_LABEL: u32 = 20;
/// Words together that are tried against a pattern, and how far into a line.
const RUN_WORDS: usize = 8;
const RUN_STARTS: usize = 600;

impl Filler<'_> {
    pub(super) fn string(&self, schema: &Value, cue: &Cue, scope: &Scope<'_>) -> Filled {
        let validator = schema::scalar(schema);
        let fits = |text: &str| validator.as_ref().is_none_or(|validator| validator.is_valid(&Value::from(text)));
        let said =
            self.said(schema, cue, scope.near).into_iter().map(|text| within(schema, &text)).find(|text| !text.is_empty() && fits(text));
        if let Some(text) = said {
            return Filled::sure(text.into());
        }
        if schema.get("pattern").is_some()
            && let Some(text) = longest_piece(cue, scope.near, fits)
        {
            return Filled::sure(text.into());
        }
        let guesses = made_up(schema, cue, scope.near, self.year).into_iter().map(|text| within(schema, &text));
        let patterned = schema["pattern"].as_str().and_then(|pattern| pattern::matching(pattern, fingerprint(&scope.near.text())));
        let guess = guesses.chain(patterned).find(|text| fits(text));
        Filled::guess(guess.unwrap_or_else(|| within(schema, &scope.near.text())).into())
    }

    /// What the text says, most fitting first.
    fn said(&self, schema: &Value, cue: &Cue, document: &Document) -> Vec<String> {
        if let Some(formed) = form::formed(schema, cue, document, self.year) {
            return formed;
        }
        let labelled = document.labelled(cue);
        let section = document.section(cue).and_then(|(_, section)| role::summary(&section));
        let exact = labelled.iter().filter(|(score, _)| *score >= EXACT_LABEL).map(|(_, value)| value.clone());
        let mut said: Vec<String> = exact.collect();
        said.extend(role::said(cue, document));
        said.extend(labelled.map(|(_, value)| part_with_its_word(cue, &value).to_owned()));
        said.extend(section);
        said.extend(document.lines_about(cue).into_iter().filter(|(score, _)| *score >= 3).map(|(_, line)| speaking(cue, &line.text)));
        said
    }
}

/// Of a line that speaks of the property, what it says: the value of its label, the part between commas that has its
/// word, else the sentence.
fn speaking(cue: &Cue, line: &str) -> String {
    let line = line.split_once(": ").filter(|(label, _)| cue.names(label) > 0).map_or(line, |(_, value)| value);
    clip_words(part_with_its_word(cue, line), PHRASE_WORDS)
}

/// `Room 312` of `Tuesdays 2-4 pm, Room 312` for `room`.
fn part_with_its_word<'l>(cue: &Cue, line: &'l str) -> &'l str {
    let mut parts = line.split([',', ';']);
    parts.find(|part| stems(part).iter().any(|word| cue.named_stems().contains(word))).map_or(line, str::trim)
}

/// The words of a line, freed of marks.
pub(super) fn words_of(line: &str) -> Vec<String> {
    tokens(line).into_iter().map(|token| token.text.to_owned()).collect()
}

/// The longest part of the text that fits a pattern, from a line that speaks of the property if there is one.
fn longest_piece(cue: &Cue, document: &Document, fits: impl Fn(&str) -> bool) -> Option<String> {
    let mut best: Option<((bool, usize), String)> = None;
    for line in document.spoken() {
        let about = cue.score(&stems(&line.text)) >= AKIN;
        for piece in pieces(line) {
            let rank = (about, piece.len());
            if best.as_ref().is_none_or(|(other, _)| rank > *other) && fits(&piece) {
                best = Some((rank, piece));
            }
        }
    }
    best.map(|(_, piece)| piece)
}

/// Everything in a line that a pattern might match: its words and runs of words as they are, in either case and as a
/// slug; values of labels; dates and times in their usual form.
fn pieces(line: &Line) -> Vec<String> {
    let words = tokens(&line.text);
    let run = |start: usize, end: usize| line.text[words[start].span.start..words[end].span.end].to_owned();
    let runs = (0..words.len().min(RUN_STARTS)).flat_map(|start| (start..words.len().min(start + RUN_WORDS)).map(move |end| (start, end)));
    let mut pieces: Vec<String> = runs.map(|(start, end)| run(start, end)).collect();
    pieces.extend(line.labels.iter().map(|(_, value)| value.clone()));
    pieces.extend([line.text.clone(), up_to_aside(&line.text)]);
    pieces.extend(days(&line.text).iter().map(|day| form::iso(day, day.year.unwrap_or(1970))));
    pieces.extend(times(&line.text).iter().map(|(hour, minute, _)| format!("{hour:02}:{minute:02}")));
    let altered: Vec<String> = pieces.iter().flat_map(|piece| [piece.to_lowercase(), piece.to_uppercase(), slug(piece)]).collect();
    pieces.extend(altered);
    pieces
}

pub(super) fn slug(text: &str) -> String {
    let joined: Vec<String> = stems(text).into_iter().filter(|word| word.is_ascii()).take(4).collect();
    if joined.is_empty() { "text".to_owned() } else { joined.join("-") }
}

/// For a property that must have a value the text does not give: of the right form, from the text's own words.
fn made_up(schema: &Value, cue: &Cue, document: &Document, year: i32) -> Vec<String> {
    let text = document.text();
    let number = fingerprint(&text);
    let slug = slug(&document.title().unwrap_or_default());
    let (month, day) = (number % 12 + 1, number / 12 % 28 + 1);
    let date = format!("{year:04}-{month:02}-{day:02}");
    let formed = match schema["format"].as_str() {
        Some("date") => date,
        Some("date-time") => format!("{date}T{:02}:00:00Z", number % 24),
        Some("time") => format!("{:02}:{:02}:00Z", number % 24, number / 24 % 60),
        Some("email" | "idn-email") => format!("{slug}@example.com"),
        Some("uri" | "url" | "iri") => format!("https://example.com/{slug}"),
        Some("uri-reference" | "iri-reference" | "json-pointer") => format!("/{slug}"),
        Some("uuid") => format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            number as u32,
            number >> 32 & 0xffff,
            number >> 48 & 0xfff,
            number & 0xfff,
            number & 0xffff_ffff_ffff
        ),
        Some("ipv4") => format!("192.0.2.{}", number % 254 + 1),
        Some("ipv6") => format!("2001:db8::{:x}", number % 0xfffe + 1),
        Some("hostname" | "idn-hostname") => format!("{}.example.com", slug.chars().take(40).collect::<String>().trim_matches('-')),
        Some("duration") => format!("PT{}M", number % 90 + 1),
        Some("regex") => slug,
        _ => {
            let sentences = document.sentences();
            let at = usize::try_from(fingerprint(&cue.name) % sentences.len().max(1) as u64).unwrap_or(0);
            let phrase = sentences.get(at).map(|sentence| clip_words(sentence, PHRASE_WORDS));
            return phrase.into_iter().chain(document.title()).chain([text, cue.name.clone()]).collect();
        }
    };
    vec![formed]
}

/// `text` cut to `maxLength` (at a word where one ends late enough), or repeated up to `minLength`.
pub(super) fn within(schema: &Value, text: &str) -> String {
    let length = |member: &str| schema[member].as_u64().and_then(|n| usize::try_from(n).ok());
    let mut text = text.trim().to_owned();
    if let Some(least) = length("minLength").filter(|least| *least <= 100_000) {
        let filler = if text.is_empty() { "-".to_owned() } else { format!(" {text}") };
        while text.chars().count() < least {
            text.push_str(&filler);
        }
    }
    let Some(most) = length("maxLength").filter(|most| text.chars().count() > *most) else { return text };
    let cut: String = text.chars().take(most).collect();
    let least = length("minLength").unwrap_or(0);
    let at_word = cut.rfind(' ').map(|end| cut[..end].trim_end_matches([',', ';', ':', ' ']));
    at_word.filter(|word| word.chars().count() >= least.max(most / 2)).map_or(cut.clone(), str::to_owned)
}
