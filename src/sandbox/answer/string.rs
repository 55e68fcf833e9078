//! Strings: by form (date, e-mail, link …) when the schema or the name asks for one, by label, by role (title, person,
//! summary), by the sentence that speaks of it; cut, padded or made up only to keep the schema's bounds.

use super::{Filled, Filler, Scope, fingerprint, pattern, schema};
use crate::sandbox::reading::{
    Document, clip_words, people,
    spot::{Day, currency, days, emails, phones, quantities, times, urls},
    up_to_aside,
    words::{Cue, stems},
};
use serde_json::Value;

/// A phrase taken for a property that names no form is at most this long.
const PHRASE_WORDS: usize = 24;
const SUMMARY_SENTENCES: usize = 2;

impl Filler<'_> {
    pub(super) fn string(&self, schema: &Value, cue: &Cue, scope: &Scope<'_>) -> Filled {
        let validator = schema::scalar(schema);
        let fits = |text: &str| validator.as_ref().is_none_or(|validator| validator.is_valid(&Value::from(text)));
        let said =
            self.said(schema, cue, scope.near).into_iter().map(|text| within(schema, &text)).find(|text| !text.is_empty() && fits(text));
        if let Some(text) = said {
            return Filled::sure(text.into());
        }
        let shaped = schema.get("pattern").is_some();
        let from_text = if shaped { pieces(scope.near) } else { Vec::new() };
        if let Some(text) = from_text.into_iter().find(|text| fits(text)) {
            return Filled::sure(text.into());
        }
        let guesses = made_up(schema, cue, scope.near, self.year).into_iter().map(|text| within(schema, &text));
        let patterned = schema["pattern"].as_str().and_then(|pattern| pattern::matching(pattern, fingerprint(&scope.near.text())));
        let guess = guesses.chain(patterned).find(|text| fits(text));
        Filled::guess(guess.unwrap_or_else(|| within(schema, &scope.near.text())).into())
    }

    /// What the text says, most fitting first.
    fn said(&self, schema: &Value, cue: &Cue, document: &Document) -> Vec<String> {
        if let Some(formed) = formed(schema, cue, document, self.year) {
            return formed;
        }
        let mut said: Vec<String> = Vec::new();
        let labelled = document.labelled(cue);
        if cue.asks_for(&["title", "name", "subject", "heading", "headline", "topic", "item", "label", "question", "task", "keyword"])
            || cue.name.is_empty()
        {
            said.extend(labelled.iter().filter(|(score, _)| *score >= 20).map(|(_, value)| value.clone()));
            said.extend(if document.position.is_some() { document.head() } else { document.title() });
        }
        said.extend(labelled.map(|(_, value)| value));
        if cue.mentions(&[
            "person",
            "author",
            "instructor",
            "teacher",
            "lecturer",
            "professor",
            "owner",
            "assignee",
            "speaker",
            "contact",
            "who",
        ]) {
            said.extend(person_near(cue, document));
        }
        if cue.asks_for(&[
            "summary",
            "description",
            "abstract",
            "overview",
            "detail",
            "note",
            "text",
            "content",
            "quote",
            "excerpt",
            "body",
        ]) {
            said.extend(summary(document));
        }
        said.extend(document.lines_about(cue).into_iter().filter(|(score, _)| *score >= 3).map(|(_, line)| speaking(cue, &line.text)));
        said
    }
}

/// Values of the form that the schema's `format`, or the name of the property, asks for; nearest to its words first.
/// Nothing when no form is asked for.
pub(super) fn formed(schema: &Value, cue: &Cue, document: &Document, year: i32) -> Option<Vec<String>> {
    let by_name = || {
        let names: [(&str, &[&str]); 6] = [
            ("email", &["email", "mail"]),
            ("uri", &["url", "link", "website", "homepage", "uri"]),
            ("phone", &["phone", "telephone", "tel", "fax"]),
            ("currency", &["currency"]),
            ("day", &["date", "deadline", "due"]),
            ("clock", &["time"]),
        ];
        names.into_iter().find(|(_, words)| cue.asks_for(words)).map(|(form, _)| form)
    };
    let format = schema["format"].as_str().filter(|format| FORMATS.contains(format));
    let form = format.or_else(by_name)?;
    let wants_iso = cue.mentions(&["iso", "yyyy"]);
    let of_line = |line: &str| -> Vec<String> {
        match form {
            "email" | "idn-email" => emails(line),
            "uri" | "url" | "iri" | "uri-reference" | "iri-reference" => urls(line),
            "phone" => phones(line),
            "currency" => quantities(line)
                .iter()
                .filter_map(|q| currency(&q.unit).or(Some(q.unit.as_str()).filter(|u| *u == "usd" || *u == "eur")))
                .map(str::to_uppercase)
                .collect(),
            "day" if !wants_iso => days(line).into_iter().map(|day| day.raw).collect(),
            "day" | "date" => days(line).iter().map(|day| iso(day, year)).collect(),
            "date-time" => instants(line, year),
            "time" => times(line).into_iter().map(|(hour, minute, _)| format!("{hour:02}:{minute:02}:00Z")).collect(),
            "clock" => times(line).into_iter().map(|(_, _, raw)| raw).collect(),
            _ => words_of(line),
        }
    };
    let mut found: Vec<(u32, String)> = Vec::new();
    for line in document.spoken() {
        let cells = line.labels.iter().map(|(label, value)| (cue.names(label) * 4, value.as_str()));
        let whole = std::iter::once((cue.score(&stems(&line.text)), line.text.as_str()));
        for (score, text) in cells.chain(whole) {
            found.extend(of_line(text).into_iter().map(|value| (score, value)));
        }
    }
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let mut values: Vec<String> = Vec::new();
    for (_, value) in found {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    let is_weak_name = format.is_none() && values.is_empty();
    (!is_weak_name).then_some(values)
}

const FORMATS: [&str; 18] = [
    "email",
    "idn-email",
    "uri",
    "url",
    "iri",
    "uri-reference",
    "iri-reference",
    "date",
    "date-time",
    "time",
    "uuid",
    "ipv4",
    "ipv6",
    "hostname",
    "idn-hostname",
    "duration",
    "json-pointer",
    "regex",
];

fn words_of(line: &str) -> Vec<String> {
    crate::sandbox::reading::spot::tokens(line).into_iter().map(|token| token.text.to_owned()).collect()
}

fn iso(day: &Day, year: i32) -> String {
    format!("{:04}-{:02}-{:02}", day.year.unwrap_or(year), day.month, day.day)
}

/// Days with the time of day on the same line, midnight without one; UTC, as the text seldom names a zone.
fn instants(line: &str, year: i32) -> Vec<String> {
    let written =
        crate::sandbox::reading::spot::tokens(line).into_iter().filter(|token| chrono::DateTime::parse_from_rfc3339(token.text).is_ok());
    let mut found: Vec<String> = written.map(|token| token.text.to_owned()).collect();
    let (hour, minute) = times(line).first().map_or((0, 0), |(hour, minute, _)| (*hour, *minute));
    found.extend(days(line).iter().map(|day| format!("{}T{hour:02}:{minute:02}:00Z", iso(day, year))));
    found
}

/// A person on the lines that speak of the property, else anywhere: those with a title (`Dr.`) before mere capitals, and
/// never what the text itself is called.
fn person_near(cue: &Cue, document: &Document) -> Vec<String> {
    let title = document.title().unwrap_or_default();
    let mut elsewhere: Vec<String> = document.spoken().flat_map(|line| people(&line.text)).filter(|name| *name != title).collect();
    elsewhere.sort_by_key(|name| !name.contains(". "));
    let about = document.lines_about(cue).into_iter().flat_map(|(_, line)| people(&line.text));
    about.chain(elsewhere).take(3).collect()
}

/// The first sentences that are more than a heading; of a record, all it says.
fn summary(document: &Document) -> Option<String> {
    let sentences = document.sentences();
    let long: Vec<&String> = sentences.iter().filter(|sentence| sentence.split_whitespace().count() >= 6).take(SUMMARY_SENTENCES).collect();
    let all = || sentences.iter().take(SUMMARY_SENTENCES).collect();
    let chosen: Vec<&String> = if long.is_empty() { all() } else { long };
    (!chosen.is_empty()).then(|| chosen.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "))
}

/// Of a line that speaks of the property, what it says: the value of its label, else the sentence.
fn speaking(cue: &Cue, line: &str) -> String {
    let line = line.split_once(": ").filter(|(label, _)| cue.names(label) > 0).map_or(line, |(_, value)| value);
    clip_words(line, PHRASE_WORDS)
}

/// Everything a pattern might match: words, values of labels, heads of records.
fn pieces(document: &Document) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for line in document.spoken() {
        pieces.extend(words_of(&line.text));
        pieces.extend(line.labels.iter().map(|(_, value)| value.clone()));
        pieces.push(line.text.clone());
        pieces.push(up_to_aside(&line.text));
        pieces.extend(days(&line.text).iter().map(|day| iso(day, day.year.unwrap_or(1970))));
        pieces.extend(times(&line.text).iter().map(|(hour, minute, _)| format!("{hour:02}:{minute:02}")));
    }
    pieces.extend(pieces.clone().iter().flat_map(|piece| [piece.to_lowercase(), piece.to_uppercase(), slug(piece)]));
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
