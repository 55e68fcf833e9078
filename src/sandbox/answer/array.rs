//! Arrays: a record of the text for each object, an item or a found form for each string or number.

use super::{DEPTH, Document, Filled, Filler, Scope, form, number, schema, schema::Kind, string};
use crate::sandbox::reading::{line::word_count, split_list, up_to_aside, words::Cue};
use serde_json::Value;

/// Items when the schema sets no bound: more than a course has weeks, less than an output cap holds.
const ITEMS: usize = 40;
/// The most that a `minItems` is filled up with.
const PADDING: usize = 200;
/// An item of a list is taken whole up to this many words, and by its head beyond.
const WHOLE_ITEM_WORDS: usize = 10;

impl Filler<'_> {
    pub(super) fn array(&self, schema: &Value, cue: &Cue, scope: &Scope<'_>, depth: usize) -> Filled {
        let count = |member: &str| schema[member].as_u64().and_then(|n| usize::try_from(n).ok());
        let (least, most) = (count("minItems").unwrap_or(0), count("maxItems").unwrap_or(ITEMS.max(count("minItems").unwrap_or(0))));
        let fixed: &[Value] = schema["prefixItems"].as_array().map_or(&[], Vec::as_slice);
        let items = schema.get("items").or_else(|| schema.get("contains")).filter(|items| !items.is_null());
        let mut values: Vec<Value> = Vec::new();
        let mut sure = false;
        for place in fixed {
            values.push(self.fill(place, cue, scope, depth + 1).value);
        }
        let closed = items == Some(&Value::Bool(false)) || (items.is_none() && !fixed.is_empty());
        let skips = depth > DEPTH || closed || (self.lean && values.len() >= least);
        if !skips {
            let found = self.items(items.unwrap_or(&Value::Bool(true)), cue, scope, depth);
            sure = found.sure;
            for value in found.values {
                if values.len() < most && !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        if !closed {
            self.pad(items.unwrap_or(&Value::Bool(true)), least, cue, scope, depth, &mut values);
        }
        values.truncate(most.max(fixed.len().min(least)));
        Filled { value: Value::Array(values), sure }
    }

    fn items(&self, items: &Value, cue: &Cue, scope: &Scope<'_>, depth: usize) -> Found {
        let resolved = schema::resolved(self.root, items);
        let kind = schema::kinds(&resolved).into_iter().find(|kind| *kind != Kind::Null);
        if let Some(options) = resolved.get("enum").and_then(Value::as_array) {
            return mentioned(options, scope.near);
        }
        match kind {
            Some(Kind::Number | Kind::Integer) if schema::branches(&resolved).is_none() => {
                number::several(&resolved, kind == Some(Kind::Integer), cue, scope.near)
            }
            Some(Kind::String) if schema::branches(&resolved).is_none() => self.strings(&resolved, cue, scope.near),
            _ => self.records(&resolved, cue, scope, depth),
        }
    }

    /// One record of the text each.
    fn records(&self, items: &Value, cue: &Cue, scope: &Scope<'_>, depth: usize) -> Found {
        let records = scope.near.records(cue);
        let elsewhere = scope.wide.filter(|_| !records.named).map(|wide| wide.records(cue)).filter(|wide| wide.named);
        let records = elsewhere.unwrap_or(records);
        let several = records.documents.len() >= 2;
        let kept = records.documents.iter().take(ITEMS);
        let values = kept.map(|record| self.fill(items, &cue_of_item(cue), &Scope::of(record), depth + 1).value).collect();
        Found { values, sure: records.named || several }
    }

    fn strings(&self, items: &Value, cue: &Cue, scope: &Document) -> Found {
        let formed = form::formed(items, cue, scope, self.year);
        if let Some(formed) = formed {
            let part = scope.section(cue).map(|(_, part)| part);
            let near = part.as_ref().and_then(|part| form::formed(items, cue, part, self.year)).filter(|near| !near.is_empty());
            let values = near.unwrap_or(formed);
            return Found { sure: !values.is_empty(), values: valid(items, values) };
        }
        if cue.asks_for(&["person", "people", "author", "instructor", "speaker", "attendee", "participant", "student", "teacher"]) {
            let named: Vec<String> = scope.labelled(cue).map(|(_, value)| split_list(&value)).unwrap_or_default();
            let people = || scope.spoken().flat_map(|line| crate::sandbox::reading::people(&line.text)).collect::<Vec<_>>();
            let values = valid(items, if named.is_empty() { people() } else { named });
            if !values.is_empty() {
                return Found { values, sure: true };
            }
        }
        let records = scope.records(cue);
        let values = records.documents.iter().filter_map(saying).collect();
        Found { values: valid(items, values), sure: records.named || records.documents.len() >= 2 }
    }

    /// Fills up to `least` with other things the text has, then with numbered ones so that `uniqueItems` holds; repeats
    /// only where the items allow nothing else.
    fn pad(&self, items: &Value, least: usize, cue: &Cue, scope: &Scope<'_>, depth: usize, values: &mut Vec<Value>) {
        let missing = least.saturating_sub(values.len());
        if missing == 0 {
            return;
        }
        let said = scope.near.sentences().into_iter().take(PADDING);
        let numbered = (1..=missing.min(PADDING)).map(|n| format!("{}{n}", string::slug(&cue.name)));
        let mut last = Value::Null;
        for text in said.chain(numbered) {
            if values.len() >= least {
                return;
            }
            last = self.fill(items, &cue_of_item(cue), &Scope::of(&Document::read(&text)), depth + 1).value;
            if !values.contains(&last) {
                values.push(last.clone());
            }
        }
        values.resize(values.len().max(least.min(PADDING)), last);
    }
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub values: Vec<Value>,
    pub sure: bool,
}

/// An item of `weeks` is asked for by what its members are called, not by the name of the whole.
fn cue_of_item(cue: &Cue) -> Cue {
    Cue::new("", &cue.name)
}

/// A record as one string: whole if short, its head otherwise, the number before it left out.
fn saying(record: &Document) -> Option<String> {
    let line = record.spoken().next()?;
    let text = match line.labels.first() {
        _ if line.shape == crate::sandbox::reading::line::Shape::Row => return record.head(),
        Some((label, value)) if label.chars().any(|c| c.is_ascii_digit()) => value,
        _ => &line.text,
    };
    let whole = if word_count(text) <= WHOLE_ITEM_WORDS { text.trim_end_matches(['.', ';', ',']).to_owned() } else { up_to_aside(text) };
    Some(whole).filter(|whole| !whole.is_empty())
}

/// The strings that the schema of the items takes, cut to its bounds where that makes them fit.
fn valid(items: &Value, values: Vec<String>) -> Vec<Value> {
    let validator = schema::scalar(items);
    let fits = |value: &Value| validator.as_ref().is_none_or(|validator| validator.is_valid(value));
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        let value = Value::String(string::within(items, &value));
        if fits(&value) && !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// The options of an enum that the text mentions, in the order of the text.
fn mentioned(options: &[Value], scope: &Document) -> Found {
    let text = scope.text().to_lowercase();
    let place =
        |option: &Value| option.as_str().filter(|word| !word.is_empty()).and_then(|word| text.find(&word.to_lowercase().replace('_', " ")));
    let mut found: Vec<(usize, Value)> = options.iter().filter_map(|option| Some((place(option)?, option.clone()))).collect();
    found.sort_by_key(|(at, _)| *at);
    Found { sure: !found.is_empty(), values: found.into_iter().map(|(_, option)| option).collect() }
}
