//! Answers a JSON Schema from a text: each property is looked for in the text by its name, description, type and form.
//! Extraction by rules, standing in for a model: other texts and other schemas give other answers, the same give the same.
//! HTTP and tokens are `openai/`'s affair; how a text is read is `reading/`'s.

mod array;
mod choice;
mod form;
mod number;
mod object;
mod pattern;
mod role;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A word of every kind that a schema has for values.
    fn wide_schema() -> Value {
        json!({
            "type": "object",
            "required": ["link", "key", "code", "short", "hosts", "ratio", "sevenfold", "map", "either", "pair"],
            "properties": {
                "link": {"type": "string", "format": "uri"},
                "key": {"type": "string", "format": "uuid"},
                "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2,4}$"},
                "short": {"type": "string", "minLength": 30, "maxLength": 35},
                "hosts": {"type": "array", "minItems": 3, "maxItems": 4, "uniqueItems": true, "items": {"type": "string", "format": "hostname"}},
                "ratio": {"type": "number", "exclusiveMinimum": 0.2, "maximum": 0.3},
                "sevenfold": {"type": "integer", "multipleOf": 7, "minimum": 100},
                "map": {"type": "object", "additionalProperties": {"type": "number"}, "minProperties": 2},
                "either": {"oneOf": [{"type": "string", "format": "time"}, {"type": "string", "format": "ipv6"}]},
                "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": false},
                "when": {"allOf": [{"type": ["string", "null"]}, {"format": "date"}]},
            },
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_gets_a_valid_answer(text in "(\\PC|\n|- |# |: |\\|){0,200}") {
            let schema = wide_schema();
            let answer = answer(&text, &schema, 2026);
            let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            let error = validator.iter_errors(&answer).next().map(|error| format!("{error} at {}", error.instance_path()));
            prop_assert_eq!(error, None, "{}", answer);
        }
    }

    #[test]
    fn a_course_plan_is_read_as_a_person_would() {
        let text = "BIOL 214 — Cell Biology\nFall 2026\n\nInstructor: Prof. Maria Okonkwo\nOffice: Tuesdays 2-4 pm, Room 312\nEmail: m.o@uni.example\n\n\
            Weekly Schedule\nWeek 1 (Aug 31): Microscopy\n  - Read: Alberts ch. 1\nWeek 2 (Sep 7): Membranes\n\n\
            Assignments and Grading\n- Lab reports: 30% (weekly)\n- Term paper: 70%, due November 20, 2026\n\nNo make-up exams.\n";
        let string = json!({"type": "string"});
        let date = json!({"type": ["string", "null"], "format": "date"});
        let week = json!({"type": "object", "required": ["week", "topic", "date"], "properties": {"week": {"type": "integer"}, "topic": string, "date": date}});
        let part = json!({"type": "object", "required": ["name", "weight_percent", "due_date"],
            "properties": {"name": string, "weight_percent": {"type": "number"}, "due_date": date}});
        let schema = json!({"type": "object", "properties": {
            "code": string, "instructor": string, "room": string, "term": {"enum": ["spring", "fall"]}, "make_up_exams": {"type": "boolean"},
            "weeks": {"type": "array", "items": week}, "assessments": {"type": "array", "items": part},
        }});
        let wanted = json!({
            "code": "BIOL 214", "instructor": "Prof. Maria Okonkwo", "room": "Room 312", "term": "fall", "make_up_exams": false,
            "weeks": [{"week": 1, "topic": "Microscopy", "date": "2026-08-31"}, {"week": 2, "topic": "Membranes", "date": "2026-09-07"}],
            "assessments": [
                {"name": "Lab reports", "weight_percent": 30, "due_date": null},
                {"name": "Term paper", "weight_percent": 70, "due_date": "2026-11-20"},
            ],
        });
        assert_eq!(answer(text, &schema, 2020), wanted);
    }

    #[test]
    fn minutes_invoices_and_offers_are_read_too() {
        let string = json!({"type": "string"});
        let actions = json!({"type": "object", "properties": {"action_items": {"type": "array", "items": {"type": "object", "required": ["owner", "task"],
            "properties": {"owner": string, "task": string}}}}});
        let minutes = "Sync\n\nAction items:\n- Ana: write the guide by May 11\n- Carol will call the pilots\n";
        let who_does_what =
            json!([{"owner": "Ana", "task": "write the guide by May 11"}, {"owner": "Carol", "task": "Carol will call the pilots"}]);
        assert_eq!(answer(minutes, &actions, 2026)["action_items"], who_does_what);

        let lines = json!({"type": "object", "properties": {"due_date": {"type": "string", "format": "date"}, "total": {"type": "number"},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"description": string, "unit_price": {"type": "number"}}}}}});
        let invoice = "Date: 12 March 2026\nDue: 11 April 2026\n\n| Description | Qty | Unit price |\n|---|---|---|\n| Work | 3 | €1,200.00 |\n| Travel | 1 | €84.50 |\n\nSubtotal: €3,600\nTotal: €3,684.50\n";
        let billed = json!({"due_date": "2026-04-11", "total": 3684.5, "lines": [{"description": "Work", "unit_price": 1200}, {"description": "Travel", "unit_price": 84.5}]});
        assert_eq!(answer(invoice, &lines, 2026), billed);

        let offer = json!({"type": "object", "properties": {"company": string, "salary_min": {"type": "number"}, "salary_max": {"type": "number"}, "on_call": {"type": "boolean"}}});
        let posting = "Rust Engineer at Quayside Systems (remote)\n\nSalary: €85,000 - €105,000. No on-call duty.\n";
        assert_eq!(
            answer(posting, &offer, 2026),
            json!({"company": "Quayside Systems", "salary_min": 85_000, "salary_max": 105_000, "on_call": false})
        );
    }
}
