//! Numbers: the one that stands nearest to the words of the property, in the unit it asks for.

use super::{Filled, array::Found, fingerprint, schema};
use crate::sandbox::reading::{
    Document,
    spot::{Quantity, quantities, tokens, year_of},
    words::{Cue, stems},
};
use serde_json::{Number, Value};

/// How far, in words, a word may stand from a number and still speak of it.
const REACH: usize = 8;

pub(super) fn number(schema: &Value, whole: bool, cue: &Cue, document: &Document) -> Filled {
    let validator = schema::scalar(schema);
    let valid = |value: &Value| validator.as_ref().is_none_or(|validator| validator.is_valid(value));
    let mut spoken: Vec<(u32, f64)> = counted(cue, document).map(|count| (u32::MAX, count)).into_iter().collect();
    spoken.extend(candidates(cue, document));
    spoken.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    extreme_first(cue, &mut spoken);
    for (_, value) in spoken {
        if let Some(value) = json(value, whole).filter(|value| valid(value)) {
            return Filled::sure(value);
        }
    }
    // `week: 3` of a third record that does not say its number.
    let place =
        document.position.filter(|_| cue.asks_for(&["week", "number", "no", "unit", "module", "chapter", "lesson", "step", "day", "line"]));
    let place = place.and_then(|position| json(f64::from(position), whole)).filter(|value| valid(value));
    place.map_or_else(|| Filled::guess(bounded(schema, whole, document)), Filled::sure)
}

/// For `salary_min` the least, for `salary_max` the greatest of the numbers that answer about equally well.
fn extreme_first(cue: &Cue, spoken: &mut [(u32, f64)]) {
    let least = cue.asks_for(&["min", "minimum", "lowest", "least", "from"]);
    let most = cue.asks_for(&["max", "maximum", "highest", "most", "up"]);
    if !least && !most {
        return;
    }
    let good = spoken.first().map_or(0, |(score, _)| score / 2);
    let close = spoken.iter().take_while(|(score, _)| *score > good).count();
    spoken[..close].sort_by(|a, b| if least { a.1.total_cmp(&b.1) } else { b.1.total_cmp(&a.1) });
}

/// Every number near the words of the property; of those with a unit only the ones in the best unit.
pub(super) fn several(schema: &Value, whole: bool, cue: &Cue, document: &Document) -> Found {
    let validator = schema::scalar(schema);
    let part = document.section(cue).map(|(_, part)| part);
    let named = candidates(cue, part.as_ref().unwrap_or(document));
    let best = named.iter().map(|(score, _)| *score).max().unwrap_or(0);
    let alike = named.into_iter().filter(|(score, _)| *score * 2 >= best).filter_map(|(_, value)| json(value, whole));
    let values: Vec<Value> = alike.filter(|value| validator.as_ref().is_none_or(|v| v.is_valid(value))).collect();
    Found { sure: !values.is_empty(), values }
}

/// Numbers with how well they answer, above 0, in the unit asked for.
fn candidates(cue: &Cue, document: &Document) -> Vec<(u32, f64)> {
    let mut found = Vec::new();
    if cue.asks_for(&["year"]) {
        let years = document.spoken().flat_map(|line| tokens(&line.text)).filter_map(|token| year_of(token.text));
        found.extend(years.map(|year| (40, f64::from(year))));
    }
    if let Some(position) = document.position.filter(|_| cue.asks_for(&["position", "rank", "index", "order", "sequence", "row"])) {
        found.push((60, f64::from(position)));
    }
    for line in document.spoken() {
        if line.shape == crate::sandbox::reading::line::Shape::Row {
            for (label, cell) in &line.labels {
                let label_score = cue.names(label);
                found.extend(quantities(cell).into_iter().filter(|q| !q.in_date).filter_map(|q| {
                    let score = label_score + unit_score(cue, &q);
                    (score > 0).then(|| (score, converted(cue, &q)))
                }));
            }
        } else {
            found.extend(of_line(cue, &line.text));
        }
    }
    found
}

fn of_line(cue: &Cue, line: &str) -> Vec<(u32, f64)> {
    let spoken: Vec<Quantity> = quantities(line).into_iter().filter(|quantity| !quantity.in_date).collect();
    let mut scores: Vec<u32> = spoken.iter().map(|quantity| score(cue, quantity, line)).collect();
    for at in 1..spoken.len() {
        // The end of a range is spoken of by what speaks of its beginning.
        let between = line[spoken[at - 1].span.end..spoken[at].span.start].trim();
        if ["-", "–", "—", "to", "and", "up to"].contains(&between) {
            scores[at] = scores[at].max(scores[at - 1].saturating_sub(1));
        }
    }
    scores.into_iter().zip(&spoken).filter(|(score, _)| *score > 0).map(|(score, quantity)| (score, converted(cue, quantity))).collect()
}

fn score(cue: &Cue, quantity: &Quantity, line: &str) -> u32 {
    let words = tokens(line);
    let place = words.iter().position(|word| word.span == quantity.span).unwrap_or(0);
    let near = |(at, word): (usize, &crate::sandbox::reading::spot::Token<'_>)| {
        let distance = place.abs_diff(at);
        let weight = stems(word.text).iter().map(|stem| cue.weight(stem)).max().unwrap_or(0);
        // A word before a number speaks of it more often than one behind it.
        let far = u32::try_from(distance + usize::from(at > place && distance > 1)).unwrap_or(u32::MAX);
        if distance == 0 || distance > REACH { 0 } else { weight * 4 / far.max(1) }
    };
    let spoken: u32 = words.iter().enumerate().map(near).sum();
    let before = cue.weight(&quantity.before) * 4;
    spoken + before + unit_score(cue, quantity)
}

/// The unit that the name ends with, as (words of names, words of texts, factor to seconds or none).
const TIMES: [(&str, &[&str], f64); 6] = [
    ("second", &["second", "sec"], 1.0),
    ("minute", &["minute", "min", "mins"], 60.0),
    ("hour", &["hour", "hr", "h", "hrs"], 3600.0),
    ("day", &["day"], 86_400.0),
    ("week", &["week", "wk"], 604_800.0),
    ("month", &["month"], 2_629_800.0),
];
const MONEY: [&str; 10] = ["price", "cost", "fee", "amount", "total", "tuition", "budget", "salary", "usd", "eur"];
const SHARES: [&str; 8] = ["percent", "percentage", "weight", "weighting", "share", "grade", "rate", "discount"];

fn unit_score(cue: &Cue, quantity: &Quantity) -> u32 {
    let unit = quantity.unit.as_str();
    let time = TIMES.iter().any(|(_, written, _)| written.contains(&unit));
    let asks_time = TIMES.iter().any(|(name, _, _)| cue.head() == *name) || cue.asks_for(&["duration", "length", "runtime", "workload"]);
    let money = unit.len() == 3 && crate::sandbox::reading::spot::currency(unit).is_some() || unit == "jpy";
    let fits = (money && cue.mentions(&MONEY)) || (unit == "%" && cue.mentions(&SHARES)) || (time && asks_time);
    u32::from(fits) * 12 + cue.weight(&quantity.unit) * 4
}

/// `2 hours` for `duration_minutes` is 120; `$20` for `price_cents` is 2,000.
fn converted(cue: &Cue, quantity: &Quantity) -> f64 {
    let written = TIMES.iter().find(|(_, written, _)| written.contains(&quantity.unit.as_str()));
    let asked = TIMES.iter().find(|(name, written, _)| cue.head() == *name || written.contains(&cue.head()));
    match (written, asked) {
        (Some((_, _, from)), Some((_, _, to))) => quantity.value * from / to,
        _ if cue.asks_for(&["cent"]) => quantity.value * 100.0,
        _ => quantity.value,
    }
}

/// `number_of_weeks`, `task_count`: as many as the text has of them, unless it gives the number itself.
fn counted(cue: &Cue, document: &Document) -> Option<f64> {
    const COUNTING: [&str; 3] = ["count", "number", "num"];
    let things = cue.without(&COUNTING);
    if !cue.asks_for(&COUNTING) || things.asks_for(&COUNTING) {
        return None;
    }
    let said = document.spoken().flat_map(|line| quantities(&line.text)).find(|quantity| things.named_stems().contains(&quantity.unit));
    let records = || document.records(&things);
    said.map(|quantity| quantity.value).or_else(|| Some(records()).filter(|found| found.named).map(|found| found.documents.len() as f64))
}

fn json(value: f64, whole: bool) -> Option<Value> {
    let integral = value.fract() == 0.0 && value.abs() < 9e15;
    if integral {
        return Some(Value::from(value as i64));
    }
    (!whole).then(|| Number::from_f64(value).map(Value::Number)).flatten()
}

/// A number of the text's size within the bounds of the schema, for a property that must have one.
fn bounded(schema: &Value, whole: bool, document: &Document) -> Value {
    let bound = |member: &str| schema[member].as_f64();
    let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(if whole { 1.0 } else { 0.0 });
    let nudge = if step > 0.0 { step } else { 1e-6 };
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|least| least + nudge));
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|most| most - nudge));
    let (low, high) = match (least, most) {
        (Some(low), Some(high)) => (low, high),
        (Some(low), None) => (low, low + 100.0),
        (None, Some(high)) => (high - 100.0, high),
        (None, None) => (0.0, 100.0),
    };
    let room = if step > 0.0 { (high / step).floor() - (low / step).ceil() } else { (high - low) * 100.0 };
    let pick = (fingerprint(&document.text()) % (room.clamp(0.0, 1e6) as u64 + 1)) as f64;
    let value = if step > 0.0 { ((low / step).ceil() + pick) * step } else { (low + pick / 100.0).min(high) };
    json(value, whole).unwrap_or_else(|| Value::from(value.round() as i64))
}
