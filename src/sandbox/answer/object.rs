//! Objects: each property by itself; maps without named properties from the labels of the text.

use super::{DEPTH, Document, Filled, Filler, Scope, schema};
use crate::sandbox::reading::words::Cue;
use serde_json::{Map, Value};

/// Members of a map that is filled from labels, when the schema sets no bound.
const MEMBERS: usize = 20;

impl Filler<'_> {
    pub(super) fn object(&self, schema: &Value, cue: &Cue, scope: &Scope<'_>, depth: usize) -> Filled {
        let narrowed = if depth == 0 || scope.near.position.is_some() && scope.wide.is_none() { None } else { part_about(cue, scope) };
        let inner = match &narrowed {
            Some(part) => Scope { near: part, wide: Some(scope.wide.unwrap_or(scope.near)) },
            None => *scope,
        };
        let no_properties = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&no_properties);
        let required = |name: &String| schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)));
        let mut members = Map::new();
        let mut sure = narrowed.is_some();
        for (name, property) in properties {
            if !required(name) && (self.lean || depth > DEPTH) {
                continue;
            }
            let filled = self.fill(property, &Cue::new(name, ""), &inner, depth + 1);
            sure |= filled.sure;
            if required(name) || filled.sure {
                members.insert(name.clone(), filled.value);
            }
        }
        sure |= self.map_members(schema, &inner, depth, &mut members);
        self.missing_members(schema, &inner, depth, &mut members);
        Filled { value: Value::Object(members), sure }
    }

    /// `additionalProperties: {schema}` or nothing said of the members: the labels of the text become members.
    fn map_members(&self, schema: &Value, scope: &Scope<'_>, depth: usize, members: &mut Map<String, Value>) -> bool {
        let least = schema["minProperties"].as_u64().map_or(0, |n| usize::try_from(n).unwrap_or(0));
        let most = schema["maxProperties"].as_u64().map_or(MEMBERS, |n| usize::try_from(n).unwrap_or(MEMBERS));
        let values = match &schema["additionalProperties"] {
            Value::Bool(false) => return false,
            Value::Object(values) => Value::Object(values.clone()),
            _ if schema.get("properties").is_none() => Value::Object(Map::new()),
            _ => return false,
        };
        if depth > DEPTH || (self.lean && members.len() >= least) {
            return false;
        }
        let names = &schema["propertyNames"];
        for (label, value) in scope.near.spoken().flat_map(|line| &line.labels) {
            let name = Value::String(label.clone());
            if members.len() >= most || members.contains_key(label) || (names.is_object() && !schema::accepts(self.root, names, &name)) {
                continue;
            }
            let said = Document::read(value);
            let filled = self.fill(&values, &Cue::new(label, ""), &Scope::of(&said), depth + 1);
            if filled.sure || !matches!(filled.value, Value::Number(_) | Value::Null) {
                members.insert(label.clone(), filled.value);
            }
        }
        for n in 1..=least.saturating_sub(members.len()) {
            let filled = self.fill(&values, &Cue::default(), scope, depth + 1);
            members.insert(format!("part_{n}"), filled.value);
        }
        !members.is_empty()
    }

    /// Names that are required without being described.
    fn missing_members(&self, schema: &Value, scope: &Scope<'_>, depth: usize, members: &mut Map<String, Value>) {
        let patterns = schema["patternProperties"].as_object();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if members.contains_key(name) {
                continue;
            }
            let by_pattern = patterns.and_then(|all| {
                all.iter()
                    .find(|(pattern, _)| schema::accepts(self.root, &serde_json::json!({ "pattern": pattern }), &name.into()))
                    .map(|(_, s)| s)
            });
            let described = by_pattern.or_else(|| schema.get("additionalProperties").filter(|values| values.is_object()));
            let filled = self.fill(described.unwrap_or(&Value::Bool(true)), &Cue::new(name, ""), scope, depth + 1);
            members.insert(name.to_owned(), filled.value);
        }
    }
}

/// The part of the text that an object inside the answer is about: a section, or the value of a label.
fn part_about(cue: &Cue, scope: &Scope<'_>) -> Option<Document> {
    let section = scope.near.section(cue);
    let labelled = scope.near.labelled(cue).map(|(score, value)| (score, Document::read(&value)));
    match (section, labelled) {
        (Some((a, section)), Some((b, _))) if a >= b => Some(section),
        (Some((_, part)), None) | (_, Some((_, part))) => Some(part),
        (None, None) => None,
    }
}
