//! Strings with a form of their own: dates, times, addresses, links, telephone numbers, currencies, identifiers; as the
//! schema's `format` asks for them, or the name of the property.

use super::string::words_of;
use crate::sandbox::reading::{
    Document,
    spot::{Day, currency, days, emails, phones, quantities, times, urls},
    words::{Cue, stems},
};
use serde_json::Value;

/// Forms that a name asks for when the schema names none. The words say nothing more about which of several is meant:
/// of the dates in a text, `due_date` wants the one that is due.
const NAMED_FORMS: [(&str, &[&str]); 7] = [
    ("email", &["email", "mail", "address", "contact"]),
    ("uri", &["url", "link", "website", "homepage", "uri"]),
    ("phone", &["phone", "telephone", "tel", "fax"]),
    ("currency", &["currency", "code"]),
    ("day", &["date", "day"]),
    ("day", &["deadline", "due"]),
    ("clock", &["time", "clock"]),
];

/// Values of the form that the schema's `format`, or the name of the property, asks for; nearest to its words first.
/// Nothing when no form is asked for.
pub(super) fn formed(schema: &Value, cue: &Cue, document: &Document, year: i32) -> Option<Vec<String>> {
    let named = NAMED_FORMS.iter().find(|(_, words)| cue.asks_for(&words[..1]) || (words[0] != "email" && cue.asks_for(words)));
    let format = schema["format"].as_str().filter(|format| FORMATS.contains(format));
    let form = format.or(named.filter(|(form, _)| *form != "currency" || cue.asks_for(&["currency"])).map(|(form, _)| *form))?;
    let generic = NAMED_FORMS.iter().find(|(own, _)| own.starts_with(form) || form.starts_with("date") && *own == "day");
    let cue = &cue.without(generic.map_or(&[], |(_, words)| words));
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

pub(super) fn iso(day: &Day, year: i32) -> String {
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
