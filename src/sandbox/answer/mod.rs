//! Answers a JSON Schema from a text: each property is looked for in the text by its name, description, type and form.
//! Extraction by rules, standing in for a model: other texts and other schemas give other answers, the same give the same.
//! HTTP and tokens are `openai/`'s affair; how a text is read is `reading/`'s.

mod array;
mod choice;
mod number;
mod object;
mod pattern;
mod schema;
mod string;

use super::reading::{Document, words::Cue};
use schema::Kind;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;

/// Deeper than any honest document; from here on a schema that refers to itself gets no optional members and no items.
const DEPTH: usize = 12;
/// Places filled in one answer. A thousand is a long answer; recursion through branches reaches millions.
const PLACES: u32 = 4_000;

/// The answer to `schema` from `text`. `year` completes dates that come without one, when the text has none either.
/// Valid against the schema wherever the rules here can make it so.
pub fn answer(text: &str, schema: &Value, year: i32) -> Value {
    let document = Document::read(text);
    let year = years(&document).unwrap_or(year);
    let cue = Cue::new(schema["title"].as_str().unwrap_or(""), schema["description"].as_str().unwrap_or(""));
    let validator = jsonschema::options().should_validate_formats(true).build(schema).ok();
    let is_valid = |value: &Value| validator.as_ref().is_none_or(|validator| validator.is_valid(value));
    let filler = |lean| Filler { root: schema, year, lean, places: Cell::new(0) };
    let full = filler(false).fill(schema, &cue, &Scope::of(&document), 0).value;
    if is_valid(&full) {
        return full;
    }
    // What the rules of filling do not look at (`not`, `dependentRequired`, …) most often concerns optional members.
    let lean = filler(true).fill(schema, &cue, &Scope::of(&document), 0).value;
    if is_valid(&lean) { lean } else { full }
}

/// Without a schema: what stands out in the text, as one object.
pub fn outline(text: &str, year: i32) -> Value {
    let strings = |format: Option<&str>| match format {
        Some(format) => json!({"type": "array", "items": {"type": "string", "format": format}}),
        None => json!({"type": "array", "items": {"type": "string"}}),
    };
    let properties = json!({
        "title": {"type": "string"},
        "summary": {"type": "string"},
        "topics": strings(None),
        "dates": strings(Some("date")),
        "emails": strings(Some("email")),
        "links": strings(Some("uri")),
    });
    answer(text, &json!({"type": "object", "required": ["title", "summary"], "properties": properties}), year)
}

/// Without any form: the title and the first things said, in words.
pub fn in_words(text: &str) -> String {
    let document = Document::read(text);
    let title = document.title().unwrap_or_default();
    let said: Vec<String> = document.sentences().into_iter().filter(|sentence| *sentence != title).take(3).collect();
    if said.is_empty() { title } else { format!("{title}: {}", said.join(" ")) }
}

/// The year that the text speaks of most.
fn years(document: &Document) -> Option<i32> {
    let mut counts = std::collections::BTreeMap::new();
    for line in document.spoken() {
        let dated = super::reading::spot::days(&line.text).into_iter().filter_map(|day| day.year);
        let bare = super::reading::spot::tokens(&line.text).into_iter().filter_map(|token| super::reading::spot::year_of(token.text));
        for year in dated.chain(bare) {
            *counts.entry(year).or_insert(0) += 1;
        }
    }
    counts.into_iter().max_by_key(|&(year, count)| (count, std::cmp::Reverse(year))).map(|(year, _)| year)
}

/// A value, and whether the text said it or it was only made to fit.
#[derive(Debug)]
struct Filled {
    value: Value,
    sure: bool,
}

impl Filled {
    const fn sure(value: Value) -> Self {
        Self { value, sure: true }
    }

    const fn guess(value: Value) -> Self {
        Self { value, sure: false }
    }
}

/// Where to look: the part at hand, then the whole that an object inside the text belongs to.
#[derive(Clone, Copy)]
struct Scope<'d> {
    near: &'d Document,
    wide: Option<&'d Document>,
}

impl<'d> Scope<'d> {
    const fn of(near: &'d Document) -> Self {
        Self { near, wide: None }
    }
}

struct Filler<'s> {
    root: &'s Value,
    year: i32,
    /// Leave out every optional member.
    lean: bool,
    places: Cell<u32>,
}

impl Filler<'_> {
    fn fill(&self, schema: &Value, cue: &Cue, scope: &Scope<'_>, depth: usize) -> Filled {
        self.places.set(self.places.get() + 1);
        if depth > 2 * DEPTH || self.places.get() > PLACES {
            return Filled::guess(Value::Null);
        }
        let schema = schema::resolved(self.root, schema);
        let cue = cue_of(&schema, cue);
        if let Some(only) = schema.get("const") {
            return Filled::sure(only.clone());
        }
        if let Some(options) = schema.get("enum").and_then(Value::as_array) {
            return choice::one_of(options, &cue, scope);
        }
        if let Some(branches) = schema::branches(&schema) {
            return self.best_branch(&schema, branches, &cue, scope, depth);
        }
        let kinds = schema::kinds(&schema);
        let nullable = kinds.contains(&Kind::Null);
        let Some(kind) = kinds.into_iter().find(|kind| *kind != Kind::Null) else { return Filled::guess(Value::Null) };
        if nullable && depth > DEPTH {
            return Filled::guess(Value::Null);
        }
        let filled = self.fill_kind(kind, &schema, &cue, scope, depth);
        let said = filled.sure || scope.wide.is_none() || depth > DEPTH;
        let filled = if said { filled } else { self.fill_wider(kind, &schema, &cue, scope, depth, filled) };
        if nullable && !filled.sure { Filled::guess(Value::Null) } else { filled }
    }

    /// What the part at hand does not say, the whole may.
    fn fill_wider(&self, kind: Kind, schema: &Value, cue: &Cue, scope: &Scope<'_>, depth: usize, near: Filled) -> Filled {
        let Some(wide) = scope.wide else { return near };
        let wider = self.fill_kind(kind, schema, cue, &Scope::of(wide), depth);
        if wider.sure { wider } else { near }
    }

    fn fill_kind(&self, kind: Kind, schema: &Value, cue: &Cue, scope: &Scope<'_>, depth: usize) -> Filled {
        match kind {
            Kind::Object => self.object(schema, cue, scope, depth),
            Kind::Array => self.array(schema, cue, scope, depth),
            Kind::String => self.string(schema, cue, scope),
            Kind::Number | Kind::Integer => number::number(schema, kind == Kind::Integer, cue, scope.near),
            Kind::Boolean => choice::yes_or_no(cue, scope.near),
            Kind::Null => Filled::guess(Value::Null),
        }
    }

    /// The first branch that the text really answers; else null if that is a branch; else the first that is valid.
    fn best_branch(&self, schema: &Value, branches: &[Value], cue: &Cue, scope: &Scope<'_>, depth: usize) -> Filled {
        let (mut allows_null, mut valid, mut other) = (false, None, None);
        let worth_trying = if depth > DEPTH { 1 } else { branches.len() };
        for branch in &branches[..worth_trying] {
            let whole = schema::merged(schema, branch, self.root);
            let filled = self.fill(&whole, cue, scope, depth + 1);
            if filled.value.is_null() {
                allows_null = true;
            } else if !schema::accepts(self.root, &whole, &filled.value) {
                other = other.or(Some(filled.value));
            } else if filled.sure {
                return filled;
            } else {
                valid = valid.or(Some(filled.value));
            }
        }
        let guess = if allows_null { None } else { valid.or(other) };
        Filled::guess(guess.unwrap_or(Value::Null))
    }
}

/// The cue of the property, with what the schema itself says of it.
fn cue_of(schema: &Value, cue: &Cue) -> Cue {
    let said: Vec<&str> = ["title", "description"].into_iter().filter_map(|member| schema[member].as_str()).collect();
    if said.is_empty() { cue.clone() } else { Cue::new(&cue.name, &said.join(" ")) }
}

/// A number that stands for `text`, the same on every machine.
pub fn fingerprint(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}
